"""Two paintings, each in its own part of the photo: a mask says where.

    python examples/masks.py

White is where the first painting goes, black where it does not; `rest` is what the masks before it leave.
"""

from __future__ import annotations

from PIL import Image, ImageDraw, ImageFilter

from nst_lightning import Result, stylize
from nst_lightning.images.files import read_image


def draw_mask(path: str, share: float = 0.45) -> None:
    """Draw the mask of the sky: white above, black below, with a soft border.

    Args:
        path: File to write.
        share: Part of the height that is white.
    """
    height, width = read_image("sample:town").pixels.shape[-2:]
    mask = Image.new("L", (width, height))
    ImageDraw.Draw(mask).rectangle((0, 0, width, int(share * height)), fill=255)
    mask.filter(ImageFilter.GaussianBlur(height / 50)).save(path)


def main(size: int = 512, *, quality: str = "standard", **options: object) -> Result:
    """Paint the sky of a sample in one manner and what is below in another, and write masks.png.

    Args:
        size: Long side of the image, pixels.
        quality: Quality, as in `stylize`.
        **options: Further options of `stylize`.
    """
    draw_mask("sky.png")
    guides = {"data.guides": ["sky.png", "rest"]}
    paintings = ["sample:starry", "sample:woodcut"]
    return stylize("sample:town", paintings, size=size, quality=quality, output="masks.png", **guides, **options)


if __name__ == "__main__":
    print(main())
