"""Masks as the user gives them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning import TransferData, UserError


@pytest.fixture
def mask(tmp_path: Path) -> Callable[..., str]:
    """Write a mask that is white on the left share of its columns."""

    def write(name: str, share: float, width: int = 40, height: int = 30, white: int = 255) -> str:
        pixels = np.zeros((height, width), np.uint8)
        pixels[:, : round(width * share)] = white
        Image.fromarray(pixels).save(tmp_path / name)
        return str(tmp_path / name)

    return write


def data(content: str, style: str, **options: object) -> TransferData:
    return TransferData(content, [style, style], sizes=[20, 40], steps=1, **options)  # type: ignore[arg-type]


def test_masks_follow_the_levels_and_rest_takes_what_is_left(
    content: str, style: str, mask: Callable[..., str]
) -> None:
    pictures = data(content, style, guides=[mask("left.png", 0.5), "rest"])
    for level, (height, width) in enumerate([(15, 20), (30, 40)]):
        guides = pictures.batch(level).guides
        assert guides is not None
        left, rest = guides.regions
        assert left.shape == rest.shape == (1, 1, height, width)
        torch.testing.assert_close(left + rest, torch.ones(1, 1, height, width))
    assert torch.equal(left[..., :20], torch.ones(1, 1, 30, 20))
    assert torch.equal(left[..., 20:], torch.zeros(1, 1, 30, 20))


def test_greys_are_weights(content: str, style: str, mask: Callable[..., str]) -> None:
    guides = data(content, style, content_guide=mask("half.png", 1.0, white=128)).batch(1).guides
    assert guides is not None
    assert guides.content is not None
    torch.testing.assert_close(guides.content, torch.full((1, 1, 30, 40), 128 / 255))


def test_style_guides_have_the_styles_sizes(content: str, style: str, mask: Callable[..., str]) -> None:
    batch = data(content, style, style_guides=[None, mask("part.png", 0.5, 36, 36)], style_scale=0.5).batch(1)
    assert batch.guides is not None
    assert batch.guides.styles[0] is None
    part = batch.guides.styles[1]
    assert part is not None
    assert part.shape[2:] == batch.styles[1].shape[2:] == (20, 20)


def test_what_is_transparent_in_a_mask_is_none_of_it(tmp_path: Path, content: str, style: str) -> None:
    layer = np.zeros((30, 40, 4), np.uint8)
    layer[:, :10] = 255  # white, opaque
    layer[:, 10:20] = (255, 255, 255, 51)
    layer[:, 20:30] = (0, 0, 0, 255)
    Image.fromarray(layer).save(tmp_path / "layer.png")
    guides = data(content, style, guides=[str(tmp_path / "layer.png"), "rest"]).batch(1).guides
    assert guides is not None
    expected = torch.tensor([1.0, 0.2, 0.0, 0.0]).repeat_interleave(10).expand(1, 1, 30, 40)
    torch.testing.assert_close(guides.regions[0], expected)
    Image.fromarray(np.zeros((30, 40, 4), np.uint8)).save(tmp_path / "empty.png")
    with pytest.raises(UserError, match="black or transparent all over"):
        data(content, style, guides=[str(tmp_path / "empty.png"), "rest"]).batch(1)


def test_alpha_serves_as_guide(tmp_path: Path, content: str, style: str) -> None:
    picture = Image.open(content).convert("RGBA")
    alpha = np.zeros((30, 40), np.uint8)
    alpha[:15] = 255
    picture.putalpha(Image.fromarray(alpha))
    picture.save(tmp_path / "cut.png")
    guides = data(str(tmp_path / "cut.png"), style, guides=["alpha", "rest"], content_guide="alpha").batch(1).guides
    assert guides is not None
    expected = torch.from_numpy(alpha / 255).float()[None, None]
    torch.testing.assert_close(guides.regions[0], expected)
    torch.testing.assert_close(guides.regions[1], 1 - expected)
    assert guides.content is not None
    torch.testing.assert_close(guides.content, expected)


def test_without_guides_there_are_none_and_the_digest_tells_them_apart(
    content: str, style: str, mask: Callable[..., str]
) -> None:
    left, right = mask("left.png", 0.5), mask("more.png", 0.6)
    options: list[dict[str, object]] = [
        {},
        {"guides": [left, "rest"]},
        {"guides": ["rest", left]},
        {"guides": [right, "rest"]},
        {"content_guide": left},
        {"preserve_color": "luminance"},
        {"preserve_color": "luminance", "color_strength": 0.5},
        {"preserve_color": "histogram"},
    ]
    batches = [data(content, style, **option).batch(1) for option in options]
    assert batches[0].guides is None
    assert len({batch.digest for batch in batches}) == len(options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"guides": ["rest"]}, "data.guides lists 1 masks for 2 styles"),
        ({"style_guides": [None]}, "data.style_guides lists 1 masks for 2 styles"),
        ({"guides": ["rest", "rest"]}, "rest more than once"),
        ({"guides": ["alpha", "rest"]}, "the picture it guides is opaque"),
        ({"guides": ["nothing.png", "rest"]}, "found nothing at nothing.png"),
        ({"preserve_color": "hue"}, "data.preserve_color is luminance, cholesky"),
        ({"preserve_color": "pca", "color_strength": 1.5}, "data.color_strength must be from 0 to 1"),
    ],
)
def test_mistakes_get_a_line(options: dict[str, object], message: str, content: str, style: str) -> None:
    with pytest.raises(UserError, match=message):
        data(content, style, **options)


def test_a_region_that_is_empty_from_the_start_is_refused(
    tmp_path: Path, content: str, style: str, mask: Callable[..., str]
) -> None:
    with pytest.raises(UserError, match="the other masks leave nothing"):
        data(content, style, guides=[mask("white.png", 1.0), "rest"])
    picture = Image.open(content).convert("RGBA")
    picture.putalpha(0)
    picture.save(tmp_path / "clear.png")
    with pytest.raises(UserError, match=r"data\.guides: .*transparent all over"):
        data(str(tmp_path / "clear.png"), style, guides=["alpha", "rest"])


def test_a_black_mask_and_one_of_another_shape_are_refused(content: str, style: str, mask: Callable[..., str]) -> None:
    with pytest.raises(UserError, match="black all over"):
        data(content, style, guides=[mask("black.png", 0.0), "rest"])
    with pytest.raises(UserError, match=r"in the shape of its picture, 40×30, found .*tall\.png with 30×40"):
        data(content, style, guides=[mask("tall.png", 0.5, 30, 40), "rest"])
