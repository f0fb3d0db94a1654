import numpy as np
import pytest
import torch

from nst_lightning.errors import UserError
from nst_lightning.losses import GramStyleLoss
from nst_lightning.losses.functional import gram_matrix


def raw_gram(features):
    flat = features.reshape(len(features), -1)
    return flat @ flat.T


def relative(image, style, pixels):
    gram, target = (raw_gram(side) / side[0].size for side in (image, style))
    return np.sum((gram - target) ** 2) / np.sum(target**2)


def gatys2015(image, style, pixels):
    channels, positions = len(image), image[0].size
    target = raw_gram(style) * positions / style[0].size
    return np.sum((raw_gram(image) - target) ** 2) / (4 * channels**2 * positions**2)


def keras(image, style, pixels):
    target = raw_gram(style) * image[0].size / style[0].size
    return np.sum((raw_gram(image) - target) ** 2) / (4.0 * 3**2 * pixels**2)


def tutorial(image, style, pixels):
    return np.mean((raw_gram(image) / image.size - raw_gram(style) / style.size) ** 2)


def johnson2016(image, style, pixels):
    return np.sum((raw_gram(image) / image.size - raw_gram(style) / style.size) ** 2)


def gatys_pytorch(image, style, pixels):
    return np.mean((raw_gram(image) / image[0].size - raw_gram(style) / style[0].size) ** 2)


def octaves0911(image, style, pixels):
    return np.mean((raw_gram(image) - raw_gram(style) * image[0].size / style[0].size) ** 2)


FORMULAS = {
    formula.__name__: formula
    for formula in (relative, gatys2015, keras, tutorial, johnson2016, gatys_pytorch, octaves0911)
}


def evaluate(loss, image, style):
    return loss(image, loss.prepare(loss.measure(style)))


@pytest.mark.parametrize("convention", FORMULAS)
@pytest.mark.parametrize(
    ("size", "style_size", "batch"), [((16, 16), (16, 16), 1), ((33, 17), (20, 41), 1), ((6, 50), (9, 9), 3)]
)
def test_conventions_match_their_formulas(convention, size, style_size, batch, picture):
    image, style = picture(*size, seed=1, batch=batch), picture(*style_size, seed=2)
    terms = evaluate(GramStyleLoss({"relu1_1": 1.0, "relu2_1": 2.0}, 3.0, convention), image, style)
    for layer, factor in {"relu1_1": 3.0, "relu2_1": 6.0}.items():
        target = style[layer][0].double().numpy()
        distances = [
            FORMULAS[convention](features, target, size[0] * size[1]) for features in image[layer].double().numpy()
        ]
        np.testing.assert_allclose(float(terms[f"style/{layer}"]), factor * np.mean(distances), rtol=1e-5)


@pytest.mark.parametrize("convention", FORMULAS)
def test_the_taps_suffice(convention, picture):
    loss = GramStyleLoss(["relu2_1"], convention=convention)
    image = {tap: tensor for tap, tensor in picture(8, 8, seed=1).items() if tap in loss.taps}
    assert list(evaluate(loss, image, image)) == ["style/relu2_1"]
    assert ("input" in loss.taps) == (convention == "keras")


def test_relative_is_free_of_scale(picture):
    image, style = picture(13, 9, seed=1), picture(8, 15, seed=2)
    loss = GramStyleLoss(["relu1_1", "relu2_1"])
    reference = evaluate(loss, image, style)
    for scale in (1e-3, 40.0):
        scaled = [{tap: scale * tensor for tap, tensor in side.items()} for side in (image, style)]
        torch.testing.assert_close(evaluate(loss, *scaled), reference)


def test_a_blank_style_picture_gives_a_finite_relative_loss(picture):
    image = picture(6, 6, seed=1)
    blank = {tap: torch.zeros_like(tensor) for tap, tensor in image.items()}
    loss = GramStyleLoss(["relu1_1"])
    assert evaluate(loss, image, blank)["style/relu1_1"].isfinite()
    torch.testing.assert_close(evaluate(loss, blank, image)["style/relu1_1"], torch.tensor(1.0))


@pytest.mark.parametrize("convention", FORMULAS)
def test_gradient(convention, picture):
    style = picture(4, 6, seed=2, dtype=torch.float64)
    image = picture(4, 3, seed=1, batch=2, dtype=torch.float64)
    loss = GramStyleLoss(["relu1_1"], convention=convention)
    targets = loss.prepare(loss.measure(style))
    assert torch.autograd.gradcheck(
        lambda x: loss({"input": image["input"], "relu1_1": x}, targets)["style/relu1_1"],
        image["relu1_1"].requires_grad_(),
    )


def test_styles_blend_by_a_weighted_mean_of_what_was_measured(picture):
    image, first, second = picture(8, 8, seed=1), picture(10, 6, seed=2), picture(5, 9, seed=3)
    loss = GramStyleLoss(["relu1_1"])
    one, two = loss.measure(first), loss.measure(second)
    blend = loss.prepare({key: 0.3 * one[key] + 0.7 * two[key] for key in one})
    target = sum(
        weight * raw_gram(side["relu1_1"][0].double().numpy()) / side["relu1_1"][0, 0].numel()
        for weight, side in ((0.3, first), (0.7, second))
    )
    gram = raw_gram(image["relu1_1"][0].double().numpy()) / 64
    expected = np.sum((gram - target) ** 2) / np.sum(target**2)
    np.testing.assert_allclose(float(loss(image, blend)["style/relu1_1"]), expected, rtol=1e-5)


@pytest.mark.parametrize("numbers", [4, 5 * 1000, 2**21])  # less than a position, with a rest, all at once
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features_are_summed_in_float32(dtype, guided, layout, numbers, monkeypatch):
    monkeypatch.setattr("nst_lightning.losses.functional._CAST_NUMBERS", numbers)
    generator = torch.Generator().manual_seed(0)
    features = (300 * torch.rand(2, 5, 24, 32, generator=generator)).to(dtype).contiguous(memory_format=layout)
    guide = torch.rand(1, 1, 24, 32, generator=generator) if guided else None
    with torch.autocast("cpu", dtype=torch.bfloat16):
        gram = gram_matrix(features, guide)
    assert gram.dtype == torch.float32
    weights = np.ones((24, 32)) if guide is None else guide[0, 0].double().numpy()
    maps = features.double().numpy()
    expected = np.einsum("nchw,ndhw,hw->ncd", maps, maps, weights) / weights.sum()
    np.testing.assert_allclose(gram.numpy(), expected, rtol=1e-5)


def test_channels_last_gives_the_same(picture):
    image, style = picture(12, 8, seed=1, batch=2), picture(9, 9, seed=2)
    loss = GramStyleLoss(["relu1_1", "relu2_1"])
    last = {tap: tensor.contiguous(memory_format=torch.channels_last) for tap, tensor in image.items()}
    torch.testing.assert_close(evaluate(loss, last, style), evaluate(loss, image, style))


def test_a_raw_gram_matrix_is_the_sum_over_tiles(picture):
    features = picture(8, 14, seed=1)["relu1_1"]
    parts = sum(gram_matrix(part, normalize=False) for part in features.split(5, dim=3))
    torch.testing.assert_close(parts, gram_matrix(features, normalize=False))
    torch.testing.assert_close(parts / (8 * 14), gram_matrix(features))


@pytest.mark.parametrize("guided", [False, True])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_a_gram_matrixs_gradient_is_that_of_the_written_product(layout, guided):
    """Also for an output gradient that is not symmetric; it comes in the features' dtype and memory format."""
    generator = torch.Generator().manual_seed(0)
    features = torch.randn(2, 3, 5, 4, generator=generator, dtype=torch.float64).contiguous(memory_format=layout)
    guide = torch.rand(1, 1, 5, 4, generator=generator, dtype=torch.float64) if guided else None
    grad_output = torch.randn(2, 3, 3, generator=generator, dtype=torch.float64)
    features.requires_grad_()
    weights = torch.ones(1, 1, 5, 4, dtype=torch.float64) if guide is None else guide
    written = torch.einsum("nchw,ndhw,zyhw->ncd", features, features, weights) / weights.sum()
    (expected,) = torch.autograd.grad(written, features, grad_output)
    (found,) = torch.autograd.grad(gram_matrix(features, guide), features, grad_output)
    torch.testing.assert_close(found, expected)
    assert found.is_contiguous(memory_format=layout)
    narrow = features.detach().bfloat16().requires_grad_()
    (in_bfloat16,) = torch.autograd.grad(
        gram_matrix(narrow, None if guide is None else guide.float()), narrow, grad_output.float()
    )
    assert in_bfloat16.dtype == torch.bfloat16
    rounded = narrow.detach().double().requires_grad_()
    written = torch.einsum("nchw,ndhw,zyhw->ncd", rounded, rounded, weights) / weights.sum()
    (expected,) = torch.autograd.grad(written, rounded, grad_output)
    # Two roundings, of D + D^T and of the result, each by 2^-9 of what is rounded, and their like in what cancels.
    torch.testing.assert_close(in_bfloat16.double(), expected, rtol=2**-8, atol=2**-9 * float(expected.abs().max()))


@pytest.mark.parametrize("convention", ["relative", "keras", "octaves0911"])
def test_loss_and_gradient_of_tiles_are_those_of_the_whole(convention, picture):
    image, style = picture(8, 12, seed=1), picture(9, 9, seed=2)
    loss = GramStyleLoss(["relu1_1"], convention=convention)
    targets = loss.prepare(loss.measure(style))
    whole = {**image, "relu1_1": image["relu1_1"].clone().requires_grad_()}
    loss(whole, targets)["style/relu1_1"].backward()

    tiles = [part.clone().requires_grad_() for part in image["relu1_1"].split([7, 5], dim=3)]
    share = [tile[0, 0].numel() / 96 for tile in tiles]
    parts = [loss.statistics({"relu1_1": tile})["relu1_1"] for tile in tiles]
    total = sum(weight * part.detach() for weight, part in zip(share, parts, strict=True)).requires_grad_()
    loss.compare({"relu1_1": total}, targets, {"relu1_1": 96, "input": 96})["style/relu1_1"].backward()
    for weight, part in zip(share, parts, strict=True):
        part.backward(weight * total.grad)
    torch.testing.assert_close(torch.cat([tile.grad for tile in tiles], dim=3), whole["relu1_1"].grad)


def test_measuring_keeps_no_graph(picture):
    features = picture(4, 4, seed=1)["relu1_1"].requires_grad_()
    assert not GramStyleLoss(["relu1_1"]).measure({"relu1_1": features})["relu1_1"].requires_grad


@pytest.mark.parametrize("shape", [(6, 8, 8), (1, 6, 0, 8)])
def test_features_without_positions_are_a_users_error(shape):
    with pytest.raises(UserError, match=r"expected a tensor of shape \(N, C, H, W\) with at least one"):
        gram_matrix(torch.zeros(shape))


def test_another_number_of_channels_is_a_users_error(picture):
    loss, image = GramStyleLoss(["relu1_1"]), picture(8, 8, seed=1)
    targets = loss.prepare(loss.measure({"relu1_1": image["relu2_1"]}))
    with pytest.raises(UserError, match="the same encoder"):
        loss(image, targets)
