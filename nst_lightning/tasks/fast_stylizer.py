"""Stylizing images with a trained one-pass network: in a style that it has learned, or in that of any image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor

from nst_lightning._compat import is_out_of_memory
from nst_lightning.data.predict_data import MediaFile, PredictSample
from nst_lightning.data.style_images import StyleImages
from nst_lightning.errors import UserError, check_choice
from nst_lightning.images.guides import Guides
from nst_lightning.networks.any_style import AnyStyleNet, Smoothing, Statistics, unsmoothed
from nst_lightning.networks.any_style_painting import paint_in_styles
from nst_lightning.networks.network_file import ANY_STYLE, OnePassNet, load_network
from nst_lightning.networks.tiled_inference import paint_tiled
from nst_lightning.networks.transformer import SMALLEST_SIDE
from nst_lightning.networks.video_statistics import VideoStatistics
from nst_lightning.utils.memory import free_memory

_WHOLE_BYTES = 25
"""Bytes for each pixel and channel of full resolution at a forward pass's peak, in the last upsampling. Measured: 601
bytes a pixel at width 24, 800 at width 32 (benchmarks/README.md)."""
_KEPT_BYTES = 3  # likewise, of what `paint_tiled` keeps of the whole image
_IMAGE_BYTES = 24  # for each pixel: the image and the result
_PART = 0.5  # of an accelerator's free memory: the rest is for images read ahead and waiting to be written
_SMALLEST_TILE, _LARGEST_TILE, _TILE_STEP = 128, 2048, 64  # pixels
_CPU_PIXELS, _CPU_TILE = 2**20, 256
"""On a CPU larger images are tiled: as fast, since a tile's maps stay in its caches, in a fifth of the memory."""
_CPU_TILE_OF_ANY = 512  # its tiles are computed with 56 pixels around them
_ANY_WHOLE_BYTES = 50  # what `_WHOLE_BYTES` is, of a network of any style


class FastStylizer(LightningModule):
    """Stylize images of any size with a trained network: the task of `nst predict`.

    A network of any style takes the style images that come with each batch (`data.style`). They are measured once,
    unless each image's colors are kept: then its styles are others than those of the image before.

    Args:
        network: Name of a shipped network, a `.safetensors` file, or the checkpoint of a `FastStyleTransfer` or
            `AnyStyleTransfer` run; `None` for `starry`.
        style: Name of one of a network's styles, or names with their shares; `None` for equal parts. Not for a network
            of any style.
        strength: Strength of the style: 0 gives the photograph, 1 the style as learned.
        tile_size: Longest side of the tiles that images are painted in, pixels, with the same result to rounding
            (`paint_tiled`); `null` for each image in one piece; `auto` for tiles of 256 pixels where a CPU paints an
            image of more than a megapixel, and on an accelerator where half of its free memory does not hold the
            piece.
        smoothing: For videos, by a network of any style: seconds over which the statistics of the frames are averaged,
            so that the colors don't follow the exposure (`VideoStatistics`); 0 for each frame by itself.

    Attributes:
        styles: Names of the network's styles.

    Raises:
        UserError: If the network can't be read, has no such style, or a number is out of range.
    """

    style_weights: Tensor

    def __init__(
        self,
        network: str | None = None,
        style: str | dict[str, float] | None = None,
        strength: float = 1.0,
        tile_size: int | Literal["auto"] | None = "auto",
        smoothing: float = 1.0,
    ) -> None:
        super().__init__()
        if tile_size not in ("auto", None) and int(tile_size) < SMALLEST_SIDE:
            raise UserError(
                f"model.tile_size must be at least {SMALLEST_SIDE} pixels, auto or null, but {tile_size} was given."
            )
        if not 0 <= smoothing < float("inf"):
            raise UserError(f"model.smoothing must be 0 seconds or more, but {smoothing:g} was given.")
        self.network: OnePassNet
        self.network, card = load_network(network or "starry")
        self.network.requires_grad_(False)
        self.styles = card.styles
        self.strength = strength
        self.tile_size = tile_size
        self.smoothing = smoothing
        self._video: tuple[MediaFile, VideoStatistics] | None = None
        if isinstance(self.network, AnyStyleNet):
            if style is not None:
                raise UserError("model.style names a style that a network has learned; for any other set data.style.")
            check_strength(strength)
            weights = torch.empty(0)
        else:
            weights = mix_styles(card.styles, style, strength)
        self.register_buffer("style_weights", weights, persistent=False)
        self._measured: tuple[StyleImages, list[Statistics]] | None = None

    def check_styles(self, styles: StyleImages | None) -> None:
        """Refuse style images where the network has styles of its own, and their absence where it has none.

        Raises:
            UserError: With the option to set or to leave out.
        """
        if isinstance(self.network, AnyStyleNet) and styles is None:
            raise UserError("the network paints in the style of any picture; set --data.style to one.")
        if styles is not None and not isinstance(self.network, AnyStyleNet):
            raise UserError(
                f"data.style names pictures, but the network paints {', '.join(self.styles)} only; leave out "
                f"model.network, or set it to {ANY_STYLE}."
            )

    def weights_of(self, styles: StyleImages | None) -> Tensor:
        """Return the weights of style images, or of the network's own styles; their sum is the strength."""
        return self.style_weights if styles is None else self.strength * torch.tensor(styles.weights)

    def forward(
        self,
        images: Tensor,
        styles: Sequence[Statistics] = (),
        weights: Tensor | None = None,
        regions: Sequence[Tensor] = (),
        smoothing: Smoothing = unsmoothed,
    ) -> Tensor:
        """Stylize images.

        Args:
            images: sRGB in [0, 1], `(N, 3, H, W)`. A side shorter than the network needs is lengthened by repeating
                the last row or column, and cut again.
            styles: For a network of any style: statistics of each, from `AnyStyleNet.measure`.
            weights: For such a network: weights of the styles, whose sum is the strength; `None` for equal parts.
            regions: For such a network: mask of each style's region, as in `paint_in_styles`.
            smoothing: As there.

        Returns:
            sRGB in [0, 1], `(N, 3, H, W)`.
        """
        tile_size = self._choose_tile(images)
        if isinstance(self.network, AnyStyleNet):
            if weights is None:
                weights = torch.full((len(styles),), self.strength / max(1, len(styles)))
            weights = weights.to(images)
            return paint_in_styles(
                self.network, images, styles, weights, regions=regions, tile_size=tile_size, smoothing=smoothing
            )
        height, width = images.shape[-2:]
        missing = (0, max(0, SMALLEST_SIDE - width), 0, max(0, SMALLEST_SIDE - height))
        if any(missing):
            images = F.pad(images, missing, mode="replicate")
        if tile_size is None:
            painted: Tensor = self.network(images, self.style_weights)
        else:
            painted = paint_tiled(self.network, images, self.style_weights, tile_size, self._choose_store(images))
        return painted[..., :height, :width]

    def predict_step(self, batch: PredictSample, batch_idx: int) -> Tensor:
        """Stylize an image; return `(1, 3, 0, 0)` if it could not be read or memory does not suffice for it."""
        if batch.problem is not None:
            return batch.pixels
        try:
            return self._stylize(batch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            return batch.pixels.new_empty(1, 3, 0, 0)

    def _stylize(self, batch: PredictSample) -> Tensor:
        self.check_styles(batch.styles)
        if batch.styles is None:
            return self.forward(batch.pixels)
        colors = batch.styles.colors
        content = colors.prepare_content(batch.pixels)
        smoothing = self._begin_frame(batch, content)
        styles = self._measure(batch.styles, batch, smoothing)
        painted = self.forward(content, styles, self.weights_of(batch.styles), batch.regions, smoothing)
        return colors.finish(painted, batch.pixels)

    def _begin_frame(self, batch: PredictSample, content: Tensor) -> Smoothing:
        """Return how the statistics of an image are smoothed: those of a frame over its video."""
        if batch.frame is None or not self.smoothing:
            return unsmoothed
        if self._video is None or self._video[0] != batch.file or batch.frame.index == 0:
            self._video = batch.file, VideoStatistics(self.smoothing, float(batch.frame.info.rate))
        self._video[1].begin_frame(content)
        return self._video[1].smooth

    def _measure(self, styles: StyleImages, batch: PredictSample, smoothing: Smoothing) -> list[Statistics]:
        """Return the statistics of styles that are to be given to an image."""
        assert isinstance(self.network, AnyStyleNet)
        if self._measured is not None and self._measured[0] is styles and styles.colors.method is None:
            return self._measured[1]
        pixels = batch.pixels
        parts = tuple(None if part is None else part.to(pixels) for part in styles.parts)
        guides, measured = Guides(batch.regions, parts), []
        for index, (image, part) in enumerate(zip(styles.images, parts, strict=True)):
            prepared = styles.colors.prepare_style(image.to(pixels), pixels, guides, index)
            found: Statistics = self.network.measure(prepared, part)
            if styles.colors.method is not None:  # of each frame's colors
                found = {tap: smoothing(f"style {index}/{tap}", each) for tap, each in found.items()}
            measured.append(found)
        self._measured = styles, measured
        return measured

    def _choose_tile(self, images: Tensor) -> int | None:
        if self.tile_size != "auto":
            return self.tile_size
        pixels = images.shape[0] * images.shape[-2] * images.shape[-1]
        if self.device.type == "cpu":
            tile = _CPU_TILE_OF_ANY if isinstance(self.network, AnyStyleNet) else _CPU_TILE
            return tile if pixels > _CPU_PIXELS else None
        return pick_tile_size(pixels, self.network, free_memory(self.device))

    def _choose_store(self, images: Tensor) -> torch.device | None:
        """Keep maps on the CPU where an accelerator's free memory does not hold them beside the tiles."""
        if self.device.type == "cpu":
            return None
        kept = _KEPT_BYTES * self.network.width * images.shape[0] * images.shape[-2] * images.shape[-1]
        return torch.device("cpu") if kept > _PART * free_memory(self.device) else None


def pick_tile_size(pixels: int, network: OnePassNet, free: int) -> int | None:
    """Pick the largest tile that half of an accelerator's free memory holds beside the maps that are kept.

    Args:
        pixels: Number of the image's pixels.
        network: Network that is to paint it.
        free: Free memory, bytes.

    Returns:
        Pixels, a multiple of 64 from 128 to 2048: larger tiles gain nothing. `None` if the whole image fits.
    """
    whole = (_ANY_WHOLE_BYTES if isinstance(network, AnyStyleNet) else _WHOLE_BYTES) * network.width
    if pixels * (whole + _IMAGE_BYTES) <= _PART * free:
        return None
    left = _PART * free - pixels * (_KEPT_BYTES * network.width + _IMAGE_BYTES)
    side = int((max(0.0, left) / whole) ** 0.5)
    return min(_LARGEST_TILE, max(_SMALLEST_TILE, side // _TILE_STEP * _TILE_STEP))


def check_strength(strength: float) -> None:
    """Raise a UserError unless a strength is from 0 to 1."""
    if not 0 <= strength <= 1:
        raise UserError(f"the strength of a style is from 0 to 1, but {strength:g} was given.")


def mix_styles(names: Sequence[str], style: str | Mapping[str, float] | None, strength: float) -> Tensor:
    """Turn what a user says about styles into a network's weights.

    Args:
        names: Names of the network's styles.
        style: Name of one of them, or names with their shares, in any proportion; `None` for equal parts.
        strength: Strength of the style, from 0 to 1.

    Returns:
        Weights `(S,)` whose sum is the strength.

    Raises:
        UserError: If there is no such style, or a number is out of range.
    """
    check_strength(strength)
    shares = dict.fromkeys(names, 1.0) if style is None else {style: 1.0} if isinstance(style, str) else dict(style)
    for name in shares:
        check_choice(name, names, "style")
    total = sum(shares.values())
    if min(shares.values(), default=0.0) < 0 or not 0 < total < float("inf"):
        raise UserError(f"shares of styles must be 0 or more, and one above 0, but {shares} was given.")
    return torch.tensor([strength * shares.get(name, 0.0) / total for name in names])
