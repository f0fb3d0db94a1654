"""Colour preservation through the data module: what the objective sees, what is written."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from nst_lightning import TransferData, UserError

YIQ = torch.tensor([[0.299, 0.587, 0.114], [0.595716, -0.274453, -0.321263], [0.211456, -0.522591, 0.311135]])


def to_yiq(picture: Tensor) -> Tensor:
    return torch.einsum("ij,njhw->nihw", YIQ, picture)


def data(content: str, style: str, **options: object) -> TransferData:
    return TransferData(content, style, sizes=[40], steps=1, **options)  # type: ignore[arg-type]


def moments(picture: Tensor) -> tuple[Tensor, Tensor]:
    pixels = picture[0].flatten(1).double()
    return pixels.mean(1), torch.cov(pixels, correction=0)


@pytest.mark.parametrize("method", ["cholesky", "pca", "symmetric"])
def test_the_style_gets_the_contents_mean_and_covariance(method: str, content: str, style: str) -> None:
    pictures = data(content, style, preserve_color=method)
    # At the style's own size and where nothing was cut off, so that only the map shows.
    painted, shown = pictures.prepared_styles[0], data(content, style).batch(0).content
    inside = (painted > 0) & (painted < 1)
    assert inside.float().mean() > 0.9
    assert shown is not None
    (mean, covariance), (wanted_mean, wanted_covariance) = moments(painted), moments(shown)
    torch.testing.assert_close(mean, wanted_mean, atol=0.02, rtol=0)  # the cut-off moves it a little
    torch.testing.assert_close(covariance, wanted_covariance, atol=0.02, rtol=0)


@pytest.mark.parametrize("method", ["luminance", "cholesky", "pca", "symmetric", "histogram"])
def test_strength_mixes_and_0_is_off(method: str, content: str, style: str) -> None:
    full, half, off, plain = (
        data(content, style, **options).batch(0).styles[0]
        for options in (
            {"preserve_color": method},
            {"preserve_color": method, "color_strength": 0.5},
            {"preserve_color": method, "color_strength": 0.0},
            {},
        )
    )
    assert torch.equal(off, plain)
    assert not torch.allclose(full, plain, atol=0.01)
    torch.testing.assert_close(half, (full + plain) / 2, atol=0.02, rtol=0)  # resized and cut off before or after


def test_luminance_shows_grey_and_writes_the_contents_chrominance(content: str, style: str) -> None:
    pictures = data(content, style, preserve_color="luminance")
    batch = pictures.batch(0)
    assert batch.content is not None
    for picture in (batch.content, batch.styles[0]):
        assert (picture.amax(1) - picture.amin(1)).max() < 1e-6
    plain = data(content, style).batch(0).content
    assert plain is not None
    painted = (plain.mean(1, keepdim=True) * 0.5 + 0.25).expand(1, 3, -1, -1)
    written = to_yiq(pictures.finish(painted))
    torch.testing.assert_close(written[:, :1], to_yiq(painted)[:, :1], atol=1e-5, rtol=0)
    # The contents' hue, and its saturation wherever the new luminance leaves room for it.
    chroma, wanted = written[:, 1:], to_yiq(plain)[:, 1:]
    cosine = torch.nn.functional.cosine_similarity(chroma, wanted, dim=1)
    assert cosine[wanted.norm(dim=1) > 0.01].min() > 0.999
    assert (chroma.norm(dim=1) <= wanted.norm(dim=1) + 1e-5).all()


def test_half_the_strength_writes_half_the_chrominance(content: str, style: str) -> None:
    pictures = data(content, style, preserve_color="luminance", color_strength=0.5)
    plain = data(content, style).batch(0).content
    assert plain is not None
    grey = torch.full_like(plain, 0.5)
    # From grey, half of the content's chrominance fits wherever the whole is below the cube's half.
    written, wanted = to_yiq(pictures.finish(grey))[:, 1:], to_yiq(plain)[:, 1:] / 2
    torch.testing.assert_close(written, wanted, atol=1e-4, rtol=0)


def test_other_methods_leave_the_result_alone(content: str, style: str) -> None:
    painted = torch.rand(1, 3, 30, 40)
    assert data(content, style, preserve_color="pca").finish(painted) is painted


def test_colours_need_a_content_picture(style: str) -> None:
    with pytest.raises(UserError, match="keeps the content's colors"):
        TransferData(None, style, init="noise", preserve_color="luminance")
