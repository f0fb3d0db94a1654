import errno
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image


def one_line(caught):
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_partial_alpha_is_composited_on_white(tmp_path):
    rgba = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    Image.fromarray(rgba).save(tmp_path / "x.png")
    result = read_image(tmp_path / "x.png")
    alpha = rgba[..., 3:] / 255
    expected = rgba[..., :3] / 255 * alpha + (1 - alpha)
    np.testing.assert_allclose(result.pixels[0].permute(1, 2, 0), expected, atol=1e-6)
    np.testing.assert_allclose(result.alpha[0].permute(1, 2, 0), alpha, atol=1e-6)


def test_an_opaque_file_has_no_alpha(tmp_path):
    Image.new("RGBA", (3, 2), (10, 20, 30, 255)).save(tmp_path / "x.png")
    result = read_image(str(tmp_path / "x.png"))
    assert result.alpha is None
    assert result.pixels.shape == (1, 3, 2, 3)


def test_the_digest_is_the_files(tmp_path):
    path = tmp_path / "x.png"
    Image.new("RGB", (3, 2)).save(path)
    assert read_image(path).digest == hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def test_samples_are_read_by_name(tmp_path, monkeypatch):
    Image.new("RGB", (3, 2), "red").save(tmp_path / "drawn.png")
    monkeypatch.setattr("nst_lightning.images.files.sample_path", lambda name: {"town": tmp_path / "drawn.png"}[name])
    assert read_image("sample:town").pixels[0, :, 0, 0].tolist() == [1, 0, 0]


def test_the_home_folder_is_expanded(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    Image.new("RGB", (3, 2)).save(tmp_path / "x.png")
    assert read_image("~/x.png").pixels.shape == (1, 3, 2, 3)


def test_max_pixels_reaches_the_decoder(tmp_path):
    Image.new("RGB", (30, 20)).save(tmp_path / "x.png")
    with pytest.raises(UserError, match="at most 599 pixels, found 30x20 = 600") as caught:
        read_image(tmp_path / "x.png", max_pixels=599)
    assert str(tmp_path / "x.png") in one_line(caught)


def test_a_missing_file_names_its_neighbour(tmp_path):
    for name in ("Photo.jpg", "painting.jpg"):
        (tmp_path / name).touch()
    with pytest.raises(UserError, match=r"nothing at .*map\.gif; check the path"):
        read_image(tmp_path / "map.gif")
    with pytest.raises(UserError) as caught:
        read_image(tmp_path / "photo.jpeg")
    assert f"did you mean {tmp_path / 'Photo.jpg'}?" in one_line(caught)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UserError, match=r"there is no folder .*nowhere either"):
        read_image(tmp_path / "nowhere" / "x.png")


def bad_files(folder):
    (folder / "folder.png").mkdir()
    (folder / "empty.png").touch()
    (folder / "text.jpg").write_text("Dear all,\nthis is not a picture.\n")
    (folder / "drawing.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    Image.new("RGB", (40, 40), "red").save(folder / "whole.jpg")
    (folder / "cut.jpg").write_bytes((folder / "whole.jpg").read_bytes()[:-40])


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("folder.png", "found a folder"),
        ("empty.png", "found an empty file"),
        ("text.jpg", "found something else"),
        ("drawing.svg", "found something else"),
        ("cut.jpg", "damaged or cut short"),
    ],
)
def test_bad_files(tmp_path, name, found):
    bad_files(tmp_path)
    with pytest.raises(UserError, match=found) as caught:
        read_image(tmp_path / name)
    assert name in one_line(caught)


def test_an_unreadable_file(tmp_path, monkeypatch):
    Image.new("RGB", (3, 2)).save(tmp_path / "x.png")

    def refuse(*args, **kwargs):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "open", refuse)  # the tests may run as root, who may read anything
    with pytest.raises(UserError, match=r"x\.png \(Permission denied\)") as caught:
        read_image(tmp_path / "x.png")
    one_line(caught)


def test_a_name_too_long_is_a_user_error(tmp_path):
    with pytest.raises(UserError) as caught:
        read_image(tmp_path / ("n" * 300))
    one_line(caught)
