from typing import get_args

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm

from nst_lightning.errors import UserError
from nst_lightning.images.color_matching import ColorMatching, match_colors

METHODS = get_args(ColorMatching)
AFFINE = [method for method in METHODS if method != "histogram"]


def picture_of(seed, height=24, width=32):
    """Correlated colors around a random mean, all different."""
    rng = np.random.default_rng(seed)
    mixing = rng.normal(size=(3, 3)) * 0.1
    pixels = rng.uniform(0.3, 0.7, (3, 1)) + mixing @ rng.uniform(-1, 1, (3, height * width))
    return torch.from_numpy(pixels.reshape(1, 3, height, width)).float()


def weights_of(seed, height=24, width=32):
    """A soft mask: a third of it 0, the rest between 0 and 1."""
    values = np.random.default_rng(seed).uniform(-0.5, 1, (1, 1, height, width)).clip(0)
    return torch.from_numpy(values).float()


def pixels_of(picture):
    return picture[0].flatten(1).double().numpy()


def moments(picture, weights=None):
    pixels = pixels_of(picture)
    mask = None if weights is None else weights.flatten().double().numpy()
    return np.average(pixels, axis=1, weights=mask), np.cov(pixels, aweights=mask, ddof=0)


def matrix_of(picture, matched):
    """The matrix A of matched = A image + b, found by least squares."""
    pixels = pixels_of(picture)
    design = np.vstack([pixels, np.ones(pixels.shape[1])]).T
    solution, residuals, rank, _ = np.linalg.lstsq(design, pixels_of(matched).T, rcond=None)
    assert rank == 4
    assert residuals.max() < 1e-9  # it is affine
    return solution[:3].T


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("method", AFFINE)
def test_mean_and_covariance_become_those_of_the_reference(method, weighted):
    picture, reference = picture_of(0), picture_of(1, 20, 28)
    weights = weights_of(2) if weighted else None
    reference_weights = weights_of(3, 20, 28) if weighted else None
    matched = match_colors(picture, reference, method, image_weights=weights, reference_weights=reference_weights)
    mean, covariance = moments(matched, weights)
    wanted_mean, wanted_covariance = moments(reference, reference_weights)
    assert matched.dtype == torch.float32
    np.testing.assert_allclose(mean, wanted_mean, atol=1e-6)
    np.testing.assert_allclose(covariance, wanted_covariance, atol=1e-7)
    if weighted:  # the weights matter
        assert np.abs(mean - moments(reference)[0]).max() > 1e-3


def test_the_matrices_are_those_of_the_formulas():
    picture, reference = picture_of(0), picture_of(1)
    (_, source), (_, target) = moments(picture), moments(reference)
    root = sqrtm(source)
    expected = {
        "cholesky": np.linalg.cholesky(target) @ np.linalg.inv(np.linalg.cholesky(source)),
        "pca": sqrtm(target) @ np.linalg.inv(root),
        "symmetric": np.linalg.inv(root) @ sqrtm(root @ target @ root) @ np.linalg.inv(root),
    }
    found = {method: matrix_of(picture, match_colors(picture, reference, method)) for method in AFFINE}
    for method in AFFINE:
        np.testing.assert_allclose(found[method], expected[method], atol=1e-5)
        # between whitened colors each of them is a rotation or reflection
        rotation = np.linalg.inv(sqrtm(target)) @ found[method] @ root
        np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-4)
    np.testing.assert_allclose(found["cholesky"][np.triu_indices(3, 1)], 0, atol=1e-5)
    np.testing.assert_allclose(found["symmetric"], found["symmetric"].T, atol=1e-5)
    assert np.linalg.eigvalsh(found["symmetric"]).min() > 0
    assert np.abs(found["pca"] - found["pca"].T).max() > 0.01  # the three are different


def test_symmetric_is_the_optimal_transport():
    picture, reference = picture_of(0), picture_of(1)
    moved = {
        method: np.square(pixels_of(match_colors(picture, reference, method)) - pixels_of(picture)).sum(0).mean()
        for method in AFFINE
    }
    (source_mean, source), (target_mean, target) = moments(picture), moments(reference)
    root = sqrtm(source)
    wasserstein = np.square(source_mean - target_mean).sum() + np.trace(
        source + target - 2 * sqrtm(root @ target @ root)
    )
    assert moved["symmetric"] == pytest.approx(wasserstein, abs=1e-6)
    assert moved["symmetric"] < min(moved["pca"], moved["cholesky"]) - 1e-4


def test_histograms_are_equal_channel_by_channel():
    picture, reference = picture_of(0), picture_of(1, 32, 24)
    matched = match_colors(picture, reference, "histogram")[0].flatten(1)
    assert torch.equal(matched.sort().values, reference[0].flatten(1).sort().values)
    order = picture[0].flatten(1).argsort()
    assert torch.equal(matched.gather(1, order), matched.sort().values)  # monotone


def test_histogram_of_another_number_of_pixels_is_the_quantile_function():
    picture, reference = picture_of(0), picture_of(1, 20, 25)
    matched = pixels_of(match_colors(picture, reference, "histogram"))
    for channel, source, target in zip(matched, pixels_of(picture), pixels_of(reference), strict=True):
        assert len(np.unique(source)) == source.size
        assert len(np.unique(target)) == target.size  # numpy treats ties differently
        ranks = (source.argsort().argsort() + 0.5) / source.size
        np.testing.assert_allclose(channel, np.quantile(target, ranks, method="hazen"), atol=1e-7)


def test_equal_values_stay_equal_in_the_middle_of_their_ranks():
    picture = torch.tensor([0.0, 0.0, 0.5, 0.5, 0.5, 1.0]).reshape(1, 1, 2, 3)
    reference = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]).reshape(1, 1, 3, 2)
    expected = torch.tensor([0.15, 0.15, 0.4, 0.4, 0.4, 0.6]).reshape(1, 1, 2, 3)
    torch.testing.assert_close(match_colors(picture, reference, "histogram"), expected)


def test_a_weight_of_two_counts_like_the_pixel_twice():
    picture, reference = picture_of(0, 4, 6), picture_of(1, 4, 6)
    twice = [torch.cat([image, image[..., 3:]], dim=3) for image in (picture, reference)]
    weights = torch.ones(1, 1, 4, 6)
    weights[..., 3:] = 2
    for method in METHODS:
        weighted = match_colors(picture, reference, method, image_weights=weights, reference_weights=weights)
        repeated = match_colors(*twice, method)[..., :6]
        torch.testing.assert_close(weighted, repeated, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_weights_of_zero_hide_pixels(method):
    picture, reference = picture_of(0), picture_of(1)
    left = torch.zeros(1, 1, 24, 32)
    left[..., :16] = 1
    masked = match_colors(picture, reference, method, image_weights=left, reference_weights=left)
    alone = match_colors(picture[..., :16], reference[..., :16], method)
    torch.testing.assert_close(masked[..., :16], alone, atol=1e-6, rtol=0)
    assert (masked - picture)[..., 16:].abs().mean() > 0.01  # all pixels are recolored
    if method == "histogram":
        seen = reference[..., :16]
        assert (masked <= seen.amax((2, 3), keepdim=True)).all()
        assert (masked >= seen.amin((2, 3), keepdim=True)).all()


@pytest.mark.parametrize("method", METHODS)
def test_a_picture_matched_to_itself_is_unchanged(method):
    picture = (picture_of(0) * 255).round() / 255  # with ties
    grey = picture[:, :1].expand(-1, 3, -1, -1)
    for image in (picture, grey):
        torch.testing.assert_close(match_colors(image, image, method), image, atol=1e-6, rtol=0)


@pytest.mark.parametrize("method", METHODS)
def test_grey_pictures_get_the_mean_and_stay_smooth(method):
    grey, reference = picture_of(0)[:, :1].expand(-1, 3, -1, -1), picture_of(1)
    matched = match_colors(grey, reference, method)
    if method != "histogram":
        np.testing.assert_allclose(moments(matched)[0], moments(reference)[0], atol=1e-6)
    # one dimension of color goes in and comes out: rounding errors are not blown up to colors
    variances = np.linalg.eigvalsh(moments(match_colors(grey, grey.flip(3) * 0.5, method))[1])
    assert variances[1] < 1e-8
    assert variances[2] == pytest.approx(np.linalg.eigvalsh(moments(grey)[1])[2] / 4, abs=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_picture_gets_the_middle_of_the_reference(method):
    constant, reference = torch.full((1, 3, 8, 8), 0.3), picture_of(1)
    middle = np.median if method == "histogram" else np.mean
    matched = pixels_of(match_colors(constant, reference, method))
    np.testing.assert_allclose(matched, np.repeat(middle(pixels_of(reference), 1)[:, None], 64, 1), atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
def test_a_constant_reference_leaves_less_than_a_level_of_contrast(method):
    constant = torch.full((1, 3, 8, 8), 0.3)
    matched = match_colors(picture_of(0), constant, method)
    np.testing.assert_allclose(moments(matched)[0], 0.3, atol=1e-6)
    assert matched.std((2, 3)).max() < 1 / 255


def test_nearly_grey_pictures_get_no_coloured_noise():
    # sepia with noise of a third of an 8-bit step: without a floor it would become as strong as the reference's colors
    generator = torch.Generator().manual_seed(0)
    grey = picture_of(0)[:, :1].expand(-1, 3, -1, -1) + torch.randn(1, 3, 24, 32, generator=generator) / 255 / 3
    reference = picture_of(1)
    for method in AFFINE:
        matrix = matrix_of(grey, match_colors(grey, reference, method))
        assert np.linalg.norm(matrix, 2) <= np.sqrt(np.linalg.eigvalsh(moments(reference)[1])[2] / 1e-5) * 1.001


def test_unknown_methods_are_refused_with_the_nearest_one():
    picture = picture_of(0)
    with pytest.raises(UserError, match=r"expected one of cholesky, pca, .* did you mean 'symmetric'"):
        match_colors(picture, picture, "symetric")


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        (torch.zeros(1, 1, 24, 32), "not all 0"),
        (torch.full((1, 1, 24, 32), -1.0), "at least 0"),
        (torch.full((1, 1, 24, 32), torch.nan), "at least 0"),
        (torch.ones(1, 1, 32, 24), r"\(1, 1, 32, 24\)"),
    ],
)
@pytest.mark.parametrize("side", ["image_weights", "reference_weights"])
def test_unusable_weights_are_refused(side, weights, message):
    with pytest.raises(ValueError, match=message):
        match_colors(picture_of(0), picture_of(1), "pca", **{side: weights})


@pytest.mark.parametrize("shape", [(3, 24, 32), (2, 3, 24, 32), (1, 1, 24, 32)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="expected two images"):
        match_colors(torch.zeros(shape), picture_of(0), "pca")
