import pickle

import pytest
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from nst_lightning.encoders.topology import CONVOLUTIONS
from nst_lightning.encoders.weight_files import read_checkpoint
from nst_lightning.errors import UserError
from tests.helpers.encoders import assert_same, one_line


def as_torchvision(state):
    """Rename to torchvision's keys, whose numbers are read off a real (empty) torchvision VGG19."""
    with torch.device("meta"):
        features = torchvision.models.vgg19().features
    numbers = [index for index, layer in enumerate(features) if isinstance(layer, nn.Conv2d)]
    names = dict(zip(CONVOLUTIONS, numbers, strict=True))
    return {f"features.{names[key[:7]]}{key[7:]}": value for key, value in state.items()}


def read(path):
    state, _ = read_checkpoint(path)
    return state


def test_torchvision_keys_classifier_ignored(tmp_path, tiny_state):
    state = tiny_state()
    content = as_torchvision(state) | {
        "classifier.0.weight": torch.zeros(7, 9),
        "classifier.0.bias": torch.zeros(7),
    }
    torch.save(dict(reversed(content.items())), tmp_path / "net.pth")
    assert_same(read(tmp_path / "net.pth"), state)


def test_files_older_than_torch_1_6(tmp_path, tiny_state):
    state = tiny_state()
    torch.save(as_torchvision(state), tmp_path / "net.pth", _use_new_zipfile_serialization=False)
    assert_same(read(tmp_path / "net.pth"), state)


@pytest.mark.parametrize("wrap", [lambda state: state, lambda state: {"epoch": 3, "state_dict": state}])
@pytest.mark.parametrize("rename", [lambda state: state, as_torchvision])
def test_layouts(tmp_path, wrap, rename, tiny_state):
    state = tiny_state()
    torch.save(wrap(rename(state)), tmp_path / "net.pt")
    assert_same(read(tmp_path / "net.pt"), state)


def prefixed(prefix, state):
    return {f"{prefix}{key}": value for key, value in state.items()}


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: prefixed("module.", as_torchvision(state)),
        lambda state: prefixed("_orig_mod.module.", as_torchvision(state)),
        lambda state: prefixed("model.encoder.", state),
        lambda state: {key.replace("features.", "features.module."): v for key, v in as_torchvision(state).items()},
        lambda state: {key.replace("features.", ""): value for key, value in as_torchvision(state).items()},
        lambda state: {key.replace("features.", "net.slice1."): value for key, value in as_torchvision(state).items()},
        lambda state: prefixed("vgg.", as_torchvision(state) | {"classifier.0.weight": torch.zeros(1)}),
        lambda state: {"model": {"state_dict": prefixed("module.", as_torchvision(state))}, "epoch": 3},
        lambda state: {"model_state_dict": state, "optimizer": {"state": {}}},
        lambda state: {key: value.double() for key, value in state.items()},
    ],
)
def test_what_wrappers_add_is_taken_off(tmp_path, wrap, tiny_state):
    state = tiny_state()
    torch.save(wrap(state), tmp_path / "net.pth")
    assert_same(read(tmp_path / "net.pth"), state)


@pytest.mark.parametrize("wrapper", ["", "module."])
@pytest.mark.parametrize(
    ("architecture", "name"),
    [
        ("vgg11", "a VGG11"),
        ("vgg13", "a VGG13"),
        ("vgg16", "a VGG16"),
        ("vgg16_bn", "a VGG16-BN"),
        ("vgg19_bn", "a VGG19-BN"),
        ("resnet18", "a ResNet"),
        ("alexnet", "an AlexNet"),
        ("squeezenet1_1", "a SqueezeNet"),
        ("densenet121", "a DenseNet"),
        ("mobilenet_v2", "a MobileNet or EfficientNet"),
        ("vit_b_32", "a vision transformer"),
    ],
)
def test_another_network_is_called_by_its_name(tmp_path, wrapper, architecture, name):
    with torch.device("meta"):
        state = torchvision.models.get_model(architecture).state_dict()
    # of the right shapes, but of one number each
    state = {key: torch.zeros(()).expand(value.shape) for key, value in state.items()}
    torch.save(prefixed(wrapper, state), tmp_path / "net.pth")
    with pytest.raises(UserError, match=f"found those of {name} ") as caught:
        read(tmp_path / "net.pth")
    one_line(caught)


def test_a_vgg16_by_the_names_of_its_layers(tmp_path, tiny_state):
    state = {key: value for key, value in tiny_state().items() if key[6] != "4"}
    save_file(state, tmp_path / "net.safetensors")
    with pytest.raises(UserError, match="found those of a VGG16"):
        read(tmp_path / "net.safetensors")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1e300])
def test_numbers_that_are_not_finite_are_refused(tmp_path, value, tiny_state):
    state = {key: tensor.double() for key, tensor in tiny_state().items()}
    state["conv2_1.weight"][0, 0, 0, 0] = value
    torch.save(state, tmp_path / "net.pth")
    with pytest.raises(UserError, match="expected finite numbers for conv2_1"):
        read(tmp_path / "net.pth")


@pytest.mark.parametrize("rename", [lambda state: state, as_torchvision])
def test_safetensors_sorted_otherwise(tmp_path, rename, tiny_state):
    state = tiny_state()
    save_file(rename(state), tmp_path / "net.safetensors")  # which sorts the keys
    assert_same(read(tmp_path / "net.safetensors"), state)


def test_half_precision_becomes_float32(tmp_path, tiny_state):
    state = {key: value.half() for key, value in tiny_state().items()}
    save_file(state, tmp_path / "net.safetensors")
    expected = {key: value.float() for key, value in state.items()}
    assert_same(read(tmp_path / "net.safetensors"), expected)


def test_a_network_may_end_early(tmp_path, tiny_state):
    state = tiny_state(last=9)
    torch.save(as_torchvision(state), tmp_path / "net.pth")
    assert_same(read(tmp_path / "net.pth"), state)


def test_the_file_may_be_overwritten_while_its_weights_are_in_use(tmp_path, tiny_state):
    for suffix in ("pth", "safetensors"):
        path = tmp_path / f"net.{suffix}"
        torch.save(tiny_state(), path) if suffix == "pth" else save_file(tiny_state(), path)
        state = read(path)
        with path.open("r+b") as file:  # in place, as cp does
            file.write(b"\0" * path.stat().st_size)
        assert_same(state, tiny_state())


class Code:
    def __reduce__(self):
        return print, ("this must not run",)


def broken(kind, state):
    if kind == "a hole":
        del state["conv2_1.weight"], state["conv2_1.bias"]
    elif kind == "no bias":
        del state["conv3_4.bias"]
    elif kind == "no first layer":
        state = {key: value for key, value in state.items() if not key.startswith("conv1")}
    elif kind == "a wrong width":
        state["conv3_2.weight"] = torch.zeros(4, 9, 3, 3)
    elif kind == "a wrong kernel":
        state["conv1_1.weight"] = torch.zeros(2, 3, 5, 5)
    elif kind == "a wrong bias":
        state["conv4_1.bias"] = torch.zeros(4)
    elif kind == "integers":
        state["conv4_1.bias"] = torch.zeros(5, dtype=torch.int64)
    elif kind == "no tensor":
        state["conv4_1.bias"] = [0.0] * 5
    elif kind == "nothing":
        state = {}
    elif kind == "another network":
        state = {"layer1.0.conv1.weight": torch.zeros(4, 4, 3, 3)}
    elif kind == "batch norm":
        state = as_torchvision(state) | {"features.1.running_mean": torch.zeros(2)}
    elif kind == "vgg16":
        state = as_torchvision(state) | {"features.17.weight": torch.zeros(5, 4, 3, 3)}
    elif kind == "a model":
        state = nn.Conv2d(3, 3, 3)
    elif kind == "code":
        state = {"conv1_1.weight": Code()}
    elif kind == "a list":
        state = [torch.zeros(3)]
    return state


@pytest.mark.parametrize(
    ("kind", "found"),
    [
        ("a hole", "no such tensor for conv2_1.weight"),
        ("no bias", "no such tensor for conv3_4.bias"),
        ("no first layer", "no such tensor for conv1_1.weight"),
        ("a wrong width", r"\(4, 4, 3, 3\) for conv3_2.weight .*found .*\(4, 9, 3, 3\)"),
        ("a wrong kernel", r"conv1_1.weight .*\(2, 3, 5, 5\)"),
        ("a wrong bias", r"shape \(5,\) for conv4_1.bias .*found .*\(4,\)"),
        ("integers", "int64"),
        ("no tensor", "a list for conv4_1.bias"),
        ("nothing", "no such tensor for conv1_1.weight"),
        ("another network", "'layer1.0.conv1.weight'"),
        ("batch norm", "'features.1.running_mean'"),
        ("vgg16", "'features.17.weight'"),
        ("a model", "refuses"),
        ("code", "refuses"),
        ("a list", "found a list"),
    ],
)
def test_files_that_hold_no_vgg19(tmp_path, kind, found, capsys, tiny_state):
    path = tmp_path / "net.pth"
    torch.save(broken(kind, tiny_state()), path)
    with pytest.raises(UserError, match=found) as caught:
        read(path)
    assert str(path) in one_line(caught)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("name", ["net.pth", "net.safetensors"])
@pytest.mark.parametrize("content", [b"", b"Dear all,\n", pickle.dumps({"a": 1}, protocol=2), b"PK\x03\x04 no archive"])
def test_files_that_are_no_checkpoints(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match=name) as caught:
        read(tmp_path / name)
    one_line(caught)


@pytest.mark.parametrize("layout", ["zip", "legacy", "safetensors"])
def test_cut_files_are_refused(tmp_path, layout, tiny_state):
    whole, cut = tmp_path / "whole", tmp_path / ("cut.safetensors" if layout == "safetensors" else "cut.pth")
    if layout == "safetensors":
        save_file(tiny_state(), whole)
    else:
        torch.save(tiny_state(), whole, _use_new_zipfile_serialization=layout == "zip")
    content = whole.read_bytes()
    for length in range(1, len(content), len(content) // 60):
        cut.write_bytes(content[:length])
        with pytest.raises(UserError) as caught:
            read_checkpoint(cut)
        one_line(caught)
