"""Batches, and the data modules and loaders that make them."""

from nst_lightning.data.any_style_data import AnyStyleBatch, AnyStyleData
from nst_lightning.data.fast_transfer_data import FastBatch, FastTransferData
from nst_lightning.data.folder_images import FolderImages
from nst_lightning.data.predict_data import PredictData
from nst_lightning.data.schedule import Level, Schedule
from nst_lightning.data.transfer_batch import TransferBatch
from nst_lightning.data.transfer_data import TransferData

PicturesToPaint = PredictData  # its name in earlier configs

__all__ = [
    "AnyStyleBatch",
    "AnyStyleData",
    "FastBatch",
    "FastTransferData",
    "FolderImages",
    "Level",
    "PredictData",
    "Schedule",
    "TransferBatch",
    "TransferData",
]
