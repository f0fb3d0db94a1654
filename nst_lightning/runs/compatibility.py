"""Which models learn from which data."""

from __future__ import annotations

from lightning.pytorch import LightningDataModule, LightningModule

from nst_lightning.data.fast_transfer_data import FastTransferData
from nst_lightning.data.folder_images import FolderImages
from nst_lightning.data.predict_data import PredictData
from nst_lightning.data.transfer_data import TransferData
from nst_lightning.errors import UserError
from nst_lightning.tasks.distillation.encoder_distillation import EncoderDistillation
from nst_lightning.tasks.fast_style_transfer import FastStyleTransfer
from nst_lightning.tasks.style_transfer import StyleTransfer

_LEARNS_FROM: dict[type[LightningModule], type[LightningDataModule]] = {
    StyleTransfer: TransferData,
    FastStyleTransfer: FastTransferData,
    EncoderDistillation: FolderImages,
}
_OURS = (TransferData, FolderImages, PredictData)


def check_belong_together(model: LightningModule, data: LightningDataModule | None) -> None:
    """Refuse one of our models with data that are meant for another; those of the user's own are taken on trust.

    Args:
        model: What is fitted.
        data: What to.

    Raises:
        UserError: With the name of the class that belongs to the model.
    """
    for kind, wanted in _LEARNS_FROM.items():
        if isinstance(model, kind) and isinstance(data, _OURS) and not isinstance(data, wanted):
            raise UserError(
                f"{kind.__name__} learns from {wanted.__name__}, but data is {type(data).__name__}; set --data "
                f"{wanted.__name__}, or give the --config that belongs to the model."
            )
