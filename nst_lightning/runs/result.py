"""What a run leaves, for Python and notebooks."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass, field
from pathlib import Path

from PIL import Image
from torch import Tensor

from nst_lightning.errors import user_path
from nst_lightning.images.files import to_pillow, write_image


@dataclass(frozen=True, eq=False, repr=False)
class Result:
    """What a run leaves. A notebook shows it as the image.

    Attributes:
        picture: Image, sRGB in [0, 1], `(1, 3, H, W)`, on the CPU.
        path: File of the image: the one asked for, or `stylized.png` in the run's folder.
        folder: Folder of the run, with checkpoints and TensorBoard's files.
        complete: Whether all steps were done; `False` after Ctrl-C or `max_steps`.
        alpha: Opacity in [0, 1], `(1, 1, H, W)`; `None` unless the content's is kept.
        settings: Settings that saved images hold, as YAML; `None` where no config made the run.
    """

    picture: Tensor
    path: Path | None
    folder: Path | None
    complete: bool
    alpha: Tensor | None = field(default=None, kw_only=True)
    settings: str | None = field(default=None, kw_only=True)

    @property
    def tensor(self) -> Tensor:
        """Image, sRGB in [0, 1], `(1, 3, H, W)`, on the CPU."""
        return self.picture

    @property
    def image(self) -> Image.Image:
        """Image as Pillow has it, with the 8-bit pixels of a PNG file."""
        return to_pillow(self.picture, self.alpha)

    def save(self, path: str | os.PathLike[str], *, bits: int = 8, quality: int = 95) -> None:
        """Write the image to a file, with its settings in it, as `nst fit --output.path` does.

        Args:
            path: File to write: .png, .jpg, .webp or .tif by its suffix.
            bits: Bits per channel of a PNG file, 8 or 16.
            quality: Quality of JPEG and WebP, 1 to 100.

        Raises:
            UserError: If the file can't be written.
        """
        write_image(user_path(path), self.picture, alpha=self.alpha, bits=bits, quality=quality, settings=self.settings)

    def _repr_png_(self) -> bytes:
        """Return the image as a PNG file, which a notebook shows."""
        buffer = io.BytesIO()
        self.image.save(buffer, "PNG")
        return buffer.getvalue()

    def __repr__(self) -> str:
        height, width = self.picture.shape[-2:]
        return f"Result({width}×{height}, {'complete' if self.complete else 'stopped'}, {self.path})"
