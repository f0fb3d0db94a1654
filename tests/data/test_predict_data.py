"""`PredictData`: what is found, how it is read, and who gets it."""

from __future__ import annotations

import re
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.data.guide_masks import RegionMasks
from nst_lightning.data.predict_data import ImageFiles, PredictData, PredictSample, StridedSampler, find_media
from nst_lightning.errors import StorageError, UserError


def noise(path: Path, width: int, height: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    Image.fromarray(values).save(path)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "deep/er/c.gif", ".hidden/d.png", ".e.png"):
        noise(tmp_path / "in" / name, 9, 7)
    (tmp_path / "in" / "notes.txt").write_text("no picture")
    return tmp_path / "in"


def read(data: PredictData) -> list[PredictSample]:
    return list(data.predict_dataloader())


def test_a_folder_is_searched_by_suffix(folder: Path) -> None:
    assert [str(file.name) for file in find_media(str(folder))] == ["a.JPG", "b.png", "deep/er/c.gif"]


def test_folders_files_and_samples_in_the_order_given(folder: Path) -> None:
    data = PredictData(["sample:town", str(folder / "deep"), str(folder / "b.png")])
    assert [str(file.name) for file in data.files] == ["town.jpg", "er/c.gif", "b.png"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"images": "nowhere"}, "found nothing at nowhere"),
        ({"images": "sample:twon"}, "did you mean 'town'"),
        ({"images": []}, "nothing to paint"),
        ({"images": "sample:town", "size": 0}, "data.size must be at least 1 pixel, or null, but 0"),
        ({"images": "sample:town", "num_workers": -1}, "0 or more, but -1"),
    ],
)
def test_mistakes(settings: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        PredictData(**settings)


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UserError, match=re.escape(str(tmp_path)) + " holds no pictures"):
        find_media(str(tmp_path))


@pytest.mark.parametrize("num_workers", [0, 1])
def test_a_damaged_file_is_handed_on_with_its_problem(folder: Path, num_workers: int) -> None:
    (folder / "b.png").write_bytes(b"no picture")
    first, second, third = read(PredictData(str(folder), num_workers=num_workers))
    assert (first.problem, third.problem) == (None, None)
    assert second.problem is not None
    assert "b.png" in second.problem
    assert second.pixels.numel() == 0
    assert first.pixels.shape == third.pixels.shape == (1, 3, 7, 9)


def test_orientation_size_and_alpha(tmp_path: Path) -> None:
    """A picture of 20×10 that is to be turned by 90 degrees, half transparent."""
    values = np.zeros((10, 20, 4), np.uint8)
    values[:, :10] = (255, 0, 0, 255)
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save(tmp_path / "x.png", exif=exif)
    (whole,) = read(PredictData(str(tmp_path), num_workers=0))
    assert whole.alpha is not None
    assert whole.pixels.shape == (1, 3, 20, 10)
    torch.testing.assert_close(whole.alpha, torch.ones(1, 1, 20, 10) * (torch.arange(20) < 10).view(1, 1, 20, 1))
    (small,) = read(PredictData(str(tmp_path), size=8, keep_alpha=False, num_workers=0))
    assert small.pixels.shape == (1, 3, 8, 4)
    assert small.alpha is None
    torch.testing.assert_close(small.pixels[0, :, 0, 0], torch.tensor([1.0, 0.0, 0.0]))
    torch.testing.assert_close(small.pixels[0, :, 7, 0], torch.ones(3))  # composited on white


def test_pictures_larger_than_allowed_are_not_read(folder: Path) -> None:
    pictures = read(PredictData(str(folder), max_pixels=62, num_workers=0))
    assert all("at most 62 pixels" in str(picture.problem) for picture in pictures)


@pytest.mark.parametrize(("length", "processes"), [(7, 3), (2, 4), (0, 2), (8, 1)])
def test_processes_share_without_repetition(length: int, processes: int) -> None:
    readings = ImageFiles(find_media("sample:town") * length, None, False, 0)
    shares = [StridedSampler(readings, rank, processes) for rank in range(processes)]
    assert sorted(index for share in shares for index in share) == list(range(length))
    assert [len(share) for share in shares] == [len(list(share)) for share in shares]
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


def test_a_process_may_have_nothing_to_do() -> None:
    """Lightning asks the data module; its default is to refuse."""
    assert PredictData("sample:town").allow_zero_length_dataloader_with_multiple_devices


def test_its_earlier_name_still_names_it() -> None:
    from nst_lightning import data

    assert data.PicturesToPaint is PredictData


def test_a_store_that_is_lost_ends_it_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else thousands of pictures would each be waited for, and be called bad."""

    def fail(*_: object, **__: object) -> None:
        raise StorageError("cannot read s3://b/a.png")

    monkeypatch.setattr("nst_lightning.data.predict_data.read_image", fail)
    with pytest.raises(StorageError, match="cannot read"):
        next(iter(PredictData(str(folder)).predict_dataloader()))


def test_a_folder_of_a_words_name_does_not_take_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("rest", "alpha", "masks"):
        Path(name).mkdir()
    noise(Path("masks/a.png"), 9, 7)
    masks = RegionMasks(["masks", "alpha", "rest"], 3, 1000)
    assert masks.paths(PurePosixPath("a.jpg")) == ["masks/a.png"]
