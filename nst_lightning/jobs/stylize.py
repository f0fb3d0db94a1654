"""One image from Python, by the words of the command line."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from typing import Any, cast

from lightning.pytorch.utilities.seed import isolate_rng

from nst_lightning.errors import UserError, check_choice, did_you_mean
from nst_lightning.images.files import ImageLike, held_images, is_held
from nst_lightning.jobs.grid import SHORT_NAMES, option_args
from nst_lightning.jobs.pictures import QUALITIES, fit_args, instant_args, run_name
from nst_lightning.runs.fit_command import NSTCommand, run_to_the_end
from nst_lightning.runs.predict_command import InstantCommand
from nst_lightning.runs.result import Result
from nst_lightning.runs.trainer import result_of
from nst_lightning.tasks.style_transfer import StyleTransfer

_OWN = ("size", "quality", "instant", "output", "progress")
_OTHERS = ("name", "ckpt_path", "seed_everything", "weights_only")  # without a dot in nst fit's


def stylize(
    content: ImageLike,
    style: ImageLike | Sequence[ImageLike],
    *,
    size: int | None = None,
    quality: str | None = None,
    instant: bool = False,
    output: str | os.PathLike[str] | None = None,
    progress: bool = True,
    **options: Any,
) -> Result:
    """Paint a photo in the manner of a painting, as `nst PHOTO PAINTING` does, to the byte.

    The run is named after the images, `lightning_logs/me-painting`, or `instant`, unless a `name` is among the options.
    The state of the random generators is left alone.

    Args:
        content: Photo: a path, `sample:NAME`, an image of Pillow's, an array `(H, W, 3)`, or a tensor `(3, H, W)` or
            `(1, 3, H, W)`; of 8 bits or of floats in [0, 1].
        style: Painting, given likewise; or a list of several, which are blended.
        size: Long side of the result, pixels; `None` for 512.
        quality: `draft`, `standard` or `fine`: about a quarter, one and 1.5 times the time; `None` for `standard`.
        instant: Whether to paint in one pass, by the network of any style; options are then those of `nst predict`.
        output: File that the image is written to, beside the one in the run's folder.
        progress: Whether to show a progress bar.
        **options: Options of `nst fit`, by the short names of `nst sweep` (`style_weight=20, steps=100, seed=1`) or
            dotted (`**{"data.preserve_color": "luminance"}`).

    Returns:
        The image and where it is.

    Raises:
        UserError: If something that was given can't be used.

    Example:
        >>> import tempfile
        >>> from nst_lightning import stylize
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     settings = {"trainer.accelerator": "cpu", "trainer.default_root_dir": folder}
        ...     result = stylize("sample:town", "sample:starry", size=32, quality="draft", steps=2, **settings)
        >>> result.image.size, result.tensor.shape, result.complete
        ((32, 24), torch.Size([1, 3, 24, 32]), True)
    """
    if instant and quality is not None:
        raise UserError("quality is for optimizing, which instant leaves out; give one of them.")
    quality = quality or "standard"
    check_choice(quality, tuple(QUALITIES), "quality")
    images = [content, *(style if isinstance(style, list | tuple) else [cast(ImageLike, style)])]
    if len(images) == 1:
        raise UserError("expected a painting or several, found an empty list; give one.")
    known = [*SHORT_NAMES, *_OWN, *_OTHERS]
    for name in options:
        if "." not in name and name not in known:
            dotted = "options of nst fit are dotted: **{'data.preserve_color': 'luminance'}."
            hint = did_you_mean(name, known, dotted, cutoff=0.75)
            raise UserError(f"stylize has no option {name}; {hint}")
    if not progress:
        options = {"trainer.enable_progress_bar": False, **options}
    with held_images(images) as (photo, *paintings), isolate_rng(), warnings.catch_warnings():
        if instant:
            args = instant_args(photo, paintings, size=size, output=output)
            return run_to_the_end(InstantCommand, ["predict", *args, *option_args(options)]).result
        shown = ["image" if is_held(name) else name for name in (photo, *paintings)]
        options = {"name": run_name(shown[0], shown[1:]), **options}
        args = fit_args(photo, paintings, size=size, quality=quality, output=output)
        command = run_to_the_end(NSTCommand, ["fit", *args, *option_args(options)])
    assert isinstance(command.model, StyleTransfer)  # as in each of the configs
    return result_of(command.trainer, command.model)
