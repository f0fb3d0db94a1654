"""The image that an optimization starts from: the user's choice, and in a video the warped frame before."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nst_lightning.errors import UserError, named_in_errors
from nst_lightning.images.color_matching import match_colors
from nst_lightning.images.files import read_image
from nst_lightning.images.guides import Guides, read_guide, region_shares
from nst_lightning.images.resize import cover, resize
from nst_lightning.networks.any_style import AnyStyleNet
from nst_lightning.networks.any_style_painting import paint_in_styles
from nst_lightning.networks.network_file import load_any_style

ONE_PASS = "one_pass"
ONE_PASS_SIZE = 512
"""Long side at which the network of any style paints a smaller first level of a larger result, pixels."""

RECOLORED = "recolored"

INITS = ("content", RECOLORED, "style", "noise", "normal", "grey", "style_stats", ONE_PASS)
"""Words that name an initial image; everything else is a file."""

_UNTILED_PIXELS, _TILE = 2**20, 512  # larger images are painted in tiles, which take less memory

_MIN_DEVIATION = 1e-4  # a flat style has none, which the inverse error function can't draw from


class InitialImage:
    """The image that the optimization starts from, at any size.

    Args:
        init: Image file, which is cropped at its center to the shape, not squashed; or one of these words:

            * `one_pass`: the content painted in one pass in the blend of the styles, each region in its own, by the
              network of any style that ships.
            * `content`: the content image; `style`: the first style image, cropped likewise.
            * `recolored`: the content image with the colors of the styles, by the optimal transport between two normal
              distributions (`symmetric` of `match_colors`): the mean of the images recolored by each style, weighted
              like the styles; each region takes the colors of its own style. Large flat parts, on which a style loss
              decides little, begin with a color of the painting, not of the photo. Without a style, the content.
            * `noise`: uniform in [0, 1], for each pixel and channel.
            * `normal`: normal with mean 0.5 and standard deviation 0.25, cut off at 0 and 1.
            * `grey`: 0.5 with noise of one gray level.
            * `style_stats`: normal with each channel's mean and variance in the styles, cut off at 0 and 1.

            `normal`, `grey` and `style_stats` are `normal`, `gray` and `style_stats` of
            crowsonkb/style-transfer-pytorch. All noise is seeded by `seed_everything`.
        content: Content image `(1, 3, H, W)`, or `None`.
        styles: Style images, each `(1, 3, h, w)`.
        style_weights: Weights of the styles, summing to 1.
        max_pixels: Most pixels of a file's image; one with more is refused.

    Raises:
        UserError: If `init` needs an image that is not there, or is not an image that can be read, or the network is
            not there.
    """

    def __init__(
        self,
        init: str,
        content: Tensor | None,
        styles: Sequence[Tensor],
        style_weights: Sequence[float],
        max_pixels: int,
    ) -> None:
        if init in ("content", RECOLORED, ONE_PASS) and content is None:
            raise UserError(
                f"data.init is {init}, but data.content is not set; set data.init to noise or to a picture."
            )
        if init in ("style", "style_stats", ONE_PASS) and not styles:
            raise UserError(f"data.init is {init}, but data.style is not set; set data.init to content or noise.")
        self.init = init
        self._content = content
        self._styles = styles
        self._style_weights = style_weights
        self._file: Tensor | None = None
        self._network: AnyStyleNet | None = None
        if init == ONE_PASS:
            with named_in_errors("data.init one_pass"):
                self._network = load_any_style()
        if init not in INITS:
            try:
                self._file = read_image(init, max_pixels=max_pixels).pixels
            except UserError as error:
                raise UserError(f"data.init is {', '.join(INITS)} or a picture, but: {error}") from error

    def at(self, size: tuple[int, int]) -> Tensor:
        """Return the image at a size; not for `recolored` and `one_pass`, see `recolor` and `paint`.

        Args:
            size: Height and width, pixels.

        Returns:
            `(1, 3, *size)` in [0, 1].
        """
        if self._file is not None:
            return cover(self._file, size)
        if self.init == "style":
            return cover(self._styles[0], size)
        if self.init == "content":
            assert self._content is not None  # checked in __init__
            return resize(self._content, size)
        # A generator of its own: the noise depends on the seed only, not on what was drawn before.
        generator = torch.Generator().manual_seed(torch.initial_seed())
        noise = torch.empty(1, 3, *size)
        if self.init == "normal":
            return nn.init.trunc_normal_(noise, 0.5, 0.25, 0, 1, generator=generator)
        if self.init == "style_stats":
            return self._draw_like_styles(noise, generator)
        noise.uniform_(generator=generator)
        return noise / 255 + 0.5 if self.init == "grey" else noise

    def recolor(self, content: Tensor, styles: Sequence[Tensor], guides: Guides | None) -> Tensor:
        """Return the content with the colors of the styles, for `recolored`.

        Args:
            content: Content at the size of the image, `(1, 3, H, W)`.
            styles: Styles, `(1, 3, h, w)` each.
            guides: Masks of these sizes; `None` for none. That of the content has no effect. Where no region is, the
                content is left as it is.

        Returns:
            `(1, 3, H, W)` in [0, 1].
        """
        if not styles:
            return content
        everywhere = (content.new_ones(1, 1, *content.shape[2:]),) * len(styles)
        regions = guides.regions if guides is not None and guides.regions else everywhere
        shares = region_shares(regions, torch.tensor(self._style_weights))
        recolored = content * (1 - torch.stack(shares).sum(0))
        for style, part, region, share in zip(styles, _style_parts(styles, guides), regions, shares, strict=True):
            if not share.any():  # a region that is too small for this size
                continue
            part = part if part is not None and part.any() else None
            moved = match_colors(content, style, "symmetric", image_weights=region, reference_weights=part)
            recolored += moved.clamp(0, 1) * share
        return recolored.clamp_(0, 1)

    @torch.no_grad()
    def paint(self, size: tuple[int, int], styles: Sequence[Tensor], guides: Guides | None) -> Tensor:
        """Return the content painted in one pass, for `one_pass`.

        Args:
            size: Height and width, pixels.
            styles: Styles as large as they are to be measured, `(1, 3, h, w)` each.
            guides: Masks of these sizes; `None` for none. That of the content has no effect.

        Returns:
            `(1, 3, *size)` in [0, 1].
        """
        assert self._content is not None  # checked in __init__
        assert self._network is not None
        return paint_in_styles(
            self._network,
            resize(self._content, size),
            [
                self._network.measure(style, part)
                for style, part in zip(styles, _style_parts(styles, guides), strict=True)
            ],
            torch.tensor(self._style_weights),
            regions=guides.regions if guides is not None else (),
            tile_size=_TILE if size[0] * size[1] > _UNTILED_PIXELS else None,
        )

    def _draw_like_styles(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        weights = torch.tensor(self._style_weights)
        moments = [torch.var_mean(style, dim=(0, 2, 3)) for style in self._styles]
        deviations = (weights @ torch.stack([variance for variance, _ in moments])).sqrt().clamp_min(_MIN_DEVIATION)
        means = weights @ torch.stack([mean for _, mean in moments])
        for channel in range(3):
            mean, deviation = float(means[channel]), float(deviations[channel])
            nn.init.trunc_normal_(noise[:, channel], mean, deviation, 0, 1, generator=generator)
        return noise


def _style_parts(styles: Sequence[Tensor], guides: Guides | None) -> Sequence[Tensor | None]:
    """Return the mask of each style's part that is used; `None` for all of it."""
    return guides.styles if guides is not None and guides.styles else [None] * len(styles)


class WarpedImage:
    """The painted frame before, warped to the present one, and its mask, at each level's size.

    Args:
        image: Image of the result's shape: a file, or `None` for no such frame.
        guide: Mask of the image, white where it is to be trusted: a file, or `None` for everywhere.
        max_pixels: Most pixels of an image; one with more is refused.

    Raises:
        UserError: If there is a mask without an image, or one of them can't be used.
    """

    def __init__(self, image: str | None, guide: str | None, max_pixels: int) -> None:
        self._image, self._guide = None, None
        if image is None:
            if guide is not None:
                raise UserError(
                    "data.warped_guide says where data.warped is to be trusted, but that is not set; set it."
                )
            return
        with named_in_errors("data.warped"):
            self._image = read_image(image, max_pixels=max_pixels)
        if guide is not None:
            with named_in_errors("data.warped_guide"):
                self._guide = read_guide(guide, self._image, max_pixels=max_pixels)

    def at(self, size: tuple[int, int]) -> tuple[Tensor | None, Tensor | None]:
        """Return the image, `(1, 3, *size)`, and its mask, `(1, 1, *size)`, both in [0, 1]."""
        image = None if self._image is None else resize(self._image.pixels, size)
        return image, None if self._guide is None else resize(self._guide, size)

    def digest(self) -> str:
        """Return a digest of both; empty without an image."""
        if self._image is None:
            return ""
        mask = b"" if self._guide is None else self._guide.contiguous().numpy().tobytes()
        return f"warped {self._image.digest} {hashlib.sha256(mask).hexdigest()}"
