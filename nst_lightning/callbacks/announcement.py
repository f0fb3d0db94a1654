"""The first message of a run: what is painted, on which device, and about how long it will take."""

from __future__ import annotations

import logging
import time

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from nst_lightning.callbacks.image_writer import transfer_data
from nst_lightning.losses.objective import Objective
from nst_lightning.tasks.style_transfer import StyleTransfer

_log = logging.getLogger(__name__)

_PRECISIONS = {"32-true": "float32", "bf16-mixed": "bfloat16", "16-mixed": "float16", "64-true": "float64"}
_PROBE_SIDES = {"cpu": 96, "cuda": 512}  # pixels; what a small image costs on a GPU does not grow with its pixels


class Announcement(Callback):
    """Log what runs before minutes are spent on it.

    The estimate of the time is that of one pass through the encoder and back, of a small gray image, times the pixels
    of all steps. It is left out where there is no progress bar: nobody watches.
    """

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the message; model and images are on the device by now, in the precision that they run in."""
        data = transfer_data(trainer)
        if data is None or not isinstance(pl_module, StyleTransfer) or not trainer.is_global_zero:
            return
        settings, schedule = pl_module.settings(), data.schedule
        finest = schedule.levels[-1]
        estimate = ""
        if trainer.progress_bar_callback is not None:
            work = schedule.remaining_work(trainer.global_step, trainer.max_steps if trainer.max_steps > 0 else None)
            pixels = work * finest.height * finest.width / trainer.world_size
            side = min(_PROBE_SIDES.get(pl_module.device.type, 512), finest.height, finest.width)
            with trainer.precision_plugin.train_step_context():
                estimate = f", {approximate(pixels * _seconds_per_pixel(pl_module.objectives.at(finest), side))}"
        _log.info(
            "painting %d×%d pixels in %d steps over %d levels with %s, learning rate %g; encoder %s, %s%s",
            finest.width,
            finest.height,
            schedule.total_steps,
            len(schedule.levels),
            settings["optimizer"],
            settings["learning_rate"],
            settings["encoder"],
            precision_and_device(trainer),
            estimate,
        )


def precision_and_device(trainer: Trainer) -> str:
    """Return what a trainer computes with, in words such as "bfloat16 on cpu"."""
    precision = str(trainer.precision)
    return f"{_PRECISIONS.get(precision, precision)} on {trainer.strategy.root_device.type}"


def _seconds_per_pixel(objective: Objective, side: int) -> float:
    """Measure a pass through an objective's encoder and back; of the first one much is preparation."""
    device = objective.encoder.device
    image = torch.full((1, 3, side, side), 0.5, device=device, requires_grad=True)
    began = 0.0
    for _ in range(2):
        _wait_for(device)
        began = time.perf_counter()
        with torch.enable_grad():
            maps = objective.encoder(image, objective.taps())
            torch.stack([features.float().mean() for features in maps.values()]).sum().backward()  # type: ignore[no-untyped-call]
        _wait_for(device)
    return (time.perf_counter() - began) / side**2


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def approximate(seconds: float) -> str:
    """Return a duration in words, with as many digits as an estimate has.

    Example:
        >>> [approximate(seconds) for seconds in (3, 52, 95, 4000, 9000)]
        ['a few seconds', 'about 50 s', 'about 2 min', 'about 67 min', 'about 2.5 h']
    """
    if seconds < 10:
        return "a few seconds"
    if seconds < 90:
        return f"about {round(seconds, -1):.0f} s"
    if seconds < 90 * 60:
        return f"about {seconds / 60:.0f} min"
    return f"about {seconds / 3600:.1f} h"
