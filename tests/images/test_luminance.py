import numpy as np
import pytest
import torch
from PIL import Image
from scipy.optimize import linprog

from nst_lightning.errors import UserError
from nst_lightning.images.color_matching import match_luminance, with_chrominance, with_luminance
from nst_lightning.images.color_spaces import luminance


def random_picture(seed, channels=3):
    return torch.rand(1, channels, 16, 20, generator=torch.Generator().manual_seed(seed))


def corners():
    """All colors of the 5×5×5 grid: the surface of the RGB cube with its corners, and some inside."""
    levels = torch.linspace(0, 1, 5)
    return torch.cartesian_prod(levels, levels, levels).T.reshape(1, 3, 5, 25)


def test_luminance_is_pillows():
    picture = (random_picture(0) * 255).round()
    grey = Image.fromarray(picture[0].permute(1, 2, 0).byte().numpy()).convert("L")
    np.testing.assert_allclose(luminance(picture)[0, 0].numpy(), np.asarray(grey), atol=0.51)


def test_luminance_of_primaries_and_grey():
    primaries = torch.eye(3).reshape(3, 3, 1, 1)
    torch.testing.assert_close(luminance(primaries).flatten(), torch.tensor([0.299, 0.587, 0.114]))
    greys = torch.linspace(0, 1, 11).reshape(1, 1, 1, 11)
    torch.testing.assert_close(luminance(greys.expand(-1, 3, -1, -1)), greys, atol=1e-6, rtol=0)


@pytest.mark.parametrize("weighted", [False, True])
def test_luminance_gets_the_references_mean_and_deviation(weighted):
    picture, reference = random_picture(0) * 0.3, random_picture(1) ** 2
    weights = {"image_weights": random_picture(2, 1), "reference_weights": random_picture(3, 1)} if weighted else {}
    matched = match_luminance(picture, reference, **weights)
    source, target = (luminance(image).double().numpy().ravel() for image in (picture, reference))
    source_weights, target_weights = (
        (w.double().numpy().ravel() for w in weights.values()) if weighted else (None, None)
    )

    def statistics(values, mask):
        return np.average(values, weights=mask), np.sqrt(np.cov(values, aweights=mask, ddof=0))

    (source_mean, source_deviation), (mean, deviation) = (
        statistics(source, source_weights),
        statistics(target, target_weights),
    )
    expected = deviation / source_deviation * (source - source_mean) + mean
    assert matched.shape == (1, 1, 16, 20)
    np.testing.assert_allclose(matched.numpy().ravel(), expected, atol=1e-6)


def test_a_constant_picture_gets_the_references_mean_luminance():
    reference = random_picture(1)
    matched = match_luminance(torch.full((1, 3, 8, 8), 0.7), reference)
    torch.testing.assert_close(matched, luminance(reference).mean().expand(1, 1, 8, 8), atol=1e-6, rtol=0)


@pytest.mark.parametrize("picture", [random_picture(0), corners()], ids=["random", "corners"])
def test_the_same_luminance_changes_nothing(picture):
    torch.testing.assert_close(with_luminance(picture, luminance(picture)), picture, atol=1e-6, rtol=0)


def test_the_new_luminance_is_met_and_the_hue_kept_inside_the_cube():
    picture, wanted = corners(), torch.rand(1, 1, 5, 25, generator=torch.Generator().manual_seed(1)) * 1.4 - 0.2
    result = with_luminance(picture, wanted)
    assert result.min() >= 0
    assert result.max() <= 1
    torch.testing.assert_close(luminance(result), wanted.clamp(0, 1), atol=1e-6, rtol=0)
    before, after = picture - luminance(picture), result - luminance(result)
    torch.testing.assert_close(torch.linalg.cross(before, after, dim=1), torch.zeros_like(before), atol=1e-6, rtol=0)
    assert ((before * after).sum(1) >= -1e-6).all()  # the same direction, not the opposite one


def test_saturation_is_the_largest_that_fits():
    picture = corners()
    wanted = torch.rand(1, 1, 5, 25, generator=torch.Generator().manual_seed(1))
    result = with_luminance(picture, wanted)
    for color, light, found in zip(picture[0].flatten(1).T, wanted.flatten(), result[0].flatten(1).T, strict=True):
        y, chrominance = light.double().item(), (color - color @ torch.tensor([0.299, 0.587, 0.114])).double().numpy()
        # maximise s subject to 0 <= y + s c <= 1 and 0 <= s <= 1
        inequalities = np.concatenate([chrominance, -chrominance])[:, None]
        best = linprog([-1], A_ub=inequalities, b_ub=[1 - y] * 3 + [y] * 3, bounds=[(0, 1)]).x[0]
        np.testing.assert_allclose(found.numpy(), y + best * chrominance, atol=2e-6)


def test_luminance_beyond_black_and_white_gives_black_and_white():
    picture = corners()
    assert with_luminance(picture, torch.full((1, 1, 5, 25), 1.5)).min() >= 1 - 1e-6
    assert with_luminance(picture, torch.full((1, 1, 5, 25), -0.5)).max() <= 1e-6


def test_strength_mixes_the_chrominance():
    # half as saturated, so that all mixtures are inside the cube
    picture, reference = (random_picture(seed) * 0.2 + 0.4 for seed in (0, 1))
    light = luminance(picture)
    torch.testing.assert_close(with_chrominance(picture, reference, 0), picture, atol=1e-6, rtol=0)
    full = with_chrominance(picture, reference, 1)
    torch.testing.assert_close(full, light + reference - luminance(reference), atol=1e-6, rtol=0)
    quarter = with_chrominance(picture, reference, 0.25)
    torch.testing.assert_close(quarter, 0.75 * picture + 0.25 * full, atol=1e-6, rtol=0)


@pytest.mark.parametrize("strength", [0.5, 1.0])
def test_chrominance_leaves_the_luminance_alone(strength):
    picture = random_picture(0)
    result = with_chrominance(picture, random_picture(1), strength)
    torch.testing.assert_close(luminance(result), luminance(picture), atol=1e-6, rtol=0)


def test_full_strength_is_original_colors_of_neural_style_inside_the_cube():
    """neural-style puts the result's Y and the content's U and V together."""
    to_yuv = np.array([[0.299, 0.587, 0.114], [-0.14713, -0.28886, 0.436], [0.615, -0.51499, -0.10001]])
    result, content = (random_picture(seed) for seed in (0, 1))
    yuv, content_yuv = (to_yuv @ image[0].flatten(1).double().numpy() for image in (result, content))
    yuv[1:] = content_yuv[1:]
    expected = np.linalg.inv(to_yuv) @ yuv
    inside = ((expected >= 0) & (expected <= 1)).all(0)
    assert 0.1 < inside.mean() < 0.9
    found = with_chrominance(result, content, 1)[0].flatten(1).numpy()
    np.testing.assert_allclose(found[:, inside], expected[:, inside], atol=3e-5)  # U and V have 5 decimals
    assert np.abs(found - expected.clip(0, 1))[:, ~inside].max() > 0.1  # clipping would give other colors


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_other_strengths_are_refused(strength):
    with pytest.raises(UserError, match="from 0 to 1"):
        with_chrominance(random_picture(0), random_picture(1), strength)


def test_other_shapes_are_refused():
    picture = random_picture(0)
    with pytest.raises(ValueError, match=r"\(1, 1, 16, 20\)"):
        luminance(picture[:, :1])
    with pytest.raises(ValueError, match=r"\(1, 1, 1, 1\)"):
        with_luminance(picture, picture[:, :1, :1, :1])
    with pytest.raises(ValueError, match="one size"):
        with_chrominance(picture, picture[..., 1:], 1)
