"""A poster: more pixels than memory has room for, computed tile by tile.

    python examples/poster.py

Loss and gradient of the tiles are those of the whole image. `auto` picks the largest tiles that fit. A run that is
stopped goes on with `nst fit --config lightning_logs/town-starry/version_N/config.yaml --ckpt_path last`.
"""

from __future__ import annotations

from nst_lightning import Result, stylize


def main(size: int = 4096, tile_size: int | str = "auto", *, quality: str = "standard", **options: object) -> Result:
    """Paint a sample and write poster.png, with 16 bits per channel: large prints show steps of 8 bits in a sky.

    Args:
        size: Long side of the image, pixels.
        tile_size: Longest side of the tiles, pixels, or `auto`.
        quality: Quality, as in `stylize`.
        **options: Further options of `stylize`.
    """
    tiles = {"model.tile_size": tile_size, "output.bits": 16}
    return stylize("sample:town", "sample:starry", size=size, quality=quality, output="poster.png", **tiles, **options)


if __name__ == "__main__":
    print(main())
