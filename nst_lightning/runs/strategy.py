"""One picture on many devices."""

from __future__ import annotations

from lightning.pytorch.strategies import DDPStrategy, StrategyRegistry


class SharedPictureStrategy(DDPStrategy):
    """Lightning's DDP without its wrapper: processes, devices and nodes, but no reducer.

    The objective deals its tiles out and adds statistics and gradient up itself (`losses/tiling/`): every process has
    the gradient of the whole picture. DistributedDataParallel would average what is complete already, would not see
    the parameter that each pyramid level puts in the place of the first, and would broadcast the encoder at every
    step.
    """

    def configure_ddp(self) -> None:
        """Leave the module as it is."""


StrategyRegistry.register(
    "shared_picture", SharedPictureStrategy, description="one picture, its tiles dealt out to all processes"
)
