"""Style transfer by optimising a picture: the one parameter is the picture itself."""

from __future__ import annotations

from typing import Any, Literal

import torch
from lightning.pytorch.cli import LRSchedulerCallable, OptimizerCallable
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor, nn
from torch.optim import Optimizer

from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.encoders.guide_propagation import Propagation
from nst_lightning.encoders.vgg19 import VGG19
from nst_lightning.errors import UserError
from nst_lightning.losses.loss import Loss
from nst_lightning.losses.objective import Objective, References, Targets
from nst_lightning.losses.tiling.distributed import TileGroup
from nst_lightning.losses.tiling.tiled_objective import check_tile_size, check_tileable
from nst_lightning.tasks.divergence import DivergenceGuard
from nst_lightning.tasks.image_optimization import Clamp, OptimizedPicture
from nst_lightning.tasks.levels import resize_iterate
from nst_lightning.tasks.objectives import LevelObjectives
from nst_lightning.tasks.optimizers import check_schedules, make_optimizer, with_schedule
from nst_lightning.tasks.precision import ENCODER_DTYPES, check_lbfgs, scales_gradients
from nst_lightning.tasks.reporting import comparable_settings, is_logging_step, step_metrics
from nst_lightning.tasks.resume import (
    configured_schedule,
    configured_settings,
    continue_with_config,
    replay_changed_schedule,
    saved_by,
)
from nst_lightning.tasks.tile_size import TileSizes

_KEY = "style_transfer"  # of what a checkpoint holds beside Lightning's own


def precision_of(checkpoint: dict[str, Any]) -> str:
    """Return the precision that a checkpoint was painted in, as `--trainer.precision` takes it.

    Args:
        checkpoint: Content of a `StyleTransfer`'s checkpoint. Those of version 0.1 do not say; its default was
            `32-true`.
    """
    return str(checkpoint.get(_KEY, {}).get("precision", "32-true"))


def _adam(params: Any) -> Optimizer:
    """Make the default optimiser, that of crowsonkb/style-transfer-pytorch."""
    return torch.optim.Adam(params, lr=0.02, betas=(0.9, 0.99), fused=True)


class StyleTransfer(OptimizedPicture):
    """Optimise a picture so that its features match those of a content and of style pictures.

    Gatys, Ecker and Bethge, "A Neural Algorithm of Artistic Style", 2015. What differs by default: the picture
    is painted coarse to fine, with Adam, inside [0, 1], and the result is an average of iterates; with
    L-BFGS, `clamp: never` and `average: 0` it is the paper's procedure.

    All pictures come from the batch. Without `content` it synthesises a texture, without `style` it inverts
    features.

    Args:
        encoder: The frozen network; `None` for the compact VGG19 with replicated borders.
        encoder_by_size: Networks that take its place from a level's long side on, pixels: with `{512: …}` one level of
            512 pixels and all finer ones are painted with another network than the coarse ones.
        content: Loss against the content picture.
        style: Loss against the style pictures.
        variation: Loss of the picture itself, such as total variation.
        extra_losses: Any further losses, your own for example.
        optimizer: Makes the optimiser of the picture, anew at each pyramid level.
        lr_scheduler: Makes a schedule that advances every step.
        decay: What is left of the learning rate at the end of each pyramid level, in (0, 1]; it falls on a straight
            line. A level begins with long steps, and ends with short ones that settle.
        average: Decay of the moving average that is the result, in [0, 1); 0 for the last iterate.
        guide_propagation: How masks reach deeper layers: `simple` averages, `inside` counts only positions
            that see nothing but their region, `all` every position that sees it.
        tile_size: Longest side of the tiles that the objective and its exact gradient are computed by, pixels:
            memory for features follows the tile, not the picture. `auto` picks what the free memory allows at the start
            of the run; `None` is for the whole picture at once, or one tile for each process of a distributed run.
        compile: Let `torch.compile` make one program of the objective, for each level anew: a minute's work that pays
            off on GPUs and in long runs, not on CPUs (benchmarks/README.md). No effect where there are tiles.
        clamp: When the picture is cut off to [0, 1]. L-BFGS wants `never`, or `before_evaluation`.

    Raises:
        UserError: If there is no loss, one of them reads a layer the encoder lacks, or the optimiser refuses a setting.
    """

    def __init__(
        self,
        encoder: VGG19 | None = None,
        content: Loss | None = None,
        style: Loss | None = None,
        variation: Loss | None = None,
        extra_losses: list[Loss] | None = None,
        optimizer: OptimizerCallable = _adam,
        lr_scheduler: LRSchedulerCallable | None = None,
        decay: float = 1.0,
        average: float = 0.99,
        guide_propagation: Propagation = "simple",
        tile_size: int | Literal["auto"] | None = None,
        compile: bool = False,
        clamp: Clamp = "after_step",
        encoder_by_size: dict[int, VGG19] | None = None,
    ) -> None:
        super().__init__(average, clamp)
        if not 0 < decay <= 1:
            raise UserError(f"model.decay is above 0 and at most 1, but {decay} was given.")
        losses = [loss for loss in (content, style, variation, *(extra_losses or ())) if loss is not None]
        encoder = encoder or VGG19(padding="replicate")
        self.objectives = LevelObjectives(encoder, encoder_by_size or {}, losses, guide_propagation)
        self.targets: Targets | None = None
        self._compiled = compile
        self._current = 0  # index of the objective of the present level
        check_tile_size(tile_size, losses)
        self._tile_sizes = TileSizes(tile_size)
        with_schedule(make_optimizer(optimizer, [self.image]), lr_scheduler)  # a mistake is told before anything runs
        self.optimizer = optimizer
        self.lr_scheduler = lr_scheduler
        self.decay = decay
        self.level: int | None = None
        self._pictures_digest = ""

    @property
    def objective(self) -> Objective:
        """The objective of the present level; before the first, that of the coarsest."""
        return self.objectives.all()[self._current]

    @property
    def encoder(self) -> VGG19:
        """The frozen network of the present level."""
        return self.objective.encoder

    def settings(self) -> dict[str, Any]:
        """Give the settings that one compares runs by, as numbers and words."""
        settings = comparable_settings(self.objective, self.optimizer([self.image]))
        settings["encoder"] = self.objectives.description
        return {**settings, "decay": self.decay, "average": self._average.decay, "clamp": self.clamp}

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """Give the optimiser of the picture, and its schedule if there is one."""
        optimizer = make_optimizer(self.optimizer, [self.image])
        if isinstance(optimizer, torch.optim.LBFGS):
            check_lbfgs(self.trainer, self.clamp)
        return with_schedule(optimizer, self.lr_scheduler)

    def on_fit_start(self) -> None:
        """Convert the encoders once: autocast would convert their frozen weights at every step."""
        for objective in self.objectives.all():
            objective.encoder.cast(ENCODER_DTYPES[str(self.trainer.precision)])
        self._team = TileGroup(self.trainer.global_rank, self.trainer.world_size)
        if self._team.size > 1:
            check_tileable(self.objective.losses)
        if scales_gradients(self.trainer) and (self._team.size > 1 or self._tile_sizes.wanted is not None):
            # A tile's gradient is complete, in float16 too, before the scaler gets to see it: it would be 0.
            raise UserError("tiles can't be painted with --trainer.precision 16-mixed; use bf16-mixed or 32-true.")

    def on_train_start(self) -> None:
        """Begin afresh unless a checkpoint was loaded; measure the targets anew in any case."""
        check_schedules(self.trainer)
        self.targets = None
        if self.trainer.global_step == 0:
            self.level = None
            self.loss = None
            self._average.restart()
            self._guard = DivergenceGuard()
            self._tile_sizes.by_level = []

    def on_train_batch_start(self, batch: TransferBatch, batch_idx: int) -> None:
        """Enter the batch's level if it is not the present one; measure the targets once per level."""
        del batch_idx
        self._rate = 1 - (1 - self.decay) * batch.schedule.part_done(self.global_step)
        if batch.level == self.level and self.targets is not None:
            return
        size = (batch.size.height, batch.size.width)
        if self.level is None:
            assert batch.initial is not None  # the first level's batch brings it
            self._replace_image(batch.foretold(batch.initial.clone()))
            batch.initial = None  # of a huge picture there is no room for a copy
        else:
            self.check_pictures(batch.digest)
            if batch.level != self.level:
                enlarged = resize_iterate(self._iterate(), size, clamp=self.clamp != "never")
                self._replace_image(batch.foretold(enlarged))
        self.level = batch.level
        self._pictures_digest = batch.digest
        self.targets = None  # there may be no room for those of two levels
        self._current = self.objectives.all().index(self.objectives.at(batch.size))
        self.encoder.check(self.objective.taps(), *size)
        self._tile_sizes.choose(batch.schedule, batch.level, self.objectives.at, self.device, self._team)
        tiling = self._tile_sizes.tiling(batch.level, size, self.objective, self.device, self._team)
        references = References(
            *(batch.content, batch.styles, batch.style_weights, batch.guides, batch.warped, batch.warped_guide)
        )
        self.targets = self.objective.measure(references, tiling=tiling, compiled=self._compiled)
        if tiling is not None:
            batch.content = None  # measured; a picture that has to be tiled leaves no room for it

    def check_pictures(self, digest: str) -> None:
        """Refuse to go on from a checkpoint with other pictures.

        Args:
            digest: Of the data module.

        Raises:
            UserError: If the checkpoint was painted from others.
        """
        if digest != self._pictures_digest:
            raise UserError(
                "the checkpoint was painted from other content or style pictures, guides or colours; restore the data "
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
        """Add what a byte-identical resume needs beside the picture and the optimiser's state."""
        # Whether this was the last batch, the schedule says that the run is resumed under: it may be longer.
        checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]["is_last_batch"] = False
        checkpoint[_KEY] = {
            "level": self.level,
            "encoder": self.objectives.digest,
            "precision": str(self.trainer.precision),
            "pictures": self._pictures_digest,
            "optimizer": type(self.trainer.optimizers[0]).__qualname__,
            "configured": configured_settings(self.optimizer([self.image])),
            "schedule": configured_schedule(self.optimizer([self.image]), self.lr_scheduler),
            "average": self._average.state_dict(),
            "guard": self._guard.state_dict(),
            "tile_sizes": self._tile_sizes.state_dict(),
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the state over, sizes included; optimiser settings stay those of the config.

        Raises:
            UserError: If the checkpoint belongs to another encoder, optimiser or kind of model.
        """
        saved = saved_by("StyleTransfer", checkpoint, _KEY)
        continue_with_config(checkpoint, saved, self.objectives.digest, self.optimizer([self.image]))
        replay_changed_schedule(checkpoint, saved, self.optimizer([self.image]), self.lr_scheduler)
        # A new parameter of the right size: the optimiser is built after this hook.
        precision = torch.float64 if self.trainer.precision == "64-true" else torch.float32
        image = torch.empty_like(checkpoint["state_dict"]["image"], device=self.device, dtype=precision)
        self.image = nn.Parameter(image)
        self.level = saved["level"]
        self._pictures_digest = saved["pictures"]
        self._average.load_state_dict(saved["average"], self.image)
        self._guard.load_state_dict(saved["guard"], self.image)
        self._tile_sizes.load_state_dict(saved["tile_sizes"])
