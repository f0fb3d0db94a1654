import hashlib
import logging
import shutil

import numpy as np
import pytest
import torch
import torchvision
from safetensors.torch import save_file

from nst_lightning.encoders import VGG19
from nst_lightning.encoders import encoder_weights as weights
from nst_lightning.encoders.encoder_weights import load_weights, state_digest, weights_kept
from nst_lightning.encoders.topology import LAYERS
from nst_lightning.errors import UserError
from nst_lightning.utils import download
from tests.helpers.encoders import assert_same, one_line, widen

V1_DIGEST = "1b0948de04203d8a490efa9a4dab0ade62bec1fd970b728be284ba8a3ba5e791"


def test_unknown_names():
    with pytest.raises(
        UserError, match=r"vgg19, vgg19_normalized, compact, .*imagenet, caffe, random.*did you mean 'imagenet'\?"
    ) as caught:
        load_weights("imagnet")
    one_line(caught)
    with pytest.raises(UserError, match=r"'nowhere/net\.pth'; check the path"):
        load_weights("nowhere/net.pth")


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(UserError, match="existing"):
        load_weights(str(tmp_path))


def test_the_home_folder_is_expanded(tmp_path, monkeypatch, tiny_state):
    monkeypatch.setenv("HOME", str(tmp_path))
    torch.save(tiny_state(), tmp_path / "net.pth")
    assert_same(load_weights("~/net.pth").state, tiny_state())


@pytest.mark.parametrize(("name", "constant"), [("compact", "COMPACT_FILE"), ("compact_v1", "COMPACT_V1_FILE")])
def test_compact_comes_from_the_package(name, constant, tmp_path, monkeypatch, tiny_state):
    monkeypatch.setattr(weights, constant, tmp_path / "compact.safetensors")
    with pytest.raises(UserError, match=r"--config configs/starry.yaml") as caught:
        load_weights(name)
    assert str(tmp_path) in one_line(caught)
    save_file(tiny_state(), tmp_path / "compact.safetensors", metadata={"preprocessing": "imagenet"})
    assert_same(load_weights(name).state, tiny_state())


def test_the_first_compact_network_is_the_one_that_shipped():
    """Checkpoints of version 0.1 hold this digest, and go on with `compact_v1` only if it is the same."""
    assert load_weights("compact_v1").digest == V1_DIGEST
    assert load_weights("compact").digest != V1_DIGEST


@pytest.mark.parametrize("name", ["compact_v1", "compact_caffe"])
def test_what_goes_away_says_so(name, caplog):
    load_weights(name)
    assert f"model.encoder.weights {name}, which version 0.1 painted with, goes" in caplog.text


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["max", "avg"])
def test_compact_caffe_is_the_wide_network_at_caffes_scale(pooling, tmp_path):
    image = torch.rand(1, 3, 40, 36, generator=torch.Generator().manual_seed(0))
    compact = load_weights("compact_v1")
    save_file(widen(compact.state, 4), tmp_path / "wide.safetensors", metadata={"preprocessing": "imagenet"})
    wide = VGG19(str(tmp_path / "wide.safetensors"), pooling=pooling)(image, LAYERS)
    maps = VGG19("compact_caffe", pooling=pooling)(image, [*LAYERS, "input"])
    assert torch.equal(maps["input"], image)
    for name, value in wide.items():
        expected = 220 * value
        torch.testing.assert_close(maps[name], expected, rtol=0, atol=1e-5 * float(expected.abs().max()))
    assert load_weights("compact_caffe").digest != compact.digest


@pytest.mark.parametrize("name", ["imagenet", "caffe"])
def test_downloaded_networks(tmp_path, monkeypatch, name, tiny_state):
    """The network is a copy on this disk: `test_download` has the real transfers."""
    torch.save(tiny_state(), tmp_path / "served.pth")
    digest = hashlib.sha256((tmp_path / "served.pth").read_bytes()).hexdigest()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setitem(weights.SOURCES, name, download.Source("http://nowhere.invalid/net.pth", digest[:8], 1))

    def transfer(url, dst, **options):
        assert url == "http://nowhere.invalid/net.pth"
        shutil.copy(tmp_path / "served.pth", dst)

    monkeypatch.setattr(torch.hub, "download_url_to_file", transfer)
    loaded = load_weights(name)
    assert_same(loaded.state, tiny_state())
    assert loaded.preprocessing == name


@pytest.mark.parametrize("preprocessing", ["caffe", "imagenet", "none"])
def test_preprocessing_from_the_metadata(tmp_path, preprocessing, tiny_state):
    path = tmp_path / "net.safetensors"
    save_file(tiny_state(), path, metadata={"preprocessing": preprocessing})
    assert load_weights(str(path)).preprocessing == preprocessing


def test_no_preprocessing_hands_the_picture_over_as_it_is(tiny_file):
    image = torch.rand(1, 3, 12, 10, generator=torch.Generator().manual_seed(0))
    for encoder in (VGG19(tiny_file(preprocessing="none")), VGG19(tiny_file(), preprocessing="none")):
        weight, bias = (encoder.get_buffer(f"conv1_1_{part}") for part in ("weight", "bias"))
        expected = torch.nn.functional.conv2d(image, weight, bias, padding=1)
        torch.testing.assert_close(encoder(image, ["conv1_1"])["conv1_1"], expected)


def test_unknown_preprocessing(tmp_path, tiny_state):
    save_file(tiny_state(), tmp_path / "net.safetensors", metadata={"preprocessing": "keras"})
    with pytest.raises(UserError, match="found 'keras'") as caught:
        load_weights(str(tmp_path / "net.safetensors"))
    one_line(caught)


def test_preprocessing_that_is_assumed_is_said(tmp_path, caplog, tiny_state):
    torch.save(tiny_state(), tmp_path / "vgg_conv.pth")
    with caplog.at_level(logging.INFO):
        loaded = load_weights(str(tmp_path / "vgg_conv.pth"))
    assert loaded.preprocessing == "imagenet"
    assert "--model.encoder.preprocessing caffe" in caplog.text


def test_digest_is_the_contents_not_the_files(tmp_path, tiny_state):
    state = tiny_state()
    torch.save(state, tmp_path / "a.pth")
    torch.save({"state_dict": state}, tmp_path / "b.pth", _use_new_zipfile_serialization=False)
    save_file(state, tmp_path / "c.safetensors")
    digests = {load_weights(str(tmp_path / name)).digest for name in ("a.pth", "b.pth", "c.safetensors")}
    assert digests == {state_digest(state)}
    assert len(state_digest(state)) == 64


def test_digest_sees_every_change(tiny_state):
    state = tiny_state()
    key = "conv3_2.weight"
    flipped = state[key].clone()
    flipped[1, 2, 0, 1] = torch.nextafter(flipped[1, 2, 0, 1], torch.tensor(9e9))
    reshaped = state[key].reshape(2, 8, 3, 3)
    changed = [state | {key: flipped}, state | {key: reshaped}, tiny_state(last=15), tiny_state(seed=1)]
    assert len({state_digest(other) for other in [state, *changed]}) == 5


def test_random_depends_on_the_seed_only():
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = load_weights("random", seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert load_weights("random", seed=7).digest == first.digest
    assert load_weights("random", seed=8).digest != first.digest


def test_random_has_vgg19s_shapes_and_keeps_the_scale():
    state = load_weights("random").state
    with torch.device("meta"):
        reference = torchvision.models.vgg19().features.state_dict()
    assert [value.shape for value in state.values()] == [value.shape for value in reference.values()]
    for key, value in state.items():
        if key.endswith("weight"):
            fan_in = value[0].numel()
            np.testing.assert_allclose(value.std().item(), (2 / fan_in) ** 0.5, rtol=0.1)
        else:
            assert not value.any()


def test_weights_are_kept_where_asked_and_a_changed_file_is_read_again(tmp_path, tiny_state):
    file = tmp_path / "net.pth"
    torch.save(tiny_state(), file)
    assert load_weights(str(file)) is not load_weights(str(file))
    with weights_kept():
        first = load_weights(str(file))
        assert load_weights(str(file)) is first
        # What an encoder does with them leaves them as they are.
        encoder = VGG19(str(file)).cast(torch.bfloat16).double()
        encoder(torch.rand(1, 3, 8, 8, dtype=torch.float64), ["relu2_1"])
        assert_same(first.state, tiny_state())
        assert state_digest(first.state) == first.digest
        torch.save({key: value + 1 for key, value in tiny_state().items()}, file)
        assert load_weights(str(file)).digest != first.digest
        assert load_weights("random", seed=1).digest != load_weights("random", seed=2).digest
    assert load_weights(str(file)) is not load_weights(str(file))
