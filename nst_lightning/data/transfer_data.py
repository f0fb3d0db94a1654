"""The data module of a style transfer: its images, coarse to fine."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningDataModule
from torch import Tensor

from nst_lightning.data.colors import ColorKeeper, ColorPreservation
from nst_lightning.data.guide_masks import GuideMasks
from nst_lightning.data.initial_image import ONE_PASS, ONE_PASS_SIZE, RECOLORED, InitialImage, WarpedImage
from nst_lightning.data.schedule import Level, Schedule, pyramid_sizes, steps_per_level
from nst_lightning.data.style_images import style_scales, style_shares
from nst_lightning.data.transfer_batch import StepLoader, TransferBatch
from nst_lightning.encoders.topology import smallest_side
from nst_lightning.errors import UserError, user_path
from nst_lightning.images.files import read_image
from nst_lightning.images.guides import Guides
from nst_lightning.images.resize import fit_long_side, resize
from nst_lightning.utils.overwriting import ReadFile

_NARROW = smallest_side(["relu5_4"])  # pixels: from here on every layer that a loss is likely to read has a position
_LARGEST = 1_000_000  # pixels


class TransferData(LightningDataModule):
    """Read the content and style images, and hand them out level by level.

    An image is a path, or `sample:NAME` for one that ships in the package. Without a content image the
    style's texture is synthesized in the style's aspect ratio; without a style image the content's features
    are inverted.

    Args:
        content: Image whose objects are kept.
        style: Image or images whose style is transferred.
        style_weights: Weights of the styles, in any proportion; `None` for equal parts.
        style_scale: Long side of the styles over the long side of the result: larger makes larger strokes. One number,
            or one for each style.
        size: Long side of the result, pixels.
        min_size: Lower bound of the first level's long side, pixels; levels are √2 apart. Of a panorama, as content or
            style, the first level is the first whose short side is long enough for the model's layers.
        sizes: Long sides of the levels, ascending, instead of `size` and `min_size`.
        steps: Optimizer steps at each level, or one number for each; `None` for 36, and 110 at the first level.
        first_steps: Steps at the first level where `steps` is one number, if they differ.
        init: Initial image: `content`, `recolored` (the content with the colors of the styles), `style`, `noise`,
            `normal`, `grey`, `style_stats`, `one_pass` (the painting of the network of any style) or an image file; see
            `InitialImage` in data/initial_image.py.
        guides: Mask of each style's region: an image (white is 1, black 0, grays are weights), `alpha` for the
            content's opacity, or for one of them `rest`, what the others leave.
        style_guides: Mask of each style's part that is used: an image, `alpha` or `null`.
        content_guide: Mask of the content's weight: an image or `alpha`.
        preserve_color: Method of keeping the content's colors: `luminance` paints brightness only; `cholesky`, `pca`,
            `symmetric` and `histogram` give the styles the content's colors before the run.
        color_strength: Weight of the kept colors, from 0 to 1.
        warped: Painted frame before, in a video, moved to where its parts are now. Each level begins with it, and a
            `TemporalLoss` compares with it.
        warped_guide: Mask of where that frame is to be trusted: an image, white for fully. Where it is black, the frame
            is painted as an image of its own.
        max_pixels: Most pixels of an image; one with more is refused, as a decompression bomb.
        keep_alpha: Whether the result has the content's alpha channel.

    Attributes:
        inputs: Files of the images and masks; a word such as `content` stands for no file unless there is one.
        schedule: Levels and their steps.
        prepared_content: Content as the objective sees it, at its own size; `None` without a content.
        prepared_styles: Styles as the objective sees them, at their own sizes.

    Raises:
        UserError: If an image can't be read or the numbers don't fit together.

    Example:
        >>> from nst_lightning import TransferData
        >>> data = TransferData("sample:town", "sample:starry", size=64, min_size=32, steps=10)
        >>> [(level.width, level.height, level.steps) for level in data.schedule.levels]
        [(32, 24, 10), (45, 34, 10), (64, 48, 10)]
        >>> batch = data.batch(0)
        >>> batch.content.shape, batch.initial.shape, len(batch.styles)
        (torch.Size([1, 3, 24, 32]), torch.Size([1, 3, 24, 32]), 1)
    """

    def __init__(
        self,
        content: str | None = None,
        style: str | list[str] | None = None,
        style_weights: list[float] | None = None,
        style_scale: float | list[float] = 1.0,
        size: int = 512,
        min_size: int = 128,
        sizes: list[int] | None = None,
        steps: int | list[int] | None = None,
        first_steps: int | None = None,
        init: str = "recolored",
        guides: list[str] | None = None,
        style_guides: list[str | None] | None = None,
        content_guide: str | None = None,
        preserve_color: ColorPreservation | None = None,
        color_strength: float = 1.0,
        warped: str | None = None,
        warped_guide: str | None = None,
        max_pixels: int = 200_000_000,
        keep_alpha: bool = False,
    ) -> None:
        super().__init__()
        styles = [style] if isinstance(style, str) else list(style or ())
        if content is None and not styles:
            raise UserError("there is no picture to work from; set data.content, data.style or both.")
        if preserve_color is not None and content is None:
            raise UserError("data.preserve_color keeps the content's colors, but data.content is not set; set it.")
        self.sizes = _check_sizes(pyramid_sizes(size, min_size) if sizes is None else sizes)
        self.style_weights = style_shares(style_weights, len(styles))
        self.style_scales = style_scales(style_scale, len(styles))
        self.init = init
        self.keep_alpha = keep_alpha
        read = (content, *styles, init, *(guides or ()), *(style_guides or ()), content_guide, warped, warped_guide)
        self.inputs = [ReadFile(user_path(path)) for path in read if path is not None]
        self.names = {"content": _name(content), "style": " + ".join(map(_name, styles))}
        self.content = None if content is None else read_image(content, max_pixels=max_pixels)
        self.styles = [read_image(path, max_pixels=max_pixels) for path in styles]
        self.guides = GuideMasks(guides, style_guides, content_guide, self.content, self.styles, max_pixels)
        self.colors = ColorKeeper(preserve_color, color_strength)
        self.prepared_content = None if self.content is None else self.colors.prepare_content(self.content.pixels)
        self.prepared_styles = self._prepare_styles()
        self._initial = InitialImage(init, self.prepared_content, self.prepared_styles, self.style_weights, max_pixels)
        self._warped = WarpedImage(warped, warped_guide, max_pixels)
        self._finishing: Tensor | None = None
        self._given_steps = steps, first_steps
        self._may_begin_later = sizes is None
        if self._may_begin_later and isinstance(steps, list):
            self.sizes = self._without_narrow_levels(len(steps))
        self._set_levels(self.sizes, *self._given_steps)

    def _set_levels(self, sizes: list[int], steps: int | list[int] | None, first_steps: int | None) -> None:
        self.sizes, self.steps = sizes, steps_per_level(steps, first_steps, len(sizes))
        levels = zip(self.sizes, self.steps, strict=True)
        self.schedule = Schedule([Level(*self._fit(long_side), count) for long_side, count in levels])

    def _without_narrow_levels(self, wanted: int) -> list[int]:
        """Return the last levels, as many as are wanted, if layers may be too deep for all before; else all levels."""
        left_out = max(0, len(self.sizes) - wanted)
        narrow = (min(map(min, self._all_sizes(size))) < _NARROW for size in self.sizes[:left_out])
        return self.sizes[left_out:] if all(narrow) else self.sizes

    def _all_sizes(self, long_side: int) -> list[tuple[int, int]]:
        return [self._fit(long_side), *self._style_sizes(long_side)]

    def _fit(self, long_side: int) -> tuple[int, int]:
        height, width = (self.content or self.styles[0]).pixels.shape[-2:]
        return fit_long_side(height, width, long_side)

    def _style_sizes(self, long_side: int) -> list[tuple[int, int]]:
        long_sides = [max(1, round(long_side * scale)) for scale in self.style_scales]
        return [
            fit_long_side(*_size(style), side) for style, side in zip(self.prepared_styles, long_sides, strict=True)
        ]

    def setup(self, stage: str) -> None:
        """Begin with the first level that is large enough for the model."""
        del stage
        model = self.trainer.lightning_module if self.trainer is not None else None
        if (check := getattr(model, "check_size", None)) is not None:
            self.begin_where_large_enough(check)

    def begin_where_large_enough(self, check: Callable[[Level, Sequence[tuple[int, int]]], None]) -> None:
        """Leave out the first levels of a pyramid that are too small; sizes that were given one by one stay.

        Args:
            check: Function of a level and the styles' heights and widths there, such as `StyleTransfer.check_size`,
                which raises a `UserError` if one is too small.

        Raises:
            UserError: If not even the last level is large enough.
        """
        if not self._may_begin_later:
            return
        problem = self._problem(check, self.sizes[-1])
        if problem is not None:
            needed = next((size for size in _enlarged(self.sizes[-1]) if self._problem(check, size) is None), None)
            raise problem if needed is None else UserError(f"{problem} With --data.size {needed} it is large enough.")
        fitting = [size for size in self.sizes if self._problem(check, size) is None]
        sizes = [size for size in self.sizes if all(fit in fitting for fit in self.sizes if fit >= size)]
        if len(sizes) < len(self.sizes):
            steps, first_steps = self._given_steps
            self._set_levels(sizes, steps[-len(sizes) :] if isinstance(steps, list) else steps, first_steps)

    def _problem(self, check: Callable[[Level, Sequence[tuple[int, int]]], None], long_side: int) -> UserError | None:
        try:
            check(Level(*self._fit(long_side), steps=1), self._style_sizes(long_side))
        except UserError as error:
            return error
        return None

    def train_dataloader(self) -> StepLoader:
        """Return the loader of all steps of all levels."""
        return StepLoader(self.schedule, self.batch)

    def batch(self, level: int) -> TransferBatch:
        """Resize the images for a level.

        Args:
            level: Index of the level, 0 for the coarsest.

        Returns:
            The batch of the level's first step, on the CPU.
        """
        size = (self.schedule.levels[level].height, self.schedule.levels[level].width)
        style_sizes = self._style_sizes(self.sizes[level])
        styles = self._styles_at(style_sizes)
        warped, warped_guide = self._warped.at(size)
        content = None if self.prepared_content is None else resize(self.prepared_content, size)
        guides = self.guides.at(size, style_sizes)
        initial = self._start(size, content, styles, guides) if level == 0 else None
        return TransferBatch(
            level=level,
            schedule=self.schedule,
            content=content,
            styles=styles,
            style_weights=self.style_weights,
            initial=initial,
            digest=self.digest(),
            guides=guides,
            warped=warped,
            warped_guide=warped_guide,
            begins_as_content=initial is not None
            and content is not None
            and (self.init == RECOLORED or torch.equal(initial, content)),
        )

    def _styles_at(self, sizes: Sequence[tuple[int, int]]) -> tuple[Tensor, ...]:
        return tuple(resize(style, size) for style, size in zip(self.prepared_styles, sizes, strict=True))

    def _start(
        self, size: tuple[int, int], content: Tensor | None, styles: Sequence[Tensor], guides: Guides | None
    ) -> Tensor:
        """Return the image that the first level starts from, `(1, 3, *size)`, given the level's images and masks."""
        if self.init == RECOLORED:
            assert content is not None  # checked in InitialImage
            return self._initial.recolor(content, styles, guides)
        if self.init != ONE_PASS:
            return self._initial.at(size)
        # The network paints small images badly: strokes have the size of their things.
        long_side = max(self.sizes[0], min(self.sizes[-1], ONE_PASS_SIZE))
        painted_size, style_sizes = self._fit(long_side), self._style_sizes(long_side)
        guides = self.guides.at(painted_size, style_sizes)
        return resize(self._initial.paint(painted_size, self._styles_at(style_sizes), guides), size)

    def finish(self, image: Tensor) -> Tensor:
        """Return an optimized image as it is shown and written: with the content's chrominance, if that is kept.

        Args:
            image: `(1, 3, H, W)` in [0, 1].

        Returns:
            An image of this shape and range, on this device.
        """
        if self.content is None or not self.colors.finishes:
            return image
        size = _size(image)
        if self._finishing is None or _size(self._finishing) != size:
            self._finishing = resize(self.content.pixels, size)
        return self.colors.finish(image, self._finishing.to(image))

    def settings(self) -> dict[str, Any]:
        """Return the settings that one compares runs by.

        Returns:
            Names of the images, seed, long side in pixels, steps of all levels, number of levels, initial image,
            method of keeping colors, and the styles' scale.
        """
        return {
            **self.names,
            "seed": torch.initial_seed(),
            "size": self.sizes[-1],
            "levels": len(self.sizes),
            "steps": self.schedule.total_steps,
            "init": self.init,
            "preserve_color": self.colors.method or "no",
            # A number where there is one: TensorBoard sorts and filters by it.
            "style_scale": self.style_scales[0] if len(set(self.style_scales)) == 1 else str(self.style_scales),
        }

    def digest(self) -> str:
        """Return a digest of the images, their guides and what is done to colors, whatever the sizes."""
        # An absent content leaves its line empty: else it would be the same as one style less.
        digests = ["" if image is None else image.digest for image in (self.content, *self.styles)]
        made = (self.guides.digest(), self.colors.digest(), self._warped.digest())
        digests += [digest for digest in made if digest]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def alpha(self, size: tuple[int, int]) -> Tensor | None:
        """Return the content's opacity, if the result is to have it.

        Args:
            size: Height and width of the result, pixels.

        Returns:
            `(1, 1, *size)` in [0, 1], or `None`.
        """
        if self.content is None or self.content.alpha is None or not self.keep_alpha:
            return None
        return resize(self.content.alpha, size)

    def _prepare_styles(self) -> list[Tensor]:
        pixels = [style.pixels for style in self.styles]
        if self.content is None or self.colors.method is None:
            return pixels
        guides = self.guides.at(_size(self.content.pixels), [_size(style) for style in pixels])
        return [
            self.colors.prepare_style(style, self.content.pixels, guides, index) for index, style in enumerate(pixels)
        ]


def _size(image: Tensor) -> tuple[int, int]:
    return image.shape[-2], image.shape[-1]


def _enlarged(size: int) -> Iterator[int]:
    """Yield long sides above a size, each 1 % larger, rounded up to tens."""
    while size < _LARGEST:
        size = -(-max(size + 1, round(size * 1.01)) // 10) * 10
        yield size


def _check_sizes(sizes: list[int]) -> list[int]:
    if not sizes or min(sizes) < 1 or sizes != sorted(set(sizes)):
        raise UserError(f"data.sizes must be ascending numbers of pixels from 1 up, but {sizes} was given.")
    return sizes


def _name(path: str | None) -> str:
    return "" if path is None else Path(path).name
