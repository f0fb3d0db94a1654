import numpy as np
import pytest
import torch

from nst_lightning.errors import UserError
from nst_lightning.losses import ContentLoss

FORMULAS = {
    "relative": lambda image, content: np.mean((image - content) ** 2) / np.mean(content**2),
    "mean": lambda image, content: np.mean((image - content) ** 2),
    "gatys2015": lambda image, content: np.sum((image - content) ** 2) / 2,
    "keras": lambda image, content: np.sum((image - content) ** 2),
}


def evaluate(loss, image, content):
    return loss(image, loss.prepare(loss.measure(content)))


@pytest.mark.parametrize("convention", FORMULAS)
@pytest.mark.parametrize(("height", "width", "batch"), [(8, 8, 1), (31, 17, 1), (2, 40, 3)])
def test_conventions_match_their_formulas(convention, height, width, batch, picture):
    image = picture(height, width, seed=1, batch=batch)
    content = picture(height, width, seed=2, batch=batch)
    terms = evaluate(ContentLoss({"relu1_1": 1.0, "relu2_1": 2.0}, 3.0, convention), image, content)
    for layer, factor in {"relu1_1": 3.0, "relu2_1": 6.0}.items():
        pairs = zip(image[layer].double().numpy(), content[layer].double().numpy(), strict=True)
        expected = factor * np.mean([FORMULAS[convention](*pair) for pair in pairs])
        np.testing.assert_allclose(float(terms[f"content/{layer}"]), expected, rtol=1e-5)


def test_one_content_picture_serves_a_batch(picture):
    images, content = picture(9, 7, seed=1, batch=3), picture(9, 7, seed=2)
    loss = ContentLoss(["relu1_1"])
    alone = [evaluate(loss, {"relu1_1": image[None]}, content)["content/relu1_1"] for image in images["relu1_1"]]
    together = evaluate(loss, images, content)["content/relu1_1"]
    torch.testing.assert_close(together, torch.stack(alone).mean())


def test_relative_is_free_of_scale(picture):
    image, content = picture(13, 9, seed=1), picture(13, 9, seed=2)
    loss = ContentLoss(["relu1_1", "relu2_1"])
    reference = evaluate(loss, image, content)
    for scale in (1e-3, 40.0):
        scaled = [{tap: scale * tensor for tap, tensor in side.items()} for side in (image, content)]
        torch.testing.assert_close(evaluate(loss, *scaled), reference)


def test_a_blank_content_picture_gives_a_finite_relative_loss(picture):
    image = picture(6, 6, seed=1)
    blank = {tap: torch.zeros_like(tensor) for tap, tensor in image.items()}
    loss = ContentLoss(["relu1_1"])
    absolute = image["relu1_1"].square().sum()
    torch.testing.assert_close(evaluate(loss, image, blank)["content/relu1_1"], absolute)
    torch.testing.assert_close(evaluate(loss, blank, image)["content/relu1_1"], torch.tensor(1.0))


@pytest.mark.parametrize("convention", FORMULAS)
def test_gradient(convention, picture):
    content = picture(4, 3, seed=2, batch=2, dtype=torch.float64)
    features = picture(4, 3, seed=1, batch=2, dtype=torch.float64)["relu1_1"].requires_grad_()
    loss = ContentLoss(["relu1_1"], convention=convention)
    targets = loss.prepare(loss.measure(content))
    assert torch.autograd.gradcheck(lambda x: loss({"relu1_1": x}, targets)["content/relu1_1"], features)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_features_are_summed_in_float32(dtype, picture):
    image = {tap: 100 * tensor for tap, tensor in picture(40, 40, seed=1, dtype=dtype).items()}
    content = {tap: 100 * tensor for tap, tensor in picture(40, 40, seed=2, dtype=dtype).items()}
    loss = ContentLoss(["relu1_1"], convention="keras")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        term = evaluate(loss, image, content)["content/relu1_1"]
    assert term.dtype == torch.float32
    expected = (image["relu1_1"].double() - content["relu1_1"].double()).square().sum()
    np.testing.assert_allclose(float(term), float(expected), rtol=1e-5)


def test_measuring_keeps_no_graph(picture):
    features = picture(4, 4, seed=1)["relu1_1"].requires_grad_()
    assert not ContentLoss(["relu1_1"]).measure({"relu1_1": features})["relu1_1"].requires_grad


def test_another_size_is_a_users_error(picture):
    loss = ContentLoss(["relu1_1"])
    with pytest.raises(UserError, match=r"expected a reference of shape \(1, 6, 8, 8\).* found \(1, 6, 8, 9\)"):
        evaluate(loss, picture(8, 8, seed=1), picture(8, 9, seed=2))
