import copy

import numpy as np
import pytest
import scipy.ndimage
import torch

from nst_lightning.optim import OpponentAdam

MATRIX = np.array([[1, 1, 1] / np.sqrt(3), [1, 0, -1] / np.sqrt(2), [1, -2, 1] / np.sqrt(6)])


def adam_in_opponent_colors(image, gradients, lr, betas, eps, chroma, smoothing=(0, 0)):
    """Kingma and Ba's algorithm 1 on y = D O x, with smoothed steps, in float64."""
    factors = np.array([1, 1 / chroma, 1 / chroma]).reshape(3, 1, 1)
    y = factors * np.einsum("oc,chw->ohw", MATRIX, image)
    m, v = np.zeros_like(y), np.zeros_like(y)
    for t, gradient in enumerate(gradients, start=1):
        g = np.einsum("oc,chw->ohw", MATRIX, gradient) / factors
        m = betas[0] * m + (1 - betas[0]) * g
        v = betas[1] * v + (1 - betas[1]) * g**2
        step = lr * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + eps)
        smooth = [scipy.ndimage.correlate(part, np.outer([1, 2, 1], [1, 2, 1]) / 16, mode="nearest") for part in step]
        shares = np.array([smoothing[0], smoothing[1], smoothing[1]]).reshape(3, 1, 1)
        y = y - (1 - shares) * step - shares * smooth
    return np.einsum("oc,ohw->chw", MATRIX, y / factors)


def image_and_gradients(count=5):
    rng = np.random.default_rng(0)
    return rng.uniform(size=(3, 6, 5)), rng.normal(size=(count, 3, 6, 5))


@pytest.mark.parametrize("smoothing", [(0.0, 0.0), (0.7, 0.9), (0.0, 0.5)])
@pytest.mark.parametrize("chroma", [1.0, 0.25, 3.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_it_is_adam_in_opponent_colors(chroma, dtype, smoothing):
    start, gradients = image_and_gradients()
    image = torch.nn.Parameter(torch.tensor(start, dtype=dtype)[None])
    optimizer = OpponentAdam([image], lr=0.05, betas=(0.8, 0.9), eps=1e-6, chroma=chroma, smoothing=smoothing)
    for gradient in gradients:
        image.grad = torch.tensor(gradient, dtype=dtype)[None]
        optimizer.step()
    expected = adam_in_opponent_colors(start, gradients, 0.05, (0.8, 0.9), 1e-6, chroma, smoothing)
    tolerance = 1e-12 if dtype == torch.float64 else 2e-6
    np.testing.assert_allclose(image.detach()[0].double().numpy(), expected, atol=tolerance)


def test_a_grey_gradient_moves_brightness_alone():
    image = torch.nn.Parameter(torch.full((1, 3, 4, 4), 0.5, dtype=torch.float64))
    optimizer = OpponentAdam([image], lr=0.1, chroma=0.25)
    image.grad = torch.full_like(image, 2.0)
    optimizer.step()
    torch.testing.assert_close(image.detach(), torch.full_like(image, 0.5 - 0.1 / 3**0.5))


def test_one_step_changes_no_color_by_more_than_its_rate():
    start, gradients = image_and_gradients(1)
    image = torch.nn.Parameter(torch.tensor(start)[None])
    image.grad = torch.tensor(gradients[0])[None]
    OpponentAdam([image], lr=0.1, eps=0.0, chroma=0.25).step()
    moved = np.abs(np.einsum("oc,chw->ohw", MATRIX, image.detach()[0].numpy() - start))
    np.testing.assert_allclose(moved[0], 0.1)
    np.testing.assert_allclose(moved[1:], 0.025)


def test_a_closure_is_called_once_with_gradients_and_its_loss_returned():
    image = torch.nn.Parameter(torch.rand(1, 3, 4, 4, generator=torch.Generator().manual_seed(0)))
    optimizer, calls = OpponentAdam([image]), []

    def closure():
        calls.append(torch.is_grad_enabled())
        optimizer.zero_grad()
        loss = image.square().sum()
        loss.backward()
        return loss

    expected = float(image.detach().square().sum())
    assert float(optimizer.step(closure).detach()) == pytest.approx(expected)
    assert calls == [True]


def test_going_on_from_its_state_is_exact():
    start, gradients = image_and_gradients(6)
    images = [torch.nn.Parameter(torch.tensor(start, dtype=torch.float32)[None]) for _ in range(2)]
    first = OpponentAdam([images[0]], lr=0.05, chroma=0.5)
    optimizers = [first, first]
    for step, gradient in enumerate(gradients):
        for image, optimizer in zip(images, optimizers, strict=True):
            if optimizer.param_groups[0]["params"][0] is image:
                image.grad = torch.tensor(gradient, dtype=torch.float32)[None]
                optimizer.step()
        if step == 2:
            images[1].data.copy_(images[0].data)
            optimizers[1] = OpponentAdam([images[1]], lr=0.9)
            optimizers[1].load_state_dict(copy.deepcopy(first.state_dict()))
    assert torch.equal(images[0], images[1])


@pytest.mark.parametrize("chroma", [0.0, -1.0, float("nan")])
def test_chroma_out_of_range(chroma):
    with pytest.raises(ValueError, match="Invalid chroma"):
        OpponentAdam([torch.nn.Parameter(torch.zeros(1, 3, 2, 2))], chroma=chroma)


@pytest.mark.parametrize("smoothing", [(1.0, 0.0), (0.0, -0.1), (float("nan"), 0.0)])
def test_smoothing_out_of_range(smoothing):
    with pytest.raises(ValueError, match="Invalid smoothing"):
        OpponentAdam([torch.nn.Parameter(torch.zeros(1, 3, 2, 2))], smoothing=smoothing)


def test_a_smoothed_step_leads_to_the_same_minimum():
    target, start = torch.rand(2, 1, 3, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    image = torch.nn.Parameter(start.clone())
    optimizer = OpponentAdam([image], lr=0.1, betas=(0.9, 0.9), smoothing=(0.5, 0.8))
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.985)
    for _ in range(600):
        optimizer.zero_grad()
        (image - target).square().sum().backward()
        optimizer.step()
        scheduler.step()
    torch.testing.assert_close(image.detach(), target, rtol=0, atol=1e-3)


def test_a_state_of_a_version_without_smoothing_goes_on_without_it():
    start, gradients = image_and_gradients(2)
    images = [torch.nn.Parameter(torch.tensor(start)[None]) for _ in range(2)]
    before, after = (OpponentAdam([image], lr=0.05, chroma=0.5) for image in images)
    for image, optimizer in zip(images, (before, after), strict=True):
        image.grad = torch.tensor(gradients[0])[None]
        optimizer.step()
    old = copy.deepcopy(before.state_dict())
    del old["param_groups"][0]["smoothing"]
    after.load_state_dict(old)
    for image, optimizer in zip(images, (before, after), strict=True):
        image.grad = torch.tensor(gradients[1])[None]
        optimizer.step()
    assert torch.equal(images[0], images[1])
