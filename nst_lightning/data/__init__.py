"""What a step is given."""

from nst_lightning.data.fast_transfer_data import FastBatch, FastTransferData
from nst_lightning.data.folder_images import FolderImages
from nst_lightning.data.predict_data import PicturesToPaint
from nst_lightning.data.schedule import Level, Schedule
from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.data.transfer_data import TransferData

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
