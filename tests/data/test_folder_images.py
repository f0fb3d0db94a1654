import logging
import re

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.data.folder_images import FolderImages, RandomZoomCrop
from nst_lightning.errors import UserError


@pytest.fixture
def folder(tmp_path):
    """Writes pictures that are one grey each, so that a crop tells which picture it is from."""

    def write(count, *, width=40, height=30):
        (tmp_path / "sub").mkdir()
        for index in range(count):
            suffix = (".png", ".JPG", ".webp", ".jpeg")[index % 4]
            place = tmp_path / ("sub" if index % 3 else "") / f"{index:03}{suffix}"
            Image.new("RGB", (width, height), (10 * index,) * 3).save(place)
        (tmp_path / "notes.txt").write_text("no picture")
        return str(tmp_path)

    return write


def greys(batches):
    return {round(float(crop.mean() * 255)) // 10 for batch in batches for crop in batch + 2 / 255}


def test_the_held_out_pictures_are_no_training_pictures(folder):
    data = FolderImages(folder(20), crop=8, batch_size=3, holdout_every=4, zoom=(1, 1))
    assert len(data.paths) == 20
    held_out = [int(path.stem) for path in data.paths[::4]]
    assert greys(data.val_dataloader()) == set(held_out)
    train = set().union(*[greys(data.train_dataloader()) for _ in range(20)])  # the last batch is dropped
    assert train == set(range(20)) - set(held_out)


@pytest.mark.parametrize("color_jitter", [0.0, 0.5])
def test_crops_have_their_size_and_range(tmp_path, color_jitter):
    torch.manual_seed(0)
    noise = np.random.default_rng(0).integers(0, 256, (30, 50, 3), dtype=np.uint8)
    for name in "abcdef":
        Image.fromarray(noise).save(tmp_path / f"{name}.png")
    data = FolderImages(str(tmp_path), crop=16, batch_size=2, holdout_every=3, color_jitter=color_jitter)
    train, val = list(data.train_dataloader()), list(data.val_dataloader())
    assert [batch.shape for batch in train] == [(2, 3, 16, 16)] * 2
    assert [batch.shape for batch in val] == [(2, 3, 32, 32)]
    for batch in (*train, *val):
        assert batch.dtype == torch.float32
        assert 0 <= batch.min() < 0.3 < 0.5 < batch.max() <= 1


def test_validation_shows_the_centre_and_is_always_the_same(tmp_path):
    ramp = np.tile(np.arange(0, 240, 2, dtype=np.uint8)[None, :, None], (60, 1, 3))
    for name in "ab":
        Image.fromarray(ramp).save(tmp_path / f"{name}.png")
    data = FolderImages(str(tmp_path), crop=15, batch_size=4)
    (batch,), (again,) = data.val_dataloader(), data.val_dataloader()
    assert torch.equal(batch, again)
    assert float(batch.mean() * 255) == pytest.approx(119, abs=1.5)


def test_several_folders_are_one_set(tmp_path):
    for name, grey in (("photos", 10), ("paintings", 200)):
        (tmp_path / name).mkdir()
        for index in range(3):
            Image.new("RGB", (20, 20), (grey + 10 * index,) * 3).save(tmp_path / name / f"{index}.png")
    folders = [str(tmp_path / "photos"), str(tmp_path / "paintings")]
    data = FolderImages(folders, crop=8, batch_size=2, holdout_every=3)
    assert [path.parent.name for path in data.paths] == ["photos"] * 3 + ["paintings"] * 3
    assert greys(data.val_dataloader()) == {1, 20}
    (tmp_path / "empty").mkdir()
    (tmp_path / "bare").mkdir()
    with pytest.raises(UserError, match=r"empty and .*bare holds 0 pictures"):
        FolderImages([str(tmp_path / "empty"), str(tmp_path / "bare")])


def test_every_second_training_crop_gets_noise_of_the_given_deviation(folder):
    torch.manual_seed(0)
    data = FolderImages(folder(12), crop=24, batch_size=2, holdout_every=6, noise=0.02)
    data.paths = [path for path in data.paths if path.suffix == ".png"]  # without noise of compression
    crops = torch.cat([batch for _ in range(40) for batch in data.train_dataloader()])
    deviations = crops.flatten(1).std(dim=1)[crops.flatten(1).mean(dim=1) > 0.1]  # black cuts half of it off
    noisy = deviations > 1e-3
    assert 0.35 < float(noisy.float().mean()) < 0.65
    torch.testing.assert_close(deviations[noisy], torch.full_like(deviations[noisy], 0.02), rtol=0.15, atol=0)
    assert all(float(crop.std()) < 1e-3 for batch in data.val_dataloader() for crop in batch)


@pytest.mark.parametrize("noise", [-0.1, float("nan"), float("inf")])
def test_noise_out_of_range(folder, noise):
    with pytest.raises(UserError, match="noise must be 0 or more"):
        FolderImages(folder(2), noise=noise)


def test_training_follows_the_seed(folder):
    data = FolderImages(folder(9), crop=8, batch_size=2)

    def epoch(seed):
        torch.manual_seed(seed)
        return torch.cat(list(data.train_dataloader()))

    assert torch.equal(epoch(1), epoch(1))
    assert not torch.equal(epoch(1), epoch(2))


def test_grey_and_transparent_files_become_rgb(tmp_path):
    Image.new("L", (20, 20), 100).save(tmp_path / "a.png")
    Image.new("LA", (20, 20), (100, 50)).save(tmp_path / "b.png")
    Image.new("RGBA", (20, 20), (100, 100, 100, 50)).save(tmp_path / "c.png")
    Image.new("P", (20, 20), 3).save(tmp_path / "d.png")
    data = FolderImages(str(tmp_path), crop=8, batch_size=3)
    assert [batch.shape for batch in data.train_dataloader()] == [(3, 3, 8, 8)]


@pytest.mark.parametrize("shape", [(3, 64, 48), (3, 20, 90), (3, 5, 7), (3, 1, 1)])
def test_a_crop_lies_inside_the_picture(shape):
    """Each pixel holds its own place, so that a crop tells where it is from and how much it covers."""
    _, height, width = shape
    rows = torch.arange(height, dtype=torch.float32).view(-1, 1).expand(height, width)
    columns = torch.arange(width, dtype=torch.float32).expand(height, width)
    image = torch.stack([rows, columns, torch.zeros_like(rows)])
    crop, spans = RandomZoomCrop(16, (0.5, 2.0)), []
    for seed in range(60):
        torch.manual_seed(seed)
        result = crop(image)
        assert result.shape == (3, 16, 16)
        assert result[0].min() >= 0
        assert result[1].min() >= 0
        assert result[0].max() <= height - 1
        assert result[1].max() <= width - 1
        assert not result[2].any()
        spans.append(float(result[0].max() - result[0].min()))
    assert max(spans) <= min(32, height, width)
    if min(height, width) > 40:  # room for every zoom
        assert min(spans) < 10
        assert max(spans) > 25


def test_crops_come_from_everywhere():
    image = torch.arange(10.0).expand(3, 10, 10)
    torch.manual_seed(0)
    crops = [RandomZoomCrop(4, (1.0, 1.0))(turned) for turned in [image, image.mT] * 60]
    assert {int(crop[0, 0, 0]) for crop in crops[::2]} == set(range(7))
    assert {int(crop[0, 0, 0]) for crop in crops[1::2]} == set(range(7))


def test_zoom_1_takes_pixels_as_they_are():
    image = torch.randint(0, 256, (3, 16, 16), dtype=torch.uint8)
    assert torch.equal(RandomZoomCrop(16, (1.0, 1.0))(image), image)


def test_a_damaged_file_is_passed_over_and_named_once(folder, caplog):
    data = FolderImages(folder(6), crop=8, batch_size=5, holdout_every=6)
    data.paths[1].write_bytes(b"no picture")
    good = data.paths[2].read_bytes()
    data.paths[2].write_bytes(good[: len(good) // 2])
    loader = data.train_dataloader()
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            (batch,) = loader
            assert batch.shape == (5, 3, 8, 8)
    messages = sorted(record.message.split(" can't be decoded")[0] for record in caplog.records)
    assert messages == [str(path) for path in data.paths[1:3]]
    assert all("\n" not in record.message for record in caplog.records)


@pytest.mark.parametrize("error", [UserError("the bucket can't be reached"), MemoryError()])
def test_what_is_not_the_files_fault_ends_the_training(folder, monkeypatch, error):
    data = FolderImages(folder(6), crop=8, batch_size=5, holdout_every=6)

    def fail(path):
        raise error

    place = "fetch" if isinstance(error, UserError) else "Image.open"
    monkeypatch.setattr(f"nst_lightning.data.folder_images.{place}", fail)
    with pytest.raises(type(error)):
        list(data.train_dataloader())


def test_what_is_hidden_or_a_folder_is_no_picture(folder, tmp_path, monkeypatch):
    place = folder(6)
    (tmp_path / "._0.png").write_bytes(b"what macOS leaves beside a picture")
    (tmp_path / ".thumbnails").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / ".thumbnails" / "x.png")
    (tmp_path / "dir.jpg").mkdir()
    Image.new("RGB", (20, 20)).save(tmp_path / "dir.jpg" / "006.png")
    assert sorted(path.name[:3] for path in FolderImages(place).paths) == [f"{index:03}" for index in range(7)]
    monkeypatch.setenv("HOME", str(tmp_path.parent))
    assert len(FolderImages(f"~/{tmp_path.name}").paths) == 7


@pytest.mark.parametrize("workers", [0, 1])
def test_nothing_but_damaged_files(folder, workers):
    data = FolderImages(folder(4), crop=8, batch_size=2, num_workers=workers)
    for path in data.paths:
        path.write_bytes(b"no picture")
    with pytest.raises(UserError, match="none of 3 pictures can be decoded") as caught:
        list(data.train_dataloader())
    assert re.fullmatch(r"none of 3 pictures can be decoded, \S+ for one; give other pictures.", str(caught.value))


@pytest.mark.parametrize("count", [0, 1])
def test_fewer_than_two_pictures(folder, count):
    with pytest.raises(UserError, match=f"holds {count} pictures, but at least 2"):
        FolderImages(folder(count))


def test_a_missing_folder(tmp_path):
    with pytest.raises(UserError, match="nowhere holds 0 pictures"):
        FolderImages(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"crop": 0}, "but 0, 32 and 16"),
        ({"batch_size": 0}, "but 128, 0 and 16"),
        ({"holdout_every": 1}, "holdout_every at least 2"),
        ({"zoom": (0, 1)}, r"above 0 .*\[0, 1\]"),
        ({"zoom": (2, 1)}, r"range .*\[2, 1\]"),
        ({"color_jitter": -0.1}, r"color_jitter must be from 0 to 2.5 .* but -0.1 and 0"),
        ({"color_jitter": 3.0}, r"but 3.0 and 0"),
        ({"num_workers": -1}, "num_workers at least 0, but 0.0 and -1"),
    ],
)
def test_numbers_that_make_no_sense(folder, options, said):
    with pytest.raises(UserError, match=said):
        FolderImages(folder(3), **options)
