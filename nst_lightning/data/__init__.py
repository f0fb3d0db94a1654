"""What a step is given."""

from nst_lightning.data.batch import TransferBatch
from nst_lightning.data.fast import FastBatch, FastTransferData
from nst_lightning.data.folder import FolderImages
from nst_lightning.data.paintings import PicturesToPaint
from nst_lightning.data.pyramid import TransferData
from nst_lightning.data.schedule import Level, Schedule

__all__ = [
    "FastBatch",
    "FastTransferData",
    "FolderImages",
    "Level",
    "PicturesToPaint",
    "Schedule",
    "TransferBatch",
    "TransferData",
]
