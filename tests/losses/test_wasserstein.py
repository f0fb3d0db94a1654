import numpy as np
import pytest
import scipy.linalg
import torch

from nst_lightning.losses import WassersteinStyleLoss


def moments(features):
    flat = features.reshape(len(features), -1)
    return flat.mean(axis=1), flat @ flat.T / flat.shape[1]


def terms_of_distance(image, style, ridge):
    (mean, moment), (target_mean, target_moment) = image, style
    identity = np.eye(len(mean))
    covariance = moment - np.outer(mean, mean) + ridge * identity
    target = target_moment - np.outer(target_mean, target_mean) + ridge * identity
    root = scipy.linalg.sqrtm(target)
    cross = scipy.linalg.sqrtm(root @ covariance @ root)
    return (mean - target_mean) ** 2, np.diag(covariance + target - 2 * cross).real


def crowsonkb(image, style):
    means, variances = terms_of_distance(image, style, 1e-4)
    return np.mean(means) + np.mean(variances)


def relative(image, style):
    variance = np.diag(style[1]) - style[0] ** 2
    means, variances = terms_of_distance(image, style, 1e-4 * np.mean(variance))
    return (np.sum(means) + np.sum(variances)) / (np.sum(style[0] ** 2) + np.sum(variance))


FORMULAS = {"relative": relative, "crowsonkb": crowsonkb}


def evaluate(loss, image, style):
    return loss(image, loss.prepare(loss.measure(style)))


@pytest.mark.parametrize("convention", FORMULAS)
@pytest.mark.parametrize(
    ("size", "style_size", "batch"),
    [((16, 16), (16, 16), 1), ((33, 17), (20, 41), 1), ((8, 50), (12, 12), 3)],
)
def test_conventions_match_their_formulas(convention, size, style_size, batch, picture):
    image, style = picture(*size, seed=1, batch=batch), picture(*style_size, seed=2)
    terms = evaluate(WassersteinStyleLoss({"relu1_1": 1.0, "relu2_1": 2.0}, 3.0, convention), image, style)
    for layer, factor in {"relu1_1": 3.0, "relu2_1": 6.0}.items():
        target = moments(style[layer][0].double().numpy())
        distances = [FORMULAS[convention](moments(features), target) for features in image[layer].double().numpy()]
        np.testing.assert_allclose(float(terms[f"style/{layer}"]), factor * np.mean(distances), rtol=1e-5)


def test_relative_is_free_of_scale(picture):
    image, style = picture(13, 9, seed=1), picture(8, 15, seed=2)
    loss = WassersteinStyleLoss(["relu1_1", "relu2_1"])
    reference = evaluate(loss, image, style)
    for scale in (1e-3, 40.0):
        scaled = [{tap: scale * tensor for tap, tensor in side.items()} for side in (image, style)]
        torch.testing.assert_close(evaluate(loss, *scaled), reference, rtol=1e-4, atol=0)


@pytest.mark.slow
@pytest.mark.parametrize("convention", FORMULAS)
def test_gradient(convention, picture):
    style = picture(6, 6, seed=2, dtype=torch.float64)
    features = picture(5, 4, seed=1, batch=2, dtype=torch.float64)["relu1_1"].requires_grad_()
    loss = WassersteinStyleLoss(["relu1_1"], convention=convention)
    targets = loss.prepare(loss.measure(style))
    assert torch.autograd.gradcheck(lambda x: loss({"relu1_1": x}, targets)["style/relu1_1"], features)


def test_float32_gradient_is_near_that_of_float64_with_fewer_positions_than_channels():
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, 64, 4, 5, generator=generator, dtype=torch.float64).relu()
    style = torch.randn(1, 64, 5, 6, generator=generator, dtype=torch.float64).relu()
    loss = WassersteinStyleLoss(["relu5_1"])
    gradients = []
    for dtype in (torch.float32, torch.float64):
        features = image.to(dtype, copy=True).requires_grad_()
        targets = loss.prepare(loss.measure({"relu5_1": style.to(dtype)}))
        loss({"relu5_1": features}, targets)["style/relu5_1"].backward()
        gradients.append(features.grad.double())
    difference = (gradients[0] - gradients[1]).norm() / gradients[1].norm()
    assert difference < 1e-3


@pytest.mark.parametrize("convention", FORMULAS)
def test_flat_pictures_have_finite_loss_and_gradient(convention, picture):
    picture_ = picture(8, 8, seed=1)
    flat = {tap: torch.full_like(tensor, 0.25) for tap, tensor in picture_.items()}
    blank = {tap: torch.zeros_like(tensor) for tap, tensor in picture_.items()}
    loss = WassersteinStyleLoss(["relu1_1"], convention=convention)
    for image, style in [
        (flat, picture_),
        (picture_, flat),
        (blank, picture_),
        (picture_, blank),
        (flat, flat),
    ]:
        features = image["relu1_1"].clone().requires_grad_()
        term = evaluate(loss, {"relu1_1": features}, style)["style/relu1_1"]
        term.backward()
        assert term.isfinite()
        assert features.grad.isfinite().all()


def test_styles_blend_by_a_weighted_mean_of_moments(picture):
    image, first, second = picture(8, 8, seed=1), picture(10, 6, seed=2), picture(7, 9, seed=3)
    loss = WassersteinStyleLoss(["relu1_1"])
    one, two = loss.measure(first), loss.measure(second)
    blend = loss.prepare({key: 0.3 * one[key] + 0.7 * two[key] for key in one})
    pairs = zip(*(moments(side["relu1_1"][0].double().numpy()) for side in (first, second)), strict=True)
    target = tuple(0.3 * a + 0.7 * b for a, b in pairs)
    expected = relative(moments(image["relu1_1"][0].double().numpy()), target)
    np.testing.assert_allclose(float(loss(image, blend)["style/relu1_1"]), expected, rtol=1e-5)


def test_bfloat16_features_under_autocast_are_measured_in_float32(picture):
    image, style = (
        picture(24, 24, seed=1, dtype=torch.bfloat16),
        picture(20, 30, seed=2, dtype=torch.bfloat16),
    )
    loss = WassersteinStyleLoss(["relu1_1"])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        measured = loss.measure(style)
        term = evaluate(loss, image, style)["style/relu1_1"]
    assert {tensor.dtype for tensor in measured.values()} == {torch.float32}
    sides = [moments(side["relu1_1"][0].double().numpy()) for side in (image, style)]
    np.testing.assert_allclose(float(term), relative(*sides), rtol=1e-5)


def test_a_diverged_picture_gives_nan_and_no_error(picture):
    image, style = picture(8, 8, seed=1, batch=2), picture(8, 8, seed=2)
    image["relu1_1"][1, 0, 0, 0] = float("inf")
    assert evaluate(WassersteinStyleLoss(["relu1_1"]), image, style)["style/relu1_1"].isnan()


def test_statistics_are_means_over_positions(picture):
    features = picture(8, 12, seed=1)["relu1_1"]
    loss = WassersteinStyleLoss(["relu1_1"])
    whole = loss.statistics({"relu1_1": features})
    left, right = (loss.statistics({"relu1_1": part}) for part in features.split([3, 9], dim=3))
    torch.testing.assert_close({key: 0.25 * left[key] + 0.75 * right[key] for key in whole}, whole)
