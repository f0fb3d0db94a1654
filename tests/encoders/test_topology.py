import pytest
from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from nst_lightning.encoders.topology import CONVOLUTIONS, LAYERS, check_layers, deepest, smallest_side
from nst_lightning.errors import UserError


def test_names_are_in_torchvisions_order():
    kinds = {nn.Conv2d: "conv", nn.ReLU: "relu", nn.MaxPool2d: "pool"}
    layers = make_layers([entry if entry == "M" else 1 for entry in cfgs["E"]])
    assert [name[:4] for name in LAYERS] == [kinds[type(layer)] for layer in layers]
    assert len(LAYERS) == len(set(LAYERS)) == 37
    assert len(CONVOLUTIONS) == 16


def test_names_are_the_papers():
    blocks = [(1, 2), (2, 2), (3, 4), (4, 4), (5, 4)]
    indices = [(block, index) for block, count in blocks for index in range(1, count + 1)]
    assert list(CONVOLUTIONS) == [f"conv{block}_{index}" for block, index in indices]
    assert [name for name in LAYERS if name[0] == "r"] == [f"relu{block}_{index}" for block, index in indices]
    assert [LAYERS.index(f"pool{block}") for block in range(1, 6)] == [4, 9, 18, 27, 36]


def test_known_names_pass():
    check_layers([*LAYERS, "input"])
    check_layers([])


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("relu41", "relu4_1"),
        ("conv1-1", "conv1_1"),
        ("pool6", "pool"),
        ("inputs", "input"),
        ("", ""),
        ("Relu5_4", "relu5_4"),
    ],
)
def test_an_unknown_name_is_told_its_nearest(name, nearest):
    with pytest.raises(UserError, match=f"{name!r}; did you mean '{nearest}") as caught:
        check_layers(["relu1_1", name])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("names", "depth"),
    [([], 0), (["input"], 0), (["conv1_1"], 1), (["pool5"], 37), (["relu3_1", "input", "relu1_1"], 12)],
)
def test_deepest_counts_the_layers_to_run(names, depth):
    assert deepest(names) == depth
    assert not depth or LAYERS[depth - 1] in names


@pytest.mark.parametrize(
    ("names", "side"),
    [
        ([], 1),
        (["input"], 1),
        (["relu1_2"], 1),
        (["pool1"], 2),
        (["conv2_1", "relu1_1"], 2),
        (["relu4_4"], 8),
        (["relu5_4"], 16),
        (["pool5"], 32),
    ],
)
def test_each_pooling_doubles_the_smallest_side(names, side):
    assert smallest_side(names) == side
    assert isinstance(smallest_side(names), int)
