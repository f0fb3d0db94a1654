"""Neural style transfer by optimization, as a PyTorch Lightning project."""

from __future__ import annotations

from importlib import import_module, metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from nst_lightning.data import FastTransferData, TransferData
    from nst_lightning.encoders import VGG19
    from nst_lightning.errors import UserError
    from nst_lightning.jobs.stylize import stylize
    from nst_lightning.losses import (
        ContentLoss,
        GramStyleLoss,
        Loss,
        TemporalLoss,
        TotalVariationLoss,
        WassersteinStyleLoss,
    )
    from nst_lightning.networks import AnyStyleNet, TransformerNet, load_network
    from nst_lightning.optim import OpponentAdam, ScaledLBFGS
    from nst_lightning.runs import Result, fit
    from nst_lightning.tasks import FastStyleTransfer, StyleTransfer

    __version__: str

__all__ = [
    "VGG19",
    "AnyStyleNet",
    "ContentLoss",
    "FastStyleTransfer",
    "FastTransferData",
    "GramStyleLoss",
    "Loss",
    "OpponentAdam",
    "Result",
    "ScaledLBFGS",
    "StyleTransfer",
    "TemporalLoss",
    "TotalVariationLoss",
    "TransferData",
    "TransformerNet",
    "UserError",
    "WassersteinStyleLoss",
    "__version__",
    "fit",
    "load_network",
    "stylize",
]

_HOMES = {
    "FastTransferData": "data",
    "TransferData": "data",
    "VGG19": "encoders",
    "UserError": "errors",
    "AnyStyleNet": "networks",
    "TransformerNet": "networks",
    "load_network": "networks",
    "OpponentAdam": "optim",
    "ScaledLBFGS": "optim",
    "Result": "runs",
    "fit": "runs",
    "stylize": "jobs.stylize",
    "FastStyleTransfer": "tasks",
    "StyleTransfer": "tasks",
}


def __getattr__(name: str) -> object:
    if name == "__version__":
        return metadata.version("nst-lightning")
    # Imported on first use, so that `nst --help` does not wait for torch and Lightning.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES.get(name, 'losses')}"), name)
