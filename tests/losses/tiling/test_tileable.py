"""Losses that users derive from the library's: tiled as the whole picture is evaluated, or refused by name."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nst_lightning import VGG19, ContentLoss, GramStyleLoss, Loss, TotalVariationLoss, UserError, WassersteinStyleLoss
from nst_lightning.losses.loss import Features, Guide, Measured
from nst_lightning.losses.objective import Objective, References
from nst_lightning.losses.style import Positions, StyleLoss
from nst_lightning.losses.tiling import tiled_objective
from nst_lightning.losses.tiling.distributed import Tiling
from nst_lightning.losses.tiling.tiled_objective import check_tile_size


def compare_tiled(losses: list[Loss], encoder_file: str) -> None:
    """Assert that terms and gradient of the tiled objective are those of the untiled one."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(30, 40), (30, 40), (25, 33)]
    image, content, style = (torch.rand(1, 3, *size, generator=generator).double() for size in sizes)
    found = []
    for tiling in (None, Tiling(16)):
        objective = Objective(VGG19(encoder_file).double(), losses)
        targets = objective.measure(References(content, [style], [1.0]), tiling=tiling)
        leaf = image.clone().requires_grad_()
        total, terms = objective(leaf, targets)
        total.backward()
        found.append((terms, leaf.grad))
    torch.testing.assert_close(found[1], found[0], rtol=1e-9, atol=1e-14)
    assert bool(found[0][1].any())


class Means(WassersteinStyleLoss):
    """Reads one of the two statistics."""

    def compare(self, statistics: Measured, targets: Measured, positions: Positions) -> dict[str, Tensor]:
        return {
            f"{self.name}/{layer}": self.weigh(
                layer, (statistics[f"{layer}/mean"] - targets[f"{layer}/mean"]).square().sum(1)
            )
            for layer in self.layers
        }


class Shaded(StyleLoss):
    """The mean of features times the picture's brightness below them: it taps more than its layers."""

    @property
    def taps(self) -> tuple[str, ...]:
        return (*self.layers, "input")

    def statistics(self, features: Features, guide: Guide | None = None) -> Measured:
        brightness = features["input"].mean(dim=1, keepdim=True)
        return {layer: (features[layer] * brightness).mean(dim=(2, 3)) for layer in self.layers}

    def compare(self, statistics: Measured, targets: Measured, positions: Positions) -> dict[str, Tensor]:
        return {
            f"{self.name}/{layer}": self.weigh(
                layer, (statistics[layer] - targets[layer]).square().sum(1) * positions[layer] / positions["input"]
            )
            for layer in self.layers
        }


class Halved(TotalVariationLoss):
    """Not what `of_rows` gives."""

    def forward(self, features: Features, targets: Measured) -> dict[str, Tensor]:
        return {self.name: super().forward(features, targets)[self.name] / 2}


class Rooted(TotalVariationLoss):
    """A weighting whose parts do not add up."""

    def weigh(self, layer: str, distances: Tensor) -> Tensor:
        return super().weigh(layer, distances).sqrt()


@pytest.mark.parametrize(
    "loss",
    [Means(["relu1_1", "relu2_1"]), Shaded(layers=["relu1_1"], name="shaded"), Halved(), Rooted()],
    ids=lambda loss: type(loss).__name__,
)
def test_a_subclass_is_tiled_as_it_is(loss: Loss, encoder_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tiled_objective, "_BAND_PIXELS", 400)  # ten rows
    compare_tiled([loss], encoder_file)


class Squared(GramStyleLoss):
    def forward(self, features: Features, targets: Measured, guide: Guide | None = None) -> dict[str, Tensor]:
        return {name: term.square() for name, term in super().forward(features, targets, guide).items()}


class Brightened(GramStyleLoss):
    def measure(self, features: Features, guide: Guide | None = None) -> Measured:
        return {layer: 2 * gram for layer, gram in super().measure(features, guide).items()}


class Centred(ContentLoss):
    def measure(self, features: Features) -> Measured:
        return {layer: target - target.mean() for layer, target in super().measure(features).items()}


class Flattened(ContentLoss):
    def prepare(self, measured: Measured) -> Measured:
        return super().prepare({layer: target.clamp(max=1) for layer, target in measured.items()})


class Worst(ContentLoss):
    def forward(self, features: Features, targets: Measured, guide: Guide | None = None) -> dict[str, Tensor]:
        return {f"{self.name}/worst": torch.stack(list(super().forward(features, targets, guide).values())).max()}


class RootedContent(ContentLoss):
    def weigh(self, layer: str, distances: Tensor) -> Tensor:
        return super().weigh(layer, distances).sqrt()


class Corner(Loss):
    reference = "none"

    def forward(self, features: Features, targets: Measured) -> dict[str, Tensor]:
        return {"corner": features["relu1_1"][..., 0, 0].sum()}


class Pixels(Corner):
    """Of the pixels alone, but its targets would have to be measured tile by tile."""

    reference = "content"


@pytest.mark.parametrize(
    ("loss", "why"),
    [
        (Squared(name="mine"), "since Squared has a forward of its own"),
        (Brightened(name="mine"), "since Brightened has a measure of its own"),
        (Centred(name="mine"), "since Centred has a measure of its own"),
        (Flattened(name="mine"), "since Flattened has a prepare of its own"),
        (Worst(name="mine"), "since Worst has a forward of its own"),
        (RootedContent(name="mine"), "since RootedContent has a weigh of its own"),
        (Corner(layers=["relu1_1"], name="mine"), "only StyleLoss, ContentLoss and losses of the pixels .* can"),
        (Pixels(layers=["input"], name="mine"), "that compare with no content or style picture can"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Loss) else "",
)
def test_a_loss_that_cannot_be_tiled_is_named(loss: Loss, why: str, encoder_file: str) -> None:
    with pytest.raises(UserError, match=f"the loss 'mine' can't be tiled, .*{why}; remove it, or set model"):
        check_tile_size("auto", [TotalVariationLoss(), loss])
    if not isinstance(loss, Corner):
        with pytest.raises(UserError, match="the loss 'mine' can't be tiled"):
            compare_tiled([loss], encoder_file)


class Promised(Squared):
    """A forward of its own, after all the same function of the statistics as `compare` is: it says so."""

    tileable = True

    def forward(self, features: Features, targets: Measured, guide: Guide | None = None) -> dict[str, Tensor]:
        return GramStyleLoss.forward(self, features, targets, guide)


def test_what_a_loss_can_is_declared(encoder_file: str) -> None:
    assert [kind.tileable for kind in (Loss, StyleLoss, ContentLoss, TotalVariationLoss)] == [False, True, True, True]
    assert [kind.tileable for kind in (Means, Squared, Worst, Rooted)] == [True, False, False, False]
    assert Squared(name="mine").why_not_tileable() == "since Squared has a forward of its own"
    assert Promised(name="mine").why_not_tileable() is None
    compare_tiled([Promised(["relu1_1"])], encoder_file)


def test_a_loss_that_inherits_an_override_is_not_tiled_either() -> None:
    class Derived(Squared):
        pass

    class Mixed(Corner, GramStyleLoss):
        reference = "style"

    assert Derived(name="mine").why_not_tileable() == "since Squared has a forward of its own"
    assert not Mixed.tileable
