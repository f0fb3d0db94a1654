"""What the picture starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from lightning import seed_everything
from PIL import Image

from nst_lightning import TransferData, UserError
from nst_lightning.data.initial_image import InitialImage
from nst_lightning.images.guides import Guides
from nst_lightning.images.resize import resize
from nst_lightning.networks.any_style import AnyStyleNet


def start(content: str | None, style: str, init: str, size: int = 200) -> torch.Tensor:
    initial = TransferData(content, style, sizes=[size], steps=1, init=init).batch(0).initial
    assert initial is not None
    return initial


def test_normal_is_cut_off_and_grey_is_within_a_grey_level(content: str, style: str) -> None:
    seed_everything(1)
    normal = start(content, style, "normal")
    expected = scipy.stats.truncnorm(-2, 2, 0.5, 0.25)
    assert normal.min() >= 0
    assert normal.max() <= 1
    assert abs(float(normal.mean()) - expected.mean()) < 0.005
    assert abs(float(normal.std()) - expected.std()) < 0.005
    grey = start(content, style, "grey")
    assert grey.min() >= 0.5
    assert grey.max() <= 0.5 + 1 / 255 + 1e-6
    assert grey.std() > 0


def test_style_stats_are_the_styles_by_channel(content: str, style: str) -> None:
    picture = TransferData(content, style, sizes=[200], steps=1).prepared_styles[0]
    found = start(content, style, "style_stats")
    for channel in range(3):
        mean, deviation = float(picture[:, channel].mean()), float(picture[:, channel].std())
        expected = scipy.stats.truncnorm(-mean / deviation, (1 - mean) / deviation, mean, deviation)
        assert abs(float(found[:, channel].mean()) - expected.mean()) < 0.005
        assert abs(float(found[:, channel].std()) - expected.std()) < 0.005


@pytest.mark.parametrize("init", ["noise", "normal", "grey", "style_stats"])
def test_noise_depends_on_the_seed_alone(init: str, content: str, style: str) -> None:
    seed_everything(1)
    first = start(content, style, init, 40)
    torch.rand(7)
    assert torch.equal(start(content, style, init, 40), first)
    seed_everything(2)
    assert not torch.equal(start(content, style, init, 40), first)


def test_a_start_that_needs_a_missing_picture_is_refused(content: str) -> None:
    with pytest.raises(UserError, match=r"data\.init is style_stats, but data\.style is not set"):
        TransferData(content, None, init="style_stats")


def recolored(image: torch.Tensor, reference: torch.Tensor, image_weights: Any, reference_weights: Any) -> np.ndarray:
    """Return an image `(3, H, W)`, moved by the optimal transport between normal distributions, by SciPy in float64."""
    (x, x_weights), (y, y_weights) = (
        (pixels[0].flatten(1).double().numpy(), np.ravel(weights))
        for pixels, weights in ((image, image_weights), (reference, reference_weights))
    )
    root = scipy.linalg.sqrtm(np.cov(x, aweights=x_weights, ddof=0))
    inverse = np.linalg.inv(root)
    matrix = inverse @ scipy.linalg.sqrtm(root @ np.cov(y, aweights=y_weights, ddof=0) @ root) @ inverse
    means = [np.average(pixels, 1, weights)[:, None] for pixels, weights in ((x, x_weights), (y, y_weights))]
    moved = matrix.real @ (x - means[0]) + means[1]
    return np.asarray(moved.clip(0, 1).reshape(image.shape[1:]))


def test_recolored_is_the_content_with_the_colors_of_the_blend(content: str, style: str) -> None:
    data = TransferData(
        content, [style, content], [3, 1], sizes=[40, 60], steps=1, style_scale=[1, 0.5], init="recolored"
    )
    batch = data.batch(0)
    assert batch.content is not None
    assert batch.initial is not None
    wanted = [recolored(batch.content, each, np.ones(30 * 40), np.ones(each[0, 0].numel())) for each in batch.styles]
    np.testing.assert_allclose(batch.initial[0], 0.75 * wanted[0] + 0.25 * wanted[1], rtol=0, atol=1e-5)
    assert data.batch(1).initial is None


def test_recolored_takes_each_regions_colors_from_its_style(content: str, style: str, tmp_path: Path) -> None:
    def mask(name: str, values: np.ndarray) -> str:
        Image.fromarray((values * 255).astype(np.uint8)).save(tmp_path / name)
        return str(tmp_path / name)

    rows, columns = np.mgrid[:60, :80]
    left, middle = mask("left.png", columns < 40), mask("middle.png", (columns >= 40) & (columns < 60))
    dot, top = mask("dot.png", (rows == 0) & (columns == 79)), mask("top.png", np.mgrid[:36, :36][0] < 18)
    given: dict[str, Any] = {"guides": [left, middle, dot], "style_guides": [None, top, None]}
    batch = TransferData(content, [style] * 3, sizes=[40], steps=1, init="recolored", **given).batch(0)
    assert batch.content is not None
    assert batch.initial is not None
    assert batch.guides is not None
    whole, part = np.ones(batch.styles[0][0, 0].numel()), batch.guides.styles[1]
    regions = batch.guides.regions
    wanted = [recolored(batch.content, batch.styles[0], regions[0], whole)]
    wanted += [recolored(batch.content, batch.styles[1], regions[1], part)]
    np.testing.assert_allclose(batch.initial[0, ..., :18], wanted[0][..., :18], rtol=0, atol=1e-5)
    np.testing.assert_allclose(batch.initial[0, ..., 22:28], wanted[1][..., 22:28], rtol=0, atol=1e-5)
    assert torch.equal(batch.initial[..., 4:, 32:], batch.content[..., 4:, 32:])  # no style's


def test_masks_that_vanish_at_the_first_level_do_not_stop_recolored() -> None:
    content, style = torch.rand(2, 1, 3, 6, 8, generator=torch.Generator().manual_seed(0))
    nothing = torch.zeros(1, 1, 6, 8)
    guides = Guides(regions=(nothing, 1 - nothing), styles=(None, nothing))
    initial = InitialImage("recolored", content, [style, style], [0.5, 0.5], max_pixels=100)
    found = initial.recolor(content, [style, style], guides)
    np.testing.assert_allclose(found[0], recolored(content, style, np.ones(48), np.ones(48)), rtol=0, atol=1e-5)


def test_recolored_is_the_content_without_a_style_and_refused_without_a_content(content: str, style: str) -> None:
    batch = TransferData(content, None, sizes=[40], steps=1, init="recolored").batch(0)
    assert batch.initial is not None
    assert batch.content is not None
    assert torch.equal(batch.initial, batch.content)
    with pytest.raises(UserError, match=r"data\.init is recolored, but data\.content is not set"):
        TransferData(None, style, init="recolored")


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch, encoder_file: str) -> AnyStyleNet:
    """A tiny network of any style in the shipped one's place."""
    torch.manual_seed(0)
    network = AnyStyleNet(encoder_file, width=4, blocks=1).eval().requires_grad_(False)
    monkeypatch.setattr("nst_lightning.data.initial_image.load_any_style", lambda: network)
    return network


def test_one_pass_is_the_painting_of_the_blend(network: AnyStyleNet, content: str, style: str) -> None:
    """It is painted as large as the result, and resized to the first level."""
    settings: dict[str, Any] = {"style_weights": [3, 1], "style_scale": [1, 0.5], "preserve_color": "luminance"}
    data = TransferData(content, [style, content], sizes=[40, 80], steps=1, init="one_pass", **settings)
    assert data.prepared_content is not None
    fine = data.batch(1)
    assert fine.content is not None
    measured = [network.measure(each) for each in fine.styles]
    painted = network(fine.content, measured, torch.tensor([0.75, 0.25]))
    found = data.batch(0).initial
    assert found is not None
    torch.testing.assert_close(found, resize(painted, (30, 40)), rtol=0, atol=1e-6)
    assert fine.initial is None


def test_one_pass_of_a_large_result_is_painted_at_512(network: AnyStyleNet, content: str, style: str) -> None:
    sizes: list[tuple[int, ...]] = []
    network.register_forward_pre_hook(lambda _, args: sizes.append(tuple(args[0].shape[-2:])))
    TransferData(content, style, sizes=[64, 1024], steps=1, init="one_pass").batch(0)
    TransferData(content, style, sizes=[640, 1024], steps=1, init="one_pass").batch(0)
    assert sizes == [(384, 512), (480, 640)]


def test_one_pass_paints_each_region_in_its_style(
    network: AnyStyleNet, content: str, style: str, tmp_path: Path
) -> None:
    mask = tmp_path / "left.png"
    values = np.zeros((30, 40), np.uint8)
    values[:, :20] = 255
    Image.fromarray(values).save(mask)
    guides: dict[str, Any] = {"guides": [str(mask), "rest"], "style_guides": [None, str(mask)]}
    batch = TransferData(content, [style, content], sizes=[40], steps=1, init="one_pass", **guides).batch(0)
    assert batch.content is not None
    assert batch.guides is not None
    styles = [network.measure(batch.styles[0]), network.measure(batch.styles[1], batch.guides.styles[1])]
    wanted = [network(batch.content, [style], torch.ones(1), batch.guides.regions[i]) for i, style in enumerate(styles)]
    assert batch.initial is not None
    torch.testing.assert_close(batch.initial[..., :20], wanted[0][..., :20], rtol=0, atol=1e-6)
    torch.testing.assert_close(batch.initial[..., 20:], wanted[1][..., 20:], rtol=0, atol=1e-6)


def test_one_pass_without_its_network_or_images_is_refused(
    content: str, style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"data\.init is one_pass, but data\.style is not set"):
        TransferData(content, None, init="one_pass")
    with pytest.raises(UserError, match=r"data\.init is one_pass, but data\.content is not set"):
        TransferData(None, style, init="one_pass")
    monkeypatch.setattr("nst_lightning.networks.network_file.SHIPPED_FOLDER", tmp_path / "none")
    with pytest.raises(UserError, match=r"data\.init one_pass: there is no network 'any_style' in the package"):
        TransferData(content, style, init="one_pass")
