import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from nst_lightning.errors import UserError
from nst_lightning.images.samples import SAMPLES, sample_path
from tools.draw_samples.album import DRAWINGS, save

WIDTH = 96


def _shrunk(picture: Image.Image, width: int) -> np.ndarray:
    height = round(width * picture.height / picture.width)
    return np.asarray(picture.convert("RGB").resize((width, height), Image.Resampling.BOX), np.float64)


@pytest.mark.parametrize("name", SAMPLES)
def test_shipped_picture_is_a_large_rgb_jpeg(name):
    with Image.open(sample_path(name)) as picture:
        picture.load()
        assert picture.format == "JPEG"
        assert picture.mode == "RGB"
        assert max(picture.size) >= 768
    assert 100_000 < sample_path(name).stat().st_size < 600_000


@pytest.mark.parametrize(("wrong", "nearest"), [("still-life", "still_life"), ("Towm", "town"), ("mosaics", "mosaic")])
def test_unknown_name_is_told_in_one_line_with_the_nearest_name(wrong, nearest):
    with pytest.raises(UserError) as caught:
        sample_path(wrong)
    message = str(caught.value)
    assert "\n" not in message
    assert repr(wrong) in message
    assert f"did you mean {nearest!r}" in message
    assert all(name in message for name in SAMPLES)


def test_a_name_like_no_other_gets_the_list_alone():
    with pytest.raises(UserError, match="there are town, still_life, starry, woodcut, mosaic") as caught:
        sample_path("qqq")
    assert "did you mean" not in str(caught.value)


def test_names_and_drawings_are_the_same_set():
    assert list(DRAWINGS) == list(SAMPLES)


@pytest.mark.processes
def test_importing_the_samples_does_not_load_the_drawing_code():
    program = (
        "import sys, nst_lightning.images.samples\n"
        "print([m for m in sys.modules if m.startswith('tools.draw_samples')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.parametrize(("name", "likeness"), [("still_life", 0.9), ("woodcut", 0.8)])
def test_drawing_repeats_itself_and_gives_the_shipped_picture(name, likeness):
    first, second = DRAWINGS[name](WIDTH), DRAWINGS[name](WIDTH)
    assert first.tobytes() == second.tobytes()
    with Image.open(sample_path(name)) as shipped:
        expected = _shrunk(shipped, WIDTH)
    drawn = _shrunk(first, WIDTH)
    assert drawn.shape == expected.shape
    correlation = np.corrcoef(drawn.ravel(), expected.ravel())[0, 1]
    assert correlation > likeness


def test_save_writes_the_file_under_its_shipped_name(tmp_path):
    path = save("woodcut", tmp_path, width=32)
    assert path == tmp_path / "woodcut.jpg"
    with Image.open(path) as picture:
        assert picture.size == (32, 24)
