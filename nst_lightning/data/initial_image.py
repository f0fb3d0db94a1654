"""What the picture starts from."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image
from nst_lightning.images.resize import cover, resize

INITS = ("content", "style", "noise", "normal", "grey", "style_stats")
"""The words that name a start; everything else is a picture."""

_MIN_DEVIATION = 1e-4  # a flat style has none, which the inverse error function can't draw from


class Start:
    """Makes the picture that the optimisation starts from.

    Args:
        init: One of these, or a picture, which is cropped at its centre to the shape, not squashed:

            * `content`: the content picture; `style`: the first style picture, cropped likewise.
            * `noise`: uniform in [0, 1], for each pixel and channel.
            * `normal`: normal with mean 0.5 and standard deviation 0.25, cut off at 0 and 1.
            * `grey`: 0.5 with noise of one grey level.
            * `style_stats`: normal with each channel's mean and variance in the styles, cut off at 0 and 1.

            The last three are `normal`, `gray` and `style_stats` of crowsonkb/style-transfer-pytorch. All noise is
            seeded by `seed_everything`.
        content: `(1, 3, H, W)` or `None`.
        styles: Each `(1, 3, h, w)`.
        style_weights: One for each style, summing to 1.
        max_pixels: A picture of more pixels is refused.

    Raises:
        UserError: If `init` needs a picture that is not there, or is not a picture that can be read.
    """

    def __init__(
        self,
        init: str,
        content: Tensor | None,
        styles: Sequence[Tensor],
        style_weights: Sequence[float],
        max_pixels: int,
    ) -> None:
        if init == "content" and content is None:
            raise UserError(
                "data.init is content, but data.content is not set; set data.init to noise or to a picture."
            )
        if init in ("style", "style_stats") and not styles:
            raise UserError(f"data.init is {init}, but data.style is not set; set data.init to content or noise.")
        self.init = init
        self._content = content
        self._styles = styles
        self._style_weights = style_weights
        self._other = None if init in INITS else _read(init, max_pixels)

    def picture(self, size: tuple[int, int]) -> Tensor:
        """Give the start at a size.

        Args:
            size: Height and width, pixels.

        Returns:
            `(1, 3, *size)` in [0, 1].
        """
        if self._other is not None:
            return cover(self._other, size)
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

    def _draw_like_styles(self, noise: Tensor, generator: torch.Generator) -> Tensor:
        weights = torch.tensor(self._style_weights)
        moments = [torch.var_mean(style, dim=(0, 2, 3)) for style in self._styles]
        deviations = (weights @ torch.stack([variance for variance, _ in moments])).sqrt().clamp_min(_MIN_DEVIATION)
        means = weights @ torch.stack([mean for _, mean in moments])
        for channel in range(3):
            mean, deviation = float(means[channel]), float(deviations[channel])
            nn.init.trunc_normal_(noise[:, channel], mean, deviation, 0, 1, generator=generator)
        return noise


def _read(init: str, max_pixels: int) -> Tensor:
    try:
        return read_image(init, max_pixels=max_pixels).pixels
    except UserError as error:
        raise UserError(f"data.init is {', '.join(INITS)} or a picture, but: {error}") from error
