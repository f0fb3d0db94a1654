"""The picture of the frame before, on its way from the options to the objective."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from nst_lightning import VGG19, ContentLoss, StyleTransfer, TransferData, UserError, fit
from nst_lightning.images.files import read_image
from nst_lightning.losses import TemporalLoss
from tests.helpers.inputs import make_image


@pytest.fixture
def warped(tmp_path: Path) -> str:
    """A picture of the content's size."""
    return make_image(tmp_path / "warped.png", 40, 30, seed=8)


@pytest.fixture
def trusted(tmp_path: Path) -> str:
    """Its mask: the left half."""
    mask = Image.new("L", (40, 30))
    mask.paste(255, (0, 0, 20, 30))
    mask.save(tmp_path / "trusted.png")
    return str(tmp_path / "trusted.png")


def test_each_level_has_both_at_its_size(content: str, style: str, warped: str, trusted: str) -> None:
    data = TransferData(content, style, sizes=[20, 40], warped=warped, warped_guide=trusted)
    whole = data.batch(1)
    assert whole.warped is not None
    assert whole.warped_guide is not None
    torch.testing.assert_close(whole.warped, read_image(warped).pixels, rtol=0, atol=0)
    expected = torch.zeros(1, 1, 30, 40)
    expected[..., :20] = 1
    torch.testing.assert_close(whole.warped_guide, expected, rtol=0, atol=1e-6)
    small = data.batch(0)
    assert small.warped is not None
    assert small.warped_guide is not None
    assert (small.warped.shape, small.warped_guide.shape) == ((1, 3, 15, 20), (1, 1, 15, 20))
    moved = whole.to(torch.device("meta"))
    assert moved.warped is not None
    assert moved.warped.is_meta
    assert moved.warped_guide is not None
    assert moved.warped_guide.is_meta
    assert TransferData(content, style).batch(0).warped is None


def test_a_run_is_known_by_them(content: str, style: str, warped: str, trusted: str) -> None:
    digests = {
        TransferData(content, style, warped=picture, warped_guide=mask).digest()
        for picture, mask in ((None, None), (warped, None), (warped, trusted), (content, None), (warped, warped))
    }
    assert len(digests) == 5


def test_a_mask_without_a_picture_and_unreadable_files_are_refused(content: str, style: str, trusted: str) -> None:
    with pytest.raises(UserError, match=r"data\.warped_guide says where data\.warped is to be trusted"):
        TransferData(content, style, warped_guide=trusted)
    with pytest.raises(UserError, match=r"data\.warped: expected a picture file, found nothing"):
        TransferData(content, style, warped="gone.png")
    with pytest.raises(UserError, match=r"data\.warped_guide: expected a mask in the shape of its picture"):
        TransferData(content, style, warped=content, warped_guide=style)


@pytest.mark.slow
def test_a_run_with_the_temporal_loss_alone_ends_at_the_picture_where_it_is_trusted(
    content: str, style: str, warped: str, trusted: str, encoder_file: str, tmp_path: Path
) -> None:
    model = StyleTransfer(VGG19(encoder_file), extra_losses=[TemporalLoss(weight=100.0)], average=0.0, decay=0.01)
    data = TransferData(content, style, sizes=[40], steps=200, init="content", warped=warped, warped_guide=trusted)
    picture = fit(model, data, default_root_dir=tmp_path, accelerator="cpu", enable_progress_bar=False).picture
    torch.testing.assert_close(picture[..., :20], read_image(warped).pixels[..., :20], rtol=0, atol=0.01)
    torch.testing.assert_close(picture[..., 21:], read_image(content).pixels[..., 21:], rtol=0, atol=1e-6)


@pytest.mark.slow
def test_each_level_begins_with_the_warped_picture_where_it_is_trusted(
    content: str, style: str, warped: str, trusted: str, encoder_file: str, tmp_path: Path
) -> None:
    def paint(**settings: Any) -> torch.Tensor:
        losses = [ContentLoss(["relu1_1"])]
        model = StyleTransfer(VGG19(encoder_file), extra_losses=losses, average=0.0, optimizer=_standing_still)
        data = TransferData(content, style, init="content", warped=warped, warped_guide=trusted, **settings)
        return fit(model, data, default_root_dir=tmp_path, accelerator="cpu", enable_progress_bar=False).picture

    expected = read_image(warped).pixels[..., :20]
    shown = read_image(content).pixels
    at_once = paint(sizes=[40], steps=1)
    torch.testing.assert_close(at_once[..., :20], expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(at_once[..., 21:], shown[..., 21:], rtol=0, atol=1e-6)
    enlarged = paint(sizes=[20, 40], steps=1)
    torch.testing.assert_close(enlarged[..., :20], expected, rtol=0, atol=1e-6)  # not what was enlarged
    assert float((enlarged[..., 24:] - shown[..., 24:]).abs().mean()) > 1e-3


def _standing_still(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=0.0)
