"""Training a compact VGG19 to compute the feature maps of a pretrained network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import EllipsisType

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from safetensors.torch import save
from torch import Tensor, nn

from nst_lightning.encoders.topology import INPUT, LAYERS, check_layers, deepest
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.encoders.weight_files import read_checkpoint
from nst_lightning.errors import UserError, one_line, user_path
from nst_lightning.tasks.checkpointed import CheckpointedTask
from nst_lightning.tasks.distillation.teacher_student import StudentVGG19, Teacher, fold, normalize_activations
from nst_lightning.tasks.optimizers import make_optimizer, with_schedule
from nst_lightning.tasks.precision import encoder_dtype
from nst_lightning.tasks.reporting import is_logging_step
from nst_lightning.utils.atomic import atomic_file
from nst_lightning.utils.torch_files import load_tensors

_COMPARED_SIDE = 32


class EncoderDistillation(CheckpointedTask):
    r"""Distil a teacher's feature maps into a narrow VGG19 (Romero et al., "FitNets", 2015).

    At each pair of a student's layer s and a teacher's layer t a learned 1×1 convolution P maps the
    student's channels onto the teacher's, standardized. The loss of a pair is the unexplained variance
    :math:`\mathrm{mean}_c\, \mathrm{mean}_{xy}(P f^s - (f^t - \mathrm{mean}) / \mathrm{std})_c^2`, means and standard
    deviations being those of the teacher's channels, tracked over the batches: whatever the teacher's scale, P's
    weights are of the order of 1. The student's map is resized to the teacher's grid. The teacher's layer may be
    `input`: then the student must keep the pixels themselves, folded to its own grid by pixel unshuffling, which holds
    color and fine detail in the lower layers.

    Args:
        teacher: Pretrained network.
        pairs: Student layer, teacher layer and weight of each term, as `relu3_4: {fire3: 1.0}`.
        widths: Channels of the student's five blocks.
        output: File to write the folded, normalized network to at the end (`.safetensors`, float16).
        optimizer: Function that makes the optimizer of the student and the projections, which are its two parameter
            groups: a schedule that takes one learning rate for each group, such as `OneCycleLR`, may let the
            projections learn faster.
        lr_scheduler: Function that makes a schedule, which advances every step.
        normalization_batches: Training batches over which the exported channels' mean activations are 1.
        initial: File to go on from, with other pairs, data or rates; `None` for random weights. Either the checkpoint
            of an earlier distillation with the same widths: its student, and the projections of the pairs that both
            have. Or an encoder's weights file, such as an earlier `output`, which trains on without batch norm.

    Raises:
        UserError: If there is no pair, or one names a layer that the student or the teacher lacks.
    """

    def __init__(
        self,
        teacher: VGG19 | Teacher,
        pairs: dict[str, dict[str, float]],
        output: str,
        widths: tuple[int, int, int, int, int] = (16, 32, 64, 128, 128),
        optimizer: OptimizerCallable = torch.optim.AdamW,
        lr_scheduler: LRSchedulerCallable | None = None,
        normalization_batches: int = 64,
        initial: str | None = None,
    ) -> None:
        super().__init__()
        check_layers(pairs)
        if INPUT in pairs or not any(pairs.values()):
            raise UserError("model.pairs must give layers of the student teacher's layers, as relu1_1: {input: 1.0}.")
        self.teacher = teacher
        self.terms = [(s, t, weight) for s, targets in pairs.items() for t, weight in targets.items()]
        self._targets = list(dict.fromkeys(name for _, name, _ in self.terms if name != INPUT))
        _check_targets(teacher, self._targets)
        teacher.requires_grad_(False)
        state = {} if initial is None else _read_initial(user_path(initial))
        student = StudentVGG19(widths, batch_norm="student.convolutions.conv1_1.bias" not in state)
        self.student = student.to(memory_format=torch.channels_last)  # a quarter faster on CPUs
        self.output = user_path(output)
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.normalization_batches = normalization_batches
        self.projections = nn.ModuleDict()
        self._build_projections()
        if initial is not None:
            self._load(state, user_path(initial))

    def _load(self, state: Mapping[str, Tensor], path: Path) -> None:
        try:
            unknown = self.load_state_dict({key: state[key] for key in self.state_dict() if key in state}, strict=False)
        except RuntimeError as error:  # a tensor of another shape
            raise _not_initial(path, error) from error
        used = LAYERS[: deepest(s for s, _, _ in self.terms)]
        if lacking := [key for key in unknown.missing_keys if key.startswith("student.") and key.split(".")[2] in used]:
            raise _not_initial(path, f"it lacks {lacking[0]}")

    def _build_projections(self) -> None:
        with torch.no_grad():
            probe = torch.zeros(1, 3, 64, 64)
            targets = self.teacher(probe, self._targets)
            student = self.student.eval()(probe, [s for s, _, _ in self.terms])
        self.student.train()
        for s, t, _ in self.terms:
            target = _fold_pixels(probe, student[s]) if t == INPUT else targets[t]
            self.projections[_pair_name(s, t)] = nn.Conv2d(student[s].shape[1], target.shape[1], 1)
            self.register_buffer(f"mean_{_pair_name(s, t)}", torch.zeros(target.shape[1]))
            self.register_buffer(f"variance_{_pair_name(s, t)}", torch.ones(target.shape[1]))

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer of the student and the projections, the schedule advancing every step."""
        groups = [{"params": [*module.parameters()]} for module in (self.student, self.projections)]
        optimizer = make_optimizer(self.optimizer, groups)
        return with_schedule(optimizer, self.lr_scheduler)

    def on_fit_start(self) -> None:
        """Convert a VGG19 that teaches once: autocast would convert its frozen weights at every step."""
        if isinstance(self.teacher, VGG19):
            self.teacher.cast(encoder_dtype(self.trainer))

    def unexplained_variances(self, images: Tensor) -> list[Tensor]:
        """Return the unexplained variance of each pair, scalars with their gradient; in training, track the teacher's.

        Args:
            images: sRGB in [0, 1], `(N, 3, H, W)`.
        """
        with torch.no_grad():
            targets = self.teacher(images, self._targets)
        student = self.student(images, [s for s, _, _ in self.terms])
        errors = []
        for s, t, _ in self.terms:
            projection = self.projections[_pair_name(s, t)]
            target = _fold_pixels(images, student[s]) if t == INPUT else targets[t]
            if student[s].shape[-2:] == target.shape[-2:]:
                sample = self.compared_positions(target)
                predicted, target = projection(student[s][sample]).float(), target[sample].float()
            else:
                predicted = F.interpolate(projection(student[s]).float(), target.shape[-2:], mode="bilinear")
                target = target.float()
            mean, variance = (self.get_buffer(f"{kind}_{_pair_name(s, t)}") for kind in ("mean", "variance"))
            if self.training:
                momentum = 1.0 if self.global_step == 0 else 0.01
                found = torch.var_mean(target, dim=(0, 2, 3))
                variance.lerp_(found[0], momentum)
                mean.lerp_(found[1], momentum)
            # Channels that are (nearly) always off have no variance to explain.
            scale = variance.clamp_min(1e-3 * variance.mean()).rsqrt()
            standardized = (target - mean.view(1, -1, 1, 1)) * scale.view(1, -1, 1, 1)
            errors.append((predicted - standardized).square().mean())
        return errors

    def compared_positions(self, target: Tensor) -> tuple[slice | EllipsisType, ...]:
        """Return the positions of a map that are compared: in training at most 32 or so in a row, others at each step.

        The shallow maps have many positions that are alike; comparing all of them takes a third of a step.

        Args:
            target: Map of the teacher, `(N, C, h, w)`.
        """
        stride = max(1, min(target.shape[-2:]) // _COMPARED_SIDE) if self.training else 1
        row, column = divmod(self.global_step % stride**2, stride)
        return ..., slice(row, None, stride), slice(column, None, stride)

    def training_step(self, images: Tensor, batch_idx: int) -> Tensor:
        """Return the weighted sum of unexplained variances of a batch `(N, 3, H, W)` in [0, 1]."""
        del batch_idx
        errors = self.unexplained_variances(images)
        if is_logging_step(self.trainer):
            metrics = {f"train/{s}-{t}": e.detach() for (s, t, _), e in zip(self.terms, errors, strict=True)}
            self.log_dict(metrics, batch_size=images.shape[0])
        return torch.stack([w * e for (_, _, w), e in zip(self.terms, errors, strict=True)]).sum()

    def validation_step(self, images: Tensor, batch_idx: int) -> None:
        """Log the unexplained variance of each pair on held-out images."""
        del batch_idx
        errors = self.unexplained_variances(images)
        metrics = {f"val/{s}-{t}": e for (s, t, _), e in zip(self.terms, errors, strict=True)}
        self.log_dict(metrics, batch_size=images.shape[0], sync_dist=True)

    def on_train_end(self) -> None:
        """Fold, normalize and write the student."""
        if self.trainer.is_global_zero:
            self.export(self.output)

    def export(self, path: Path) -> None:
        """Write the student as a frozen encoder: batch norm folded, mean activations 1, float16.

        The network ends at the deepest layer of the pairs.

        Args:
            path: Path of a `.safetensors` file, whose folder is made.
        """
        # Layers beyond the deepest pair have learned nothing: tapping them later is an error instead.
        trained = LAYERS[: deepest(s for s, _, _ in self.terms)]
        folded = fold(self.student)
        state = {key: value.cpu() for key, value in folded.items() if key.split(".")[0] in trained}
        assert self.trainer.train_dataloader is not None  # the one that training has used
        state = normalize_activations(state, islice(self.trainer.train_dataloader, self.normalization_batches))
        halves = {key: value.half().contiguous() for key, value in state.items()}
        with atomic_file(path) as file:
            file.write(save(halves, {"preprocessing": "imagenet"}))
        rank_zero_info(f"encoder: {path}")


def _read_initial(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint, or those of an encoder's weights file under the module's keys."""
    if path.suffix == ".safetensors":
        return {f"student.convolutions.{key}": value for key, value in read_checkpoint(path)[0].items()}
    try:
        return dict(load_tensors(path)["state_dict"])
    except Exception as error:  # a damaged file trips the unpickler in ways that have no common class
        raise _not_initial(path, error) from error


def _not_initial(path: Path, reason: Exception | str) -> UserError:
    return UserError(
        "expected in model.initial a checkpoint of a distillation, or an encoder (.safetensors), with the same widths, "
        f"found {path} ({one_line(reason)[:200]}); give another, or leave it out."
    )


def _check_targets(teacher: VGG19 | Teacher, names: Sequence[str]) -> None:
    if isinstance(teacher, VGG19):
        check_layers(names)
        return
    for name in names:
        if name not in teacher.layers:
            raise UserError(f"the teacher does not tap {name!r}; its layers are {', '.join(teacher.layers)}.")


def _fold_pixels(images: Tensor, like: Tensor) -> Tensor:
    """Return for each position of a map the pixels that it stands for, as channels (pixel unshuffling)."""
    height, width = like.shape[-2:]
    # Poolings round down: the ratio lies between their power of two and the next, and a margin is left out.
    factor = 1 << ((images.shape[-1] // width).bit_length() - 1)
    return F.pixel_unshuffle(images[..., : height * factor, : width * factor], factor)


def _pair_name(student: str, teacher: str) -> str:
    return f"{student}_{teacher.replace('.', '_')}"  # a module's name may hold no dot
