"""Style transfer by optimizing an image, which is the one parameter."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import torch
from lightning.pytorch import Callback
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from nst_lightning._compat import is_attached, leave_epoch_open
from nst_lightning.data.schedule import Level
from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.encoders.guide_propagation import Propagation
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.losses.loss import Loss
from nst_lightning.losses.objective import Objective, References, Targets
from nst_lightning.losses.tiling.distributed import TileGroup
from nst_lightning.losses.tiling.tiled_objective import check_tile_size, check_tileable
from nst_lightning.tasks.defaults import default_encoder, default_optimizer, with_default_losses
from nst_lightning.tasks.image_optimization import Clamp, DivergenceGuard, ImageOptimization, resize_iterate
from nst_lightning.tasks.optimizers import (
    check_schedules,
    configured_state,
    continue_with_config,
    make_optimizer,
    saved_by,
    with_schedule,
)
from nst_lightning.tasks.precision import check_lbfgs, encoder_dtype, scales_gradients
from nst_lightning.tasks.reporting import comparable_settings, grouped, is_logging_step, step_metrics
from nst_lightning.tasks.tile_size import TileSizes
from nst_lightning.tasks.trainer_check import check_trainer


class LevelObjectives(nn.Module):
    """One objective for each range of sizes that has its own encoder or layers.

    Args:
        encoder: Network for the levels below the least of the sizes.
        by_size: Encoders from a long side on, pixels; may be empty.
        losses: Losses; a level has those layers that are compared at its size (`Loss.at_size`).
        guide_propagation: Way in which masks reach deeper layers, as in `Objective`.

    Raises:
        UserError: If a size is below 1, or as in `Objective`.
    """

    def __init__(
        self, encoder: VGG19, by_size: Mapping[int, VGG19], losses: Sequence[Loss], guide_propagation: Propagation
    ) -> None:
        super().__init__()
        if by_size and min(by_size) < 1:
            raise UserError(
                f"model.encoder_by_size: expected long sides of at least 1 pixel, found {min(by_size)}; write for "
                "example {512: …}."
            )
        self._encoders = {0: encoder, **{size: by_size[size] for size in sorted(by_size)}}
        ends = {size + 1 for loss in losses for size in loss.up_to.values()}
        self.sizes = sorted({*self._encoders, *ends})
        objectives = []
        for size in self.sizes:
            network = [each for start, each in self._encoders.items() if start <= size][-1]
            objectives.append(Objective(network, [loss.at_size(size) for loss in losses], guide_propagation))
        self.objectives = nn.ModuleList(objectives)

    def all(self) -> list[Objective]:
        """Return every objective, coarse to fine."""
        return [objective for objective in self.objectives if isinstance(objective, Objective)]

    def at(self, level: Level) -> Objective:
        """Return the objective of a level."""
        long_side = max(level.height, level.width)
        return [objective for size, objective in zip(self.sizes, self.all(), strict=True) if size <= long_side][-1]

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) that identifies the encoders and their sizes; a single encoder has its own."""
        if len(self._encoders) == 1:
            return self._encoders[0].digest
        rows = "\n".join(f"{size} {encoder.digest}" for size, encoder in self._encoders.items())
        return hashlib.sha256(rows.encode()).hexdigest()

    @property
    def description(self) -> str:
        """Names of the encoders' weights and the long sides that they begin with, such as `vgg19, compact (512)`."""
        names = {size: encoder.weights_name for size, encoder in self._encoders.items()}
        return ", ".join([names.pop(0), *(f"{name} ({size})" for size, name in names.items())])


_LEAST_LR_FACTOR = 0.25  # of the coarsest levels, whose steps would be too short to leave where the image begins
_KEY = "style_transfer"  # of what a checkpoint holds beside Lightning's own


def precision_of(checkpoint: dict[str, Any]) -> str:
    """Return the precision that a checkpoint's image was painted in, as `--trainer.precision` takes it.

    Args:
        checkpoint: Content of a `StyleTransfer`'s checkpoint. Those of version 0.1 do not say; its default was
            `32-true`.
    """
    return str(checkpoint.get(_KEY, {}).get("precision", "32-true"))


class StyleTransfer(ImageOptimization):
    """Optimize an image so that its features match those of a content and of style images.

    Gatys, Ecker and Bethge, "A Neural Algorithm of Artistic Style", 2015. What differs by default: the image
    is painted coarse to fine, with Adam in opponent colors, inside [0, 1], with steps that grow shorter.
    configs/gatys2015.yaml has the paper's own procedure.

    All images come from the batch. With a `style` alone it synthesizes a texture, with a `content` alone it inverts
    features. Where none of the four kinds of losses is named it has those of configs/starry.yaml: the defaults are that
    config's.

    Args:
        encoder: Frozen network; `None` for the paper's VGG19 with replicated borders.
        content: Loss against the content image.
        style: Loss against the style images.
        variation: Loss of the image itself, such as total variation.
        extra_losses: Further losses, your own for example.
        optimizer: Function that makes the optimizer of the image, anew at each pyramid level.
        lr_scheduler: Function that makes a schedule, which advances every step.
        decay: Part of the learning rate that is left at the end of each pyramid level, in (0, 1]; it falls on a
            straight line. A level begins with long steps, and ends with short ones that settle.
        average: Decay of the moving average that is the result, in [0, 1); 0 for the last iterate.
        guide_propagation: Way in which masks reach deeper layers: `simple` averages, `inside` counts only positions
            that see nothing but their region, `all` every position that sees it.
        tile_size: Longest side of the tiles that the objective and its gradient are computed by, pixels: memory for
            features follows the tile, not the image. `auto` picks what the free memory allows at the start of the run;
            `None` is for the whole image at once, or one tile for each process of a distributed run. Both are those of
            the whole image to rounding, which grows over the steps: with precision `64-true` the image is the same,
            with `32-true` its details differ, as they do between two machines.
        compile: Whether `torch.compile` makes one program of the objective, for each level anew: a minute's work that
            pays off on GPUs and in long runs, not on CPUs (benchmarks/README.md). No effect where there are tiles.
        clamp: Point in a step at which the image is cut off to [0, 1]. L-BFGS wants `never`, or `before_evaluation`.
        encoder_by_size: Networks that take the encoder's place from a level's long side on, pixels: with `{512: …}` a
            level of 512 pixels and all finer ones are painted with another network than the coarse ones.
        full_lr_size: Long side from which on a level has the optimizer's learning rate, pixels, as has the finest one
            whatever its size; that of coarser ones is in proportion to their long side, but not below a quarter: long
            steps there make dots of two or three pixels, which every finer level sharpens. A first level that begins
            with another image than the content, recolored or not, has far to go, and the whole rate. `None` for the
            same rate at all levels.

    Attributes:
        level: Index of the present level; `None` before the first step.
        labels: Names and values that `settings` has beside the model's own, such as the run's place in the grid of a
            sweep; for whoever starts the run to add to.
        tile_sizes: Tiles of each level.

    Raises:
        UserError: If there is no loss, one of them reads a layer the encoder lacks, or the optimizer refuses a setting.

    Example:
        `nst_lightning.fit` paints with it; so does a plain `lightning.Trainer` with a `TransferData`.

        >>> from nst_lightning import ContentLoss, GramStyleLoss, StyleTransfer
        >>> task = StyleTransfer(content=ContentLoss(["relu4_2"]), style=GramStyleLoss(["relu1_1", "relu3_1"]))
        >>> [name for name, parameter in task.named_parameters()]
        ['image']
        >>> task.settings()["encoder"], task.settings()["optimizer"]
        ('vgg19', 'OpponentAdam')
    """

    @with_default_losses
    def __init__(
        self,
        encoder: VGG19 | None = None,
        content: Loss | None = None,
        style: Loss | None = None,
        variation: Loss | None = None,
        extra_losses: list[Loss] | None = None,
        optimizer: OptimizerCallable = default_optimizer,
        lr_scheduler: LRSchedulerCallable | None = None,
        decay: float = 0.05,
        average: float = 0.0,
        guide_propagation: Propagation = "simple",
        tile_size: int | Literal["auto"] | None = None,
        compile: bool = False,
        clamp: Clamp = "after_step",
        encoder_by_size: dict[int, VGG19] | None = None,
        full_lr_size: int | None = 512,
    ) -> None:
        super().__init__(average, clamp)
        if not 0 < decay <= 1:
            raise UserError(f"model.decay is above 0 and at most 1, but {decay} was given.")
        if full_lr_size is not None and full_lr_size < 1:
            raise UserError(f"model.full_lr_size is at least 1 pixel or null, but {full_lr_size} was given.")
        losses = [loss for loss in (content, style, variation, *(extra_losses or ())) if loss is not None]
        encoder = encoder or default_encoder()
        self.objectives = LevelObjectives(encoder, encoder_by_size or {}, losses, guide_propagation)
        self.targets: Targets | None = None
        self._compiled = compile
        self._current = 0  # index of the objective of the present level
        check_tile_size(tile_size, losses)
        self.tile_sizes = TileSizes(tile_size)
        self.optimizer = optimizer
        with_schedule(self._make_optimizer(), lr_scheduler)  # a mistake is told before anything runs
        self.lr_scheduler = lr_scheduler
        self.decay = decay
        self.full_lr_size = full_lr_size
        self._begins_afar = False  # the first level, from another image than the content, recolored or not
        self.level: int | None = None
        self.labels: dict[str, str] = {}
        self._images_digest = ""

    @property
    def objective(self) -> Objective:
        """Objective of the present level; before the first, that of the coarsest."""
        return self.objectives.all()[self._current]

    @property
    def encoder(self) -> VGG19:
        """Frozen network of the present level."""
        return self.objective.encoder

    def settings(self) -> dict[str, Any]:
        """Return the settings that one compares runs by, as numbers and words."""
        # The coarsest level has all layers (`Loss.up_to`).
        settings = comparable_settings(self.objectives.all()[0], self._make_optimizer())
        settings["encoder"] = self.objectives.description
        settings |= {
            "decay": self.decay,
            "full_lr_size": self.full_lr_size,
            "average": self.iterate_average.decay,
            "clamp": self.clamp,
        }
        return settings | self.labels

    def final_terms(self, make_batch: Callable[[int], TransferBatch]) -> dict[str, float]:
        """Evaluate the objective on the result.

        The value is not the loss of the last step, which is the last iterate's before it moved: the result may be an
        average of iterates. It is the result's before the data module finishes it (`TransferData.finish`), without
        rounding.

        Args:
            make_batch: Function that makes the batch of a level, such as `TransferData.batch`; called where no step of
                this run has measured the targets, as in a resumed run with nothing left to do.

        Returns:
            Weighted terms such as `style/relu3_1`, the sum of each loss of several layers (`style`), and the `total`;
            nothing before the first step.
        """
        if self.level is None:
            return {}
        if self.targets is None:
            self.enter_level(make_batch(self.level).to(self.device))
        assert self.targets is not None
        with torch.no_grad():
            _, terms = self.objective(self.result(), self.targets)
        return {name: float(term) for name, term in grouped(terms).items()}

    def _make_optimizer(self) -> Optimizer:
        return make_optimizer(self.optimizer, [self.image])

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Return the optimizer of the image, and its schedule if there is one."""
        optimizer = self._make_optimizer()
        if isinstance(optimizer, torch.optim.LBFGS):
            check_lbfgs(self.trainer, self.clamp)
        return with_schedule(optimizer, self.lr_scheduler)

    def configure_callbacks(self) -> list[Callback]:
        """Add none; the first that a Trainer calls, and the place to refuse one that does not fit."""
        check_trainer(self.trainer)
        return []

    def on_fit_start(self) -> None:
        """Convert the encoders once: autocast would convert their frozen weights at every step."""
        for objective in self.objectives.all():
            objective.encoder.cast(encoder_dtype(self.trainer))
        self._group = TileGroup(self.trainer.global_rank, self.trainer.world_size)
        if self._group.size > 1:
            check_tileable(self.objective.losses)
        if scales_gradients(self.trainer) and (self._group.size > 1 or self.tile_sizes.wanted is not None):
            # A tile's gradient is complete, in float16 too, before the scaler gets to see it: it would be 0.
            raise UserError("tiles can't be painted with --trainer.precision 16-mixed; use bf16-mixed or 32-true.")

    def on_train_start(self) -> None:
        """Begin afresh unless a checkpoint was loaded; measure the targets anew in any case."""
        check_schedules(self.trainer)
        self.targets = None
        if self.trainer.global_step == 0:
            self.level = None
            self.loss = None
            self.iterate_average.restart()
            self.guard = DivergenceGuard()
            self.tile_sizes.by_level = []

    def on_train_batch_start(self, batch: TransferBatch, batch_idx: int) -> int | None:
        """Enter the batch's level if it is not the present one, or its targets have not been measured.

        Returns:
            -1, by which Lightning skips the epoch, where all steps are done: a plain Trainer would go on to another.
        """
        super().on_train_batch_start(batch, batch_idx)
        if self.global_step >= batch.schedule.total_steps:
            self.trainer.should_stop = True
            return -1
        if batch.level != self.level or self.targets is None:
            self.enter_level(batch)
        decayed = 1 - (1 - self.decay) * batch.schedule.part_done(self.global_step)
        self._lr_factor = decayed * self._level_factor(batch.schedule.levels, batch.level)
        return None

    def _level_factor(self, levels: Sequence[Level], level: int) -> float:
        """Return the part of the learning rate that a level has."""
        if self.full_lr_size is None or (level == 0 and self._begins_afar):
            return 1.0
        sides = [max(each.height, each.width) for each in levels]
        return min(1.0, max(_LEAST_LR_FACTOR, sides[level] / min(sides[-1], self.full_lr_size)))

    def on_train_batch_end(self, outputs: Any, batch: TransferBatch, batch_idx: int) -> None:
        """Stop the Trainer, whatever its `max_epochs`, when all steps are done."""
        del outputs, batch_idx
        if self.global_step >= batch.schedule.total_steps:
            self.trainer.should_stop = True

    def enter_level(self, batch: TransferBatch) -> None:
        """Bring the image and the optimizer to a batch's level, and measure the level's targets.

        The first level's image is made of the batch's initial one, that of each further level of the level's before; at
        the present level the image stays, as after a resume.

        Args:
            batch: Batch with the level's images, on this module's device; it is read, not changed.

        Raises:
            UserError: If the checkpoint was painted from other images, one is too small for a layer, or no tile fits
                into the memory.
        """
        size = (batch.size.height, batch.size.width)
        if self.level is None:
            assert batch.initial is not None  # the first level's batch brings it
            self._replace_image(batch.initialize_from_warped(batch.initial.clone()))
        else:
            self.check_images(batch.digest)
            if batch.level != self.level:
                enlarged = resize_iterate(self._iterate(), size, clamp=self.clamp != "never")
                self._replace_image(batch.initialize_from_warped(enlarged))
        if batch.initial is not None:
            self._begins_afar = not batch.begins_as_content
        self.level = batch.level
        self._images_digest = batch.digest
        self.targets = None  # there may be no room for those of two levels
        self._current = self.objectives.all().index(self.objectives.at(batch.size))
        self.encoder.check(self.objective.taps(), *size)
        self.tile_sizes.choose(batch.schedule, batch.level, self.objectives.at, self.device, self._group)
        tiling = self.tile_sizes.tiling(batch.level, size, self.objective, self.device, self._group)
        references = References(
            *(batch.content, batch.styles, batch.style_weights, batch.guides, batch.warped, batch.warped_guide)
        )
        self.targets = self.objective.measure(references, tiling=tiling, compiled=self._compiled)

    def check_size(self, level: Level, styles: Sequence[tuple[int, int]]) -> None:
        """Refuse a level that is too small for a layer.

        Args:
            level: Level.
            styles: Height and width of each style at the level, pixels.

        Raises:
            UserError: If the image or a style is.
        """
        objective = self.objectives.at(level)
        objective.encoder.check(objective.taps(), level.height, level.width)
        if objective.taps("style"):
            for number, size in enumerate(styles, 1):
                objective.check_style(number, *size)

    def check_images(self, digest: str) -> None:
        """Refuse to go on from a checkpoint with other images.

        Args:
            digest: Digest of the data module (`TransferData.digest`).

        Raises:
            UserError: If the checkpoint was painted from others.
        """
        if digest != self._images_digest:
            raise UserError(
                "the checkpoint was painted from other content or style pictures, guides or colors; restore the data "
                "options, or start without --ckpt_path (with data.init set to the earlier result to paint over it)."
            )

    def training_step(self, batch: TransferBatch, batch_idx: int) -> Tensor:
        """Evaluate the objective.

        Returns:
            The sum of all weighted terms, a float32 scalar.
        """
        del batch_idx
        if self.clamp == "before_evaluation":
            with torch.no_grad():
                self.image.clamp_(0, 1)
        loss: Tensor
        assert self.targets is not None  # of the batch's level, which was entered
        loss, terms = self.objective(self.image, self.targets)
        self.loss = loss.detach()
        if is_logging_step(self.trainer):
            self.log_dict(step_metrics(terms, self.trainer.optimizers[0], batch), batch_size=1)
        return loss

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what a byte-identical resume needs beside the image and the optimizer's state."""
        # Whether this was the last batch, the schedule says that the run is resumed under: it may be longer.
        leave_epoch_open(checkpoint)
        checkpoint[_KEY] = {
            "level": self.level,
            "encoder": self.objectives.digest,
            "precision": str(self.trainer.precision),
            "pictures": self._images_digest,
            **configured_state(self.trainer.optimizers[0], self._make_optimizer, self.lr_scheduler),
            "average": self.iterate_average.state_dict(),
            "guard": self.guard.state_dict(),
            "tile_sizes": self.tile_sizes.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the state over, sizes included; optimizer settings stay those of the config.

        Raises:
            UserError: If the checkpoint belongs to another encoder, optimizer or kind of model.
        """
        saved = saved_by("StyleTransfer", checkpoint, _KEY)
        precision = precision_of(checkpoint)
        if is_attached(self):  # else it is `load_from_checkpoint`: the image alone, which may not be painted further
            continue_with_config(checkpoint, saved, self.objectives.digest, self._make_optimizer, self.lr_scheduler)
            precision = str(self.trainer.precision)
        # A new parameter of the right size: the optimizer is built after this hook.
        dtype = torch.float64 if precision == "64-true" else torch.float32
        image = checkpoint["state_dict"]["image"]
        if image.ndim != 4 or image.shape[:2] != (1, 3):
            raise ValueError(f"its image has the shape {tuple(image.shape)}")
        image = torch.empty_like(image, device=self.device, dtype=dtype)
        self.image = nn.Parameter(image)
        self.level = saved["level"]
        self._images_digest = saved["pictures"]
        self.iterate_average.load_state_dict(saved["average"], self.image)
        self.guard.load_state_dict(saved["guard"], self.image)
        self.tile_sizes.load_state_dict(saved["tile_sizes"])
