import itertools

import numpy as np
import pytest
import torch

from nst_lightning.errors import UserError
from nst_lightning.images.color_spaces import opponent_colors
from nst_lightning.losses import TotalVariationLoss
from nst_lightning.losses.total_variation import total_variation, variation_of_rows


def differences(image):
    return np.diff(image, axis=1), np.diff(image, axis=2)


def l2(image):
    return sum(np.mean(difference**2) for difference in differences(image))


def l1(image):
    return sum(np.mean(np.abs(difference)) for difference in differences(image))


def second_order(image):
    energy = 0.0
    for axes, times in (((1, 1), 1), ((2, 2), 1), ((1, 2), 2)):
        bent = image
        for axis in axes:
            bent = np.diff(bent, axis=axis)
        energy += times * np.sum(bent**2) / max(bent.size, 1)
    return energy


def keras(image, exponent=1.25):
    _, height, width = image.shape
    a = (image[:, : height - 1, : width - 1] - image[:, 1:, : width - 1]) ** 2
    b = (image[:, : height - 1, : width - 1] - image[:, : height - 1, 1:]) ** 2
    return np.sum((a + b) ** exponent)


def neural_style(image):
    return keras(image, exponent=1.0) / 2


def neural_style_pt(image):
    return sum(np.sum(np.abs(difference)) for difference in differences(image))


def crowsonkb(image):
    channels, height, width = image.shape
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1)), mode="edge")
    total = 0.0
    for dy, dx, divisor in ((0, 1, 3), (1, 0, 3), (1, 1, 12), (1, -1, 12)):
        rows, columns = height + (1 if divisor == 12 else 0), width + (1 if divisor == 12 else 0)
        start = 0 if divisor == 12 else 1
        x = start + (1 if dx < 0 else 0)
        one = padded[:, start : start + rows, x : x + columns]
        other = padded[:, start + dy : start + dy + rows, x + dx : x + dx + columns]
        total += np.sum((other - one) ** 2) / (channels * rows * columns) / divisor
    return 2 * total


FORMULAS = {
    formula.__name__: formula for formula in (l2, l1, second_order, keras, neural_style, neural_style_pt, crowsonkb)
}


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize(("height", "width", "batch"), [(8, 8, 1), (31, 17, 1), (2, 40, 3)])
def test_kinds_match_their_formulas(kind, height, width, batch, picture):
    features = picture(height, width, seed=1, batch=batch)
    terms = TotalVariationLoss(weight=3.0, kind=kind)(features, {})
    assert list(terms) == ["tv"]
    expected = 3 * np.mean([FORMULAS[kind](image) for image in features["input"].double().numpy()])
    np.testing.assert_allclose(float(terms["tv"]), expected, rtol=1e-5)


def test_the_exponent_of_keras(picture):
    features = picture(9, 11, seed=1)
    term = TotalVariationLoss(kind="keras", exponent=1.5)(features, {})["tv"]
    np.testing.assert_allclose(float(term), keras(features["input"][0].double().numpy(), 1.5), rtol=1e-5)


def test_neural_style_has_the_gradient_that_the_program_writes(picture):
    image = picture(6, 7, seed=1, dtype=torch.float64)["input"].requires_grad_()
    total_variation(image, "neural_style").sum().backward()
    pixels, gradient = image.detach()[0], torch.zeros(3, 6, 7, dtype=torch.float64)
    across = pixels[:, :-1, :-1] - pixels[:, :-1, 1:]
    down = pixels[:, :-1, :-1] - pixels[:, 1:, :-1]
    gradient[:, :-1, :-1] += across + down
    gradient[:, :-1, 1:] -= across
    gradient[:, 1:, :-1] -= down
    torch.testing.assert_close(image.grad[0], gradient)


@pytest.mark.parametrize("kind", FORMULAS)
def test_gradient(kind, picture):
    image = picture(4, 5, seed=1, batch=2, dtype=torch.float64)["input"].requires_grad_()
    assert torch.autograd.gradcheck(lambda x: total_variation(x, kind), image)


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("bounds", [(0, 9), (0, 4, 9), (0, 1, 2, 8, 9)])
def test_bands_add_up_to_the_whole(kind, bounds, picture):
    image = picture(9, 7, seed=1, dtype=torch.float64)["input"]
    parts = [
        variation_of_rows(image[..., max(0, start - 1) : stop + 1, :], slice(start, stop), 9, kind)
        for start, stop in itertools.pairwise(bounds)
    ]
    torch.testing.assert_close(sum(parts), total_variation(image, kind))


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("shape", [(1, 3, 6, 5), (1, 3, 1, 5), (1, 3, 6, 1), (1, 3, 1, 1)])
def test_flat_and_one_pixel_pictures_have_no_variation_and_a_finite_gradient(kind, shape):
    image = torch.full(shape, 0.5, requires_grad=True)
    term = TotalVariationLoss(kind=kind)({"input": image}, {})["tv"]
    term.backward()
    assert term == 0
    assert (image.grad == 0).all()


@pytest.mark.parametrize("kind", ["l2", "l1", "second_order", "neural_style_pt", "crowsonkb"])
def test_a_picture_one_pixel_high_varies_across(kind):
    image = torch.rand(1, 3, 1, 9, generator=torch.Generator().manual_seed(0))
    assert float(total_variation(image, kind)) > 0
    torch.testing.assert_close(total_variation(image, kind), total_variation(image.mT, kind))


@pytest.mark.parametrize("kind", FORMULAS)
def test_bfloat16_pixels_are_summed_in_float32(kind, picture):
    image = picture(64, 64, seed=1, dtype=torch.bfloat16)["input"]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value = total_variation(image, kind)
    assert value.dtype == torch.float32
    np.testing.assert_allclose(float(value), FORMULAS[kind](image[0].double().numpy()), rtol=1e-5)


def test_the_function_checks_its_arguments():
    with pytest.raises(UserError, match=r"kind: expected one of .* did you mean 'l2'"):
        total_variation(torch.rand(1, 3, 4, 4), "l2 ")
    with pytest.raises(UserError, match=r"expected a tensor of shape \(N, C, H, W\).* found \(3, 4, 4\)"):
        total_variation(torch.rand(3, 4, 4))


def test_nothing_is_measured(picture):
    assert TotalVariationLoss().measure(picture(4, 4, seed=1)) == {}


@pytest.mark.parametrize("exponent", [0.5, -1.0, float("nan"), float("inf")])
def test_an_exponent_below_one_is_a_users_error(exponent):
    with pytest.raises(UserError, match="expected an exponent of 1 or more"):
        TotalVariationLoss(kind="keras", exponent=exponent)


def test_an_exponent_that_would_be_ignored_is_a_users_error():
    with pytest.raises(UserError, match=r"only with kind 'keras', found 2\.0 with 'l2'"):
        TotalVariationLoss(exponent=2.0)


def in_opponent_colors(image, chroma):
    red, green, blue = image
    return np.stack(
        [
            (red + green + blue) / np.sqrt(3),
            chroma * (red - blue) / np.sqrt(2),
            chroma * (red - 2 * green + blue) / np.sqrt(6),
        ]
    )


@pytest.mark.parametrize("kind", FORMULAS)
@pytest.mark.parametrize("chroma", [0.0, 0.5, 4.0])
def test_chroma_weighs_differences_of_color(kind, chroma, picture):
    features = picture(9, 7, seed=1, batch=2)
    term = TotalVariationLoss(weight=3.0, kind=kind, chroma=chroma)(features, {})["tv"]
    images = features["input"].double().numpy()
    expected = 3 * np.mean([FORMULAS[kind](in_opponent_colors(image, chroma)) for image in images])
    np.testing.assert_allclose(float(term), expected, rtol=1e-5)


@pytest.mark.parametrize("direction", [(1, 0), (0, 1), (1, 1), (3, -4)])
@pytest.mark.parametrize("wavelength", [64.0, 128.0])
def test_second_order_grows_with_the_fourth_power_of_a_frequency_in_any_direction(direction, wavelength):
    frequency = 2 * np.pi / wavelength  # radians a pixel
    across, down = np.array(direction) / np.hypot(*direction) * frequency
    rows, columns = torch.meshgrid(torch.arange(512.0), torch.arange(512.0), indexing="ij")
    wave = torch.sin(columns.double() * across + rows.double() * down).expand(1, 1, 512, 512)
    half = 0.5  # the mean of a squared sine
    np.testing.assert_allclose(float(total_variation(wave, "second_order")), half * frequency**4, rtol=0.02)
    np.testing.assert_allclose(float(total_variation(wave, "l2")), half * frequency**2, rtol=0.02)


def test_second_order_is_zero_for_an_even_gradient_of_color():
    rows, columns = torch.meshgrid(torch.arange(9.0), torch.arange(7.0), indexing="ij")
    ramps = torch.stack([rows, columns, 2 * rows - columns]).expand(1, 3, 9, 7) / 32
    assert float(total_variation(ramps, "second_order", chroma=3.0)) < 1e-14  # the colors' rounding


@pytest.mark.parametrize("kind", ["l2", "second_order", "neural_style", "crowsonkb"])
def test_opponent_colors_alone_leave_sums_of_squares_as_they_are(kind, picture):
    image = picture(9, 7, seed=1, dtype=torch.float64)["input"]
    torch.testing.assert_close(total_variation(opponent_colors(image), kind), total_variation(image, kind))


def test_grey_has_no_chroma(picture):
    grey = picture(9, 7, seed=1, dtype=torch.float64)["input"].mean(1, keepdim=True).expand(1, 3, 9, 7)
    assert opponent_colors(grey)[:, 1:].abs().max() < 1e-15
    torch.testing.assert_close(total_variation(grey, chroma=50.0), total_variation(grey))


@pytest.mark.parametrize("kind", FORMULAS)
def test_bands_with_chroma_add_up_to_the_whole(kind, picture):
    image = picture(9, 7, seed=1, dtype=torch.float64)["input"]
    parts = [
        variation_of_rows(image[..., max(0, start - 1) : stop + 1, :], slice(start, stop), 9, kind, chroma=3.0)
        for start, stop in itertools.pairwise((0, 4, 9))
    ]
    torch.testing.assert_close(sum(parts), total_variation(image, kind, chroma=3.0))


@pytest.mark.parametrize("chroma", [-1.0, float("nan"), float("inf")])
def test_chroma_out_of_range_is_a_users_error(chroma):
    with pytest.raises(UserError, match="tv: chroma: expected a finite number, 0 or more"):
        TotalVariationLoss(chroma=chroma)


def test_chroma_of_an_image_without_colors_is_a_users_error():
    with pytest.raises(UserError, match="expected an image with 3 channels, found 1"):
        total_variation(torch.rand(1, 1, 4, 4), chroma=2.0)
