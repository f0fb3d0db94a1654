import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.images.resize import fit_long_side, resize, shrunk_size


@pytest.mark.parametrize("size", [(8, 8), (13, 29), (17, 23), (40, 61), (50, 9), (9, 50), (1, 1)])
def test_resize_is_pillows_bicubic(size):
    image = torch.rand(1, 3, 17, 23, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25
    channels = [Image.fromarray(channel.numpy()).resize(size[::-1], Image.Resampling.BICUBIC) for channel in image[0]]
    expected = np.stack([np.asarray(channel) for channel in channels]).clip(0, 1)
    np.testing.assert_allclose(resize(image, size)[0].numpy(), expected, atol=2e-6)


def test_resize_to_the_same_size_keeps_the_values_in_a_new_tensor():
    image = torch.rand(2, 3, 7, 5, generator=torch.Generator().manual_seed(0))
    same = resize(image, (7, 5))
    torch.testing.assert_close(same, image, atol=1e-6, rtol=0)
    assert same.data_ptr() != image.data_ptr()


def test_resize_clamps_the_overshoot():
    edge = torch.zeros(1, 1, 8, 8)
    edge[..., 4:] = 1
    bigger = resize(edge, (16, 16))
    assert bigger.min() == 0
    assert bigger.max() == 1
    assert (bigger == 1).float().mean() > 0.3  # the overshoot was cut, not scaled


def test_shrinking_is_antialiased():
    stripes = torch.tensor([0.0, 1.0]).repeat(64).expand(1, 3, 128, 128)
    assert (resize(stripes, (16, 16)) - 0.5).abs().max() < 0.05


@pytest.mark.parametrize("size", [(0, 4), (4, -1)])
def test_resize_refuses_empty_sizes(size):
    with pytest.raises(ValueError, match="positive size"):
        resize(torch.zeros(1, 3, 4, 4), size)


def test_resize_refuses_other_shapes():
    with pytest.raises(ValueError, match=r"\(3, 4, 4\)"):
        resize(torch.zeros(3, 4, 4), (2, 2))


def test_fit_long_side_keeps_the_aspect_ratio():
    rng = np.random.default_rng(0)
    for height, width, long_side in rng.integers(1, 5000, (2000, 3)).tolist():
        fitted = fit_long_side(height, width, long_side)
        scale = long_side / max(height, width)
        assert max(fitted) == long_side
        assert min(fitted) >= 1
        for side, original in zip(fitted, (height, width), strict=True):
            assert abs(side - max(1, original * scale)) <= 0.5 + 1e-9


@pytest.mark.parametrize(
    ("height", "width", "long_side", "expected"),
    [
        (480, 640, 512, (384, 512)),
        (640, 480, 512, (512, 384)),
        (100, 100, 7, (7, 7)),
        (1, 1, 300, (300, 300)),
        (2, 5000, 100, (1, 100)),
        (3, 2, 3, (3, 2)),
        (4, 2, 5, (5, 3)),  # 2.5 goes up
    ],
)
def test_fit_long_side_examples(height, width, long_side, expected):
    assert fit_long_side(height, width, long_side) == expected


@pytest.mark.parametrize(
    ("height", "width", "long_side", "expected"),
    [(384, 512, 480, (360, 480)), (512, 384, 480, (480, 360)), (192, 256, 480, (192, 256)), (31, 45, 45, (31, 45))],
)
def test_what_is_small_enough_is_not_enlarged(height, width, long_side, expected):
    assert shrunk_size(height, width, long_side) == expected


def test_fit_long_side_refuses_nothing_to_fit():
    with pytest.raises(ValueError, match="positive"):
        fit_long_side(0, 10, 5)
