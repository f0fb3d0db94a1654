"""Painting in one pass, by a network that comes with the package, as `nst predict` does."""

from __future__ import annotations

import shutil
from typing import Any

from nst_lightning.app.order import PICTURE, PREVIEW, Order, Progress
from nst_lightning.callbacks.prediction_writer import PaintingWriter
from nst_lightning.data import PicturesToPaint
from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image, write_image
from nst_lightning.images.samples import SAMPLE
from nst_lightning.runs.trainer import build_predictor
from nst_lightning.tasks import FastPainter


def paint_instantly(order: Order, device: dict[str, Any]) -> Progress:
    """Paint the order's content in the style that its recipe's network learned.

    Args:
        order: What to do; its style is that sample.
        device: Arguments of the Trainer.

    Returns:
        That all is done.

    Raises:
        UserError: If the picture can't be read or painted.
    """
    recipe = order.recipe
    assert recipe.network is not None
    strength = min(1.0, recipe.strength)
    painter = FastPainter(recipe.network, style=order.style.removeprefix(SAMPLE), strength=strength)
    data = PicturesToPaint(
        order.content, size=recipe.size, keep_alpha=False, max_pixels=order.max_pixels, num_workers=0
    )
    folder = order.folder / "instant"
    writer = PaintingWriter(str(folder), format="png")
    trainer = build_predictor(callbacks=[writer], enable_progress_bar=False, **device)
    trainer.predict(painter, data, return_predictions=False)
    painted = list(folder.glob("*.png"))
    if not painted:
        raise UserError("the picture could not be painted; the terminal of nst app says why.")
    painted[0].replace(order.folder / PICTURE)
    shutil.rmtree(folder)
    pixels = read_image(order.folder / PICTURE).pixels
    write_image(order.folder / PREVIEW, pixels, quality=88)
    return Progress(1, (1,), 0, pixels.shape[-1], pixels.shape[-2], 1.0, 0.0, 0)
