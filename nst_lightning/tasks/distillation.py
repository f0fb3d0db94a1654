"""Train a compact VGG19 to compute what a pretrained network computes."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from safetensors.torch import save_file
from torch import Tensor, nn

from nst_lightning.encoders.student import StudentVGG19, fold, normalize_activations
from nst_lightning.encoders.teacher import Teacher
from nst_lightning.encoders.topology import INPUT, LAYERS, check_layers, deepest
from nst_lightning.errors import UserError
from nst_lightning.images.atomic import atomic_path
from nst_lightning.tasks.reporting import is_logging_step
from nst_lightning.tasks.stepping import make_optimizer, with_schedule


class EncoderDistillation(LightningModule):
    r"""Distil a teacher's feature maps into a narrow VGG19 (Romero et al., "FitNets", 2015).

    At each pair of a student's layer s and a teacher's layer t a learned 1×1 convolution P maps the
    student's channels onto the teacher's. The loss of a pair is the unexplained variance
    :math:`\mathrm{mean}_c\, \mathrm{mean}_{xy}(P f^s - f^t)_c^2 / \mathrm{var}_c`, the variances being those of
    the teacher's channels, tracked over the batches. The student's map is resized to the teacher's grid. The
    teacher's layer may be `input`: then the student must keep the pixels themselves, folded to its own
    grid by pixel unshuffling, which holds colour and fine detail in the lower layers.

    Args:
        teacher: The pretrained network.
        pairs: Student layer, teacher layer and weight of each term, as `relu3_4: {fire3: 1.0}`.
        widths: Channels of the student's five blocks.
        output: Where to write the folded, normalised network (`.safetensors`, float16) at the end.
        optimizer: Makes the optimiser of the student and the projections.
        lr_scheduler: Makes a schedule that advances every step.
        normalization_batches: Training batches over which the exported channels' mean activations are 1.

    Raises:
        UserError: If there is no pair, or one names a layer that the student or the teacher lacks.
    """

    def __init__(
        self,
        teacher: Teacher,
        pairs: dict[str, dict[str, float]],
        output: str,
        widths: tuple[int, int, int, int, int] = (16, 32, 64, 128, 128),
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        normalization_batches: int = 64,
    ) -> None:
        super().__init__()
        check_layers(pairs)
        if INPUT in pairs or not any(pairs.values()):
            raise UserError("model.pairs must give layers of the student teacher's layers, as relu1_1: {input: 1.0}.")
        self.teacher = teacher
        self.terms = [(s, t, weight) for s, targets in pairs.items() for t, weight in targets.items()]
        for _, name, _ in self.terms:
            if name != INPUT and name not in teacher.layers:
                raise UserError(f"the teacher does not tap {name!r}; its layers are {', '.join(teacher.layers)}.")
        self.student = StudentVGG19(widths).to(memory_format=torch.channels_last)  # a quarter faster on CPUs
        self.output = Path(output)
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.normalization_batches = normalization_batches
        self.projections = nn.ModuleList()
        self._build_projections()

    def _build_projections(self) -> None:
        with torch.no_grad():
            probe = torch.zeros(1, 3, 64, 64)
            targets = self.teacher(probe)
            student = self.student.eval()(probe, [s for s, _, _ in self.terms])
        self.student.train()
        for s, t, _ in self.terms:
            target = _fold_pixels(probe, student[s]) if t == INPUT else targets[t]
            self.projections.append(nn.Conv2d(student[s].shape[1], target.shape[1], 1))
            self.register_buffer(_variance_name(s, t), torch.ones(target.shape[1]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Give the optimiser of the student and the projections, the schedule advancing every step."""
        parameters = [*self.student.parameters(), *self.projections.parameters()]
        optimizer = make_optimizer(self.optimizer, parameters)
        return with_schedule(optimizer, self.lr_scheduler)

    def _unexplained(self, images: Tensor) -> list[Tensor]:
        with torch.no_grad():
            targets = self.teacher(images)
        student = self.student(images, [s for s, _, _ in self.terms])
        errors = []
        for (s, t, _), projection in zip(self.terms, self.projections, strict=True):
            target = (_fold_pixels(images, student[s]) if t == INPUT else targets[t]).float()
            predicted = projection(student[s]).float()
            if predicted.shape[-2:] != target.shape[-2:]:
                predicted = F.interpolate(predicted, target.shape[-2:], mode="bilinear")
            variance = self.get_buffer(_variance_name(s, t))
            if self.training:
                momentum = 1.0 if self.global_step == 0 else 0.01
                variance.lerp_(target.var(dim=(0, 2, 3)), momentum)
            error = (predicted - target).square().mean(dim=(0, 2, 3))
            # Channels that are (nearly) always off have no variance to explain.
            errors.append((error / variance.clamp_min(1e-3 * variance.mean())).mean())
        return errors

    def training_step(self, images: Tensor, batch_idx: int) -> Tensor:
        """Give the weighted sum of unexplained variances of a batch `(N, 3, H, W)` in [0, 1]."""
        del batch_idx
        errors = self._unexplained(images)
        if is_logging_step(self.trainer):
            metrics = {f"train/{s}-{t}": e.detach() for (s, t, _), e in zip(self.terms, errors, strict=True)}
            self.log_dict(metrics, batch_size=images.shape[0])
        return torch.stack([w * e for (_, _, w), e in zip(self.terms, errors, strict=True)]).sum()

    def validation_step(self, images: Tensor, batch_idx: int) -> None:
        """Log the unexplained variance of each pair on held-out pictures."""
        del batch_idx
        errors = self._unexplained(images)
        metrics = {f"val/{s}-{t}": e for (s, t, _), e in zip(self.terms, errors, strict=True)}
        self.log_dict(metrics, batch_size=images.shape[0], sync_dist=True)

    def on_train_end(self) -> None:
        """Fold, normalise and write the student."""
        if self.trainer.is_global_zero:
            self.export(self.output)

    def export(self, path: Path) -> None:
        """Write the student as a frozen encoder: batch norm folded, mean activations 1, float16.

        The network ends at the deepest layer of the pairs.

        Args:
            path: A `.safetensors` file; its folder is made.
        """
        # Layers beyond the deepest pair have learned nothing: tapping them later is an error instead.
        trained = LAYERS[: deepest(s for s, _, _ in self.terms)]
        folded = fold(self.student)
        state = {key: value.cpu() for key, value in folded.items() if key.split(".")[0] in trained}
        assert self.trainer.train_dataloader is not None  # the one that training has used
        state = normalize_activations(state, islice(self.trainer.train_dataloader, self.normalization_batches))
        halves = {key: value.half().contiguous() for key, value in state.items()}
        with atomic_path(path) as temporary:
            save_file(halves, temporary, {"preprocessing": "imagenet"})
        rank_zero_info(f"encoder: {path}")


def _fold_pixels(images: Tensor, like: Tensor) -> Tensor:
    """Give each position of a map the pixels that it stands for, as channels (pixel unshuffling)."""
    height, width = like.shape[-2:]
    # Poolings round down: the ratio lies between their power of two and the next, and a margin is left out.
    factor = 1 << ((images.shape[-1] // width).bit_length() - 1)
    return F.pixel_unshuffle(images[..., : height * factor, : width * factor], factor)


def _variance_name(student: str, teacher: str) -> str:
    return f"variance_{student}_{teacher.replace('.', '_')}"
