import json
import re

import pytest
import torch
from jsonargparse import auto_cli
from torch import Tensor

from nst_lightning.errors import UserError
from nst_lightning.losses import (
    ContentLoss,
    GramStyleLoss,
    Loss,
    TotalVariationLoss,
    WassersteinStyleLoss,
)

WITH_LAYERS = [ContentLoss, GramStyleLoss, WassersteinStyleLoss]
ALL = [*WITH_LAYERS, TotalVariationLoss]


class Constant(Loss):
    reference = "none"

    def forward(self, features, targets) -> dict[str, Tensor]:
        return {layer: self.weigh(layer, torch.ones(2)) for layer in self.layers}


def test_a_list_shares_the_weight_and_a_mapping_gives_it():
    shared = Constant(layers=["a", "b", "c", "d"], weight=2.0, name="x")
    assert shared.layers == ("a", "b", "c", "d")
    assert shared.layer_weights == dict.fromkeys("abcd", 0.25)
    assert [float(term) for term in shared({}, {}).values()] == [0.5] * 4

    given = Constant(layers={"b": 3, "a": 0.5}, weight=2.0, name="x")
    assert given.layers == ("b", "a")
    assert [float(term) for term in given({}, {}).values()] == [6.0, 1.0]


@pytest.mark.parametrize("loss", WITH_LAYERS)
def test_terms_are_named_after_loss_and_layer_and_scale_with_the_weights(loss, picture):
    image, reference = picture(12, 10, seed=0), picture(12, 10, seed=1)

    def terms(layers, weight):
        module = loss(layers=layers, weight=weight, name="part")
        return module(image, module.prepare(module.measure(reference)))

    unit = terms({"relu1_1": 1.0, "relu2_1": 1.0}, 1.0)
    assert list(unit) == ["part/relu1_1", "part/relu2_1"]
    assert all(term.shape == () for term in unit.values())
    shared = terms(["relu1_1", "relu2_1"], 10.0)
    given = terms({"relu1_1": 0.25, "relu2_1": 0.0}, 8.0)
    torch.testing.assert_close(shared, {key: 5 * term for key, term in unit.items()})
    torch.testing.assert_close(given["part/relu1_1"], 2 * unit["part/relu1_1"])
    assert given["part/relu2_1"] == 0


@pytest.mark.parametrize("loss", WITH_LAYERS)
def test_every_term_is_zero_at_the_reference(loss, picture):
    reference = picture(24, 18, seed=1, batch=2)
    module = loss(layers=["relu1_1", "relu2_1"])
    for term in module(reference, module.prepare(module.measure(reference))).values():
        assert abs(float(term)) < 1e-6


@pytest.mark.parametrize("loss", ALL)
def test_losses_have_no_state_and_tell_their_settings(loss):
    module = loss()
    assert not list(module.parameters())
    assert not module.state_dict()
    assert f"name={module.name}, weight=1" in repr(module)


def test_defaults():
    assert (ContentLoss().name, ContentLoss().reference) == ("content", "content")
    assert ContentLoss().layers == ("relu4_2",)
    assert (GramStyleLoss().name, GramStyleLoss().reference) == ("style", "style")
    assert GramStyleLoss().layers == ("relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1")
    assert WassersteinStyleLoss().layers == GramStyleLoss().layers
    assert (TotalVariationLoss().name, TotalVariationLoss().reference) == ("tv", "none")
    assert TotalVariationLoss().layers == ("input",)


@pytest.mark.parametrize("weight", [-1.0, float("nan"), float("inf")])
@pytest.mark.parametrize("loss", ALL)
def test_weight_must_be_finite_and_not_negative(loss, weight):
    with pytest.raises(UserError, match=rf"weight: expected a finite number, 0 or more, found {weight}"):
        loss(weight=weight)


@pytest.mark.parametrize("loss", WITH_LAYERS)
@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([], "at least one layer, found none"),
        ({}, "at least one layer, found none"),
        ("relu4_2", "expected layers as a list of names or a mapping .* found 'relu4_2'"),
        (5, "expected layers as a list of names or a mapping .* found 5"),
        (["relu1_1", "relu2_1", "relu1_1"], "each layer once, found relu1_1 more than once"),
        ({"relu1_1": -2.0}, "weight of relu1_1: expected a finite number, 0 or more, found -2.0"),
        ({"relu1_1": float("nan")}, "weight of relu1_1: expected a finite number, 0 or more, found nan"),
    ],
)
def test_layers_are_checked(loss, layers, message):
    with pytest.raises(UserError, match=message) as caught:
        loss(layers=layers)
    assert "\n" not in str(caught.value)


def test_a_name_is_needed():
    with pytest.raises(UserError, match="needs a name"):
        ContentLoss(name="")


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: ContentLoss(convention="gatys"), "content: convention: .* did you mean 'gatys2015'"),
        (lambda: GramStyleLoss(convention="tutorail"), "style: convention: .* did you mean 'tutorial'"),
        (lambda: WassersteinStyleLoss(convention="zzz"), "found 'zzz'; choose for example 'relative'"),
        (lambda: TotalVariationLoss(kind="L2"), "tv: kind: .* did you mean 'l2'"),
    ],
)
def test_a_wrong_choice_names_the_nearest(build, message):
    with pytest.raises(UserError, match=message):
        build()


def given(losses: list[Loss]) -> list[Loss]:
    return losses


@pytest.mark.parametrize("loss", ["ContentLoss", "GramStyleLoss", "WassersteinStyleLoss"])
@pytest.mark.parametrize("layers", [["relu1_1", "relu2_1"], {"relu1_1": 1.0, "relu2_1": 3.0}])
def test_losses_can_be_built_from_yaml(loss, layers):
    entry = {"class_path": f"nst_lightning.losses.{loss}", "init_args": {"layers": layers, "weight": 10}}
    entries = [entry, {"class_path": "nst_lightning.losses.TotalVariationLoss"}]
    built, variation = auto_cli(given, args=[json.dumps(entries)])
    assert (type(built).__name__, built.weight, built.layers) == (loss, 10.0, ("relu1_1", "relu2_1"))
    assert isinstance(variation, TotalVariationLoss)


@pytest.mark.parametrize("loss", WITH_LAYERS)
def test_a_layer_is_compared_up_to_its_size(loss, picture):
    weights = {"relu1_1": 0.5, "relu2_1": 0.25}
    limited = loss(layers=weights, weight=3.0, up_to={"relu2_1": 64})
    assert limited.at_size(1) is limited
    assert limited.at_size(64) is limited
    larger, alone = limited.at_size(65), loss(layers={"relu1_1": 0.5}, weight=3.0)
    assert larger.taps == alone.taps  # the encoder need not run beyond
    image, reference = picture(12, 8, seed=1), picture(12, 8, seed=2)
    assert larger(image, larger.prepare(larger.measure(reference))) == alone(
        image, alone.prepare(alone.measure(reference))
    )
    assert limited.layer_weights == weights
    assert "up_to={'relu2_1': 64}" in repr(limited)


def test_sizes_of_layers_outlive_other_layers():
    """As where an option replaces the layers of a config that limits them."""
    other = GramStyleLoss(["relu1_1", "relu2_1"], up_to={"relu5_1": 64})
    assert other.at_size(65) is other
    alone = GramStyleLoss(["relu2_1", "relu5_1"], up_to={"relu5_1": 64, "relu2_1": 64})
    assert alone.at_size(65).layers == ("relu2_1", "relu5_1")


@pytest.mark.parametrize(
    ("up_to", "message"),
    [
        ({"relu3_9": 64}, "relu3_9"),
        ({"relu1_1": 0}, "style: up_to of relu1_1: expected a long side of 1 pixel or more, found 0"),
    ],
)
def test_sizes_of_layers_are_checked(up_to, message):
    with pytest.raises(UserError, match=re.escape(message)):
        GramStyleLoss(["relu1_1", "relu2_1"], up_to=up_to)
