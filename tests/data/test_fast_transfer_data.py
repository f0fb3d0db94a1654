"""The order and the crops of a training: decided by the seed and the sample's number, by nothing else."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from nst_lightning.data.fast_transfer_data import FastTransferData, SeededDataset, _names
from nst_lightning.data.folder_images import FolderImages
from nst_lightning.errors import UserError
from tests.helpers.inputs import make_image


@pytest.fixture
def photos(tmp_path: Path) -> str:
    (tmp_path / "photos").mkdir()
    for index in range(7):
        make_image(tmp_path / "photos" / f"{index}.png", 40, 36, seed=10 + index)
    return str(tmp_path / "photos")


def batches(photos: str, style: str, *, skip: int = 0, rank: int = 0, processes: int = 1, **options) -> torch.Tensor:
    data = FastTransferData(
        photos, style, 32, **{"steps": 6, "crop": 12, "batch_size": 2, "holdout_every": 7, **options}
    )
    data.trainer = SimpleNamespace(global_rank=rank, world_size=processes)
    loader = data.train_dataloader()
    assert len(loader) == data.steps
    loader.load_state_dict({"step": skip})
    return torch.stack(list(loader))


def test_whatever_was_drawn_before_and_whoever_reads(photos: str, style: str) -> None:
    whole = batches(photos, style)
    assert whole.shape == (6, 2, 3, 12, 12)
    torch.manual_seed(5)
    assert torch.equal(batches(photos, style), whole)
    assert torch.equal(batches(photos, style, num_workers=2), whole)
    assert torch.equal(batches(photos, style, skip=4), whole[4:])
    assert not torch.equal(batches(photos, style, seed=1), whole)


def test_the_global_generator_is_left_alone(photos: str, style: str) -> None:
    before = torch.get_rng_state()
    data = FastTransferData(photos, style, 32, crop=12)
    crops = SeededDataset(data.training_images(), seed=0)
    assert not torch.equal(crops[0], crops[1])
    assert torch.equal(torch.get_rng_state(), before)


def test_processes_share_what_one_would_read(photos: str, style: str) -> None:
    whole = batches(photos, style, steps=6)
    ranks = [batches(photos, style, steps=3, rank=rank, processes=2) for rank in range(2)]
    assert torch.equal(torch.stack(ranks, dim=1).flatten(0, 1), whole)


def test_every_photograph_comes_once_before_one_comes_again(photos: str, style: str) -> None:
    """Six are left for training, three steps of two; zoom 1 on whole pictures tells them apart."""
    crops = batches(photos, style, crop=36, zoom=(1, 1), steps=9)
    means = (crops.mean((3, 4)).flatten(0, 1) * 40).round().int().tolist()
    rounds = [sorted(map(tuple, means[start : start + 6])) for start in (0, 6, 12)]
    assert len(set(rounds[0])) >= 5
    assert means[:6] != means[6:12]  # in another order


def test_the_place_is_what_was_handed_out_not_what_workers_have_read(photos: str, style: str) -> None:
    loader = FastTransferData(photos, style, 32, steps=9, crop=8, batch_size=1, num_workers=1).train_dataloader()
    walk = iter(loader)
    for _ in range(3):
        next(walk)
    assert loader.state_dict() == {"step": 3}


def test_styles_of_the_same_name_are_told_apart(photos: str, style: str) -> None:
    data = FastTransferData(photos, ["sample:starry", style, style], style_size=20)
    assert data.style_names == ("starry", "style", "style_2")
    assert [max(picture.shape[2:]) for picture in data.styles] == [20, 20, 20]
    assert _names(["a/x.jpg", "b/x.jpg", "c/x_2.jpg"]) == ("x", "x_3", "x_2")
    assert _names(["x_2.jpg", "x.jpg", "y/x.jpg", "y/x_2.jpg"]) == ("x_2", "x", "x_3", "x_2_2")


def test_the_digest_follows_the_pictures_and_their_size(photos: str, style: str, content: str) -> None:
    settings = [([style], 32), ([style], 33), ([content], 32), ([style, content], 32), ([content, style], 32)]
    assert len({FastTransferData(photos, names, size).digest for names, size in settings}) == 5
    assert FastTransferData(photos, style, 32).digest == FastTransferData(photos, [style], 32, crop=9).digest


@pytest.mark.parametrize("workers", [0, 2])
def test_damaged_files_are_counted_at_the_end(workers: int, photos: str, style: str, caplog) -> None:
    for name in ("2.png", "5.png"):
        (Path(photos) / name).write_bytes(b"no picture")
    for data in (
        FastTransferData(photos, style, 32, steps=6, crop=8, batch_size=2, num_workers=workers),
        FolderImages(photos, crop=8, batch_size=2, num_workers=workers),
    ):
        for _ in data.train_dataloader():
            pass
        assert [path.name for path in data.damaged] == ["2.png", "5.png"]
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            data.teardown("fit")
        assert caplog.messages == ["2 of 7 pictures could not be decoded and were passed over"]


def test_nothing_is_said_where_nothing_is_damaged(photos: str, caplog) -> None:
    data = FolderImages(photos, crop=8, batch_size=2)
    list(data.train_dataloader())
    data.teardown("fit")
    assert not caplog.messages


@pytest.mark.parametrize("options", [{"style": []}, {"style_size": 0}, {"steps": 0}])
def test_numbers_that_make_no_sense(options, photos: str) -> None:
    with pytest.raises(UserError, match=r"data\.style must name a picture"):
        FastTransferData(photos, **options)
