"""Pairs of photographs and styles: decided by the seed and the sample's number, by nothing else."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from nst_lightning.data.any_style_data import AnyStyleData
from nst_lightning.errors import UserError


@pytest.fixture
def folders(tmp_path: Path) -> tuple[str, str]:
    """Photographs are red, paintings blue; each is of a brightness of its own."""
    for place, channel, count in (("photos", 0, 9), ("paintings", 2, 6)):
        (tmp_path / place).mkdir()
        for index in range(count):
            color = [0, 0, 0]
            color[channel] = 100 + 10 * index
            Image.new("RGB", (40, 36), tuple(color)).save(tmp_path / place / f"{index}.png")
    return str(tmp_path / "photos"), str(tmp_path / "paintings")


def make(folders: tuple[str, str], **options) -> AnyStyleData:
    settings = {"steps": 10, "crop": 12, "style_crop": 16, "batch_size": 2, "holdout_every": 3, "color_jitter": 0.0}
    settings.update(options)
    return AnyStyleData(*folders, **settings)


def batches(folders: tuple[str, str], *, skip: int = 0, rank: int = 0, processes: int = 1, **options) -> torch.Tensor:
    """Each sample's photograph and style in one row."""
    data = make(folders, **options)
    data.trainer = SimpleNamespace(global_rank=rank, world_size=processes)
    loader = data.train_dataloader()
    loader.load_state_dict({"step": skip})
    return torch.stack([torch.cat([images.flatten(1) for images in batch], dim=1) for batch in loader])


def test_whatever_was_drawn_before_and_whoever_reads(folders) -> None:
    whole = batches(folders)
    assert whole.shape == (10, 2, 3 * 12**2 + 3 * 16**2)
    torch.manual_seed(5)
    assert torch.equal(batches(folders), whole)
    assert torch.equal(batches(folders, num_workers=2), whole)
    assert torch.equal(batches(folders, skip=4), whole[4:])
    assert not torch.equal(batches(folders, seed=1), whole)
    ranks = [batches(folders, steps=5, rank=rank, processes=2) for rank in range(2)]
    assert torch.equal(torch.stack(ranks, dim=1).flatten(0, 1), whole)


@pytest.mark.parametrize(("share", "expected"), [(0.0, 0), (0.1, 2), (0.25, 5)])
def test_a_share_of_the_styles_are_photographs(share: float, expected: int, folders) -> None:
    data = make(folders, photo_styles=share)
    pairs = [data.on_after_batch_transfer(batch, 0) for batch in data.train_dataloader()]
    contents, styles = torch.cat([pair.contents for pair in pairs]), torch.cat([pair.styles for pair in pairs])
    assert contents.shape == (20, 3, 12, 12)
    assert styles.shape == (20, 3, 16, 16)
    assert bool((contents[:, 0] > 0.3).all())
    photographic = styles[:, 0, 0, 0] > 0.3
    assert int(photographic.sum()) == expected
    assert bool((styles[~photographic, 2] > 0.3).all())


def test_held_out_images_are_for_validation_alone(folders) -> None:
    data = make(folders)
    seen = {round(value, 3) for value in batches(folders, steps=40).flatten().unique().tolist() if value}
    held = [data.on_after_batch_transfer(batch, 0) for batch in data.val_dataloader()]
    assert [batch.contents.shape for batch in held] == [(2, 3, 24, 24)]
    held_out = set()
    for batch in held:
        assert bool((batch.contents[:, 0] > 0.3).all())
        assert bool((batch.styles[:, 2] > 0.3).all())
        values = (*batch.contents[:, 0, 0, 0], *batch.styles[:, 2, 0, 0])
        held_out |= {round(float(value), 3) for value in values}
    assert len(seen) == 6
    assert len(held_out) == 2
    assert not seen & held_out


@pytest.mark.parametrize("options", [{"steps": 0}, {"photo_styles": 1.0}, {"photo_styles": -0.1}])
def test_numbers_out_of_range(options, folders) -> None:
    with pytest.raises(UserError, match=r"data\.steps must be at least 1 and data\.photo_styles"):
        make(folders, **options)


def test_an_empty_folder(folders, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="empty holds 0 pictures"):
        make((folders[0], str(tmp_path / "empty")))


def test_a_damaged_photograph_is_told_once_and_counted_wherever_it_is_met(folders, caplog) -> None:
    (Path(folders[0]) / "1.png").write_bytes(b"no picture")
    data = make(folders, photo_styles=0.9, steps=40)
    data.trainer = SimpleNamespace(global_rank=0, world_size=1)
    list(data.train_dataloader())
    data.teardown("fit")
    told = [record.getMessage() for record in caplog.records]
    assert sum("1.png can't be decoded" in line for line in told) == 1
    assert told[-1] == "1 of 9 pictures could not be decoded and were passed over"


@pytest.mark.parametrize(
    ("options", "said"),
    [({"crop": 0}, "data.photos: crop"), ({"style_zoom": (2, 1)}, r"data.paintings: zoom must be .* but \[2, 1\]")],
)
def test_a_mistake_is_told_of_the_option_that_it_is_in(folders, options, said) -> None:
    with pytest.raises(UserError, match=said):
        make(folders, **options)
