import numpy as np
import pytest
import torch
from PIL import Image

from nst_lightning.data.transfer_batch import StepLoader
from nst_lightning.data.transfer_data import TransferData
from nst_lightning.errors import UserError


@pytest.fixture
def picture(tmp_path):
    """Writes smooth random colours; with `alpha`, the left half is half transparent."""

    def write(name, width, height, *, alpha=False):
        rng = np.random.default_rng(sum(name.encode()))
        small = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        image = small.resize((width, height), Image.Resampling.BICUBIC)
        if alpha:
            opacity = np.full((height, width), 255, dtype=np.uint8)
            opacity[:, : width // 2] = 128
            image.putalpha(Image.fromarray(opacity))
        image.save(tmp_path / name)
        return str(tmp_path / name)

    return write


@pytest.fixture
def photo(picture):
    return picture("photo.png", 80, 60)


@pytest.fixture
def painting(picture):
    return picture("painting.png", 50, 70)


def close(actual, expected, tolerance=0.02):
    """Resampled pictures agree with Pillow's, which rounds to bytes between its two passes."""
    np.testing.assert_allclose(actual[0].permute(1, 2, 0).numpy(), expected, atol=tolerance)


def resampled(path, size):
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize(size, Image.Resampling.BICUBIC)) / 255


def sizes(data):
    return [(level.height, level.width, level.steps) for level in data.schedule.levels]


def test_levels_keep_the_contents_shape(photo, painting):
    data = TransferData(photo, painting, size=512, min_size=128, steps=7, first_steps=9)
    expected = [(96, 128, 9), (136, 181, 7), (192, 256, 7), (272, 362, 7), (384, 512, 7)]
    assert sizes(data) == expected
    for level, (height, width, _) in enumerate(expected[:2]):
        batch = data.batch(level)
        assert batch.content.shape == (1, 3, height, width)
        assert (batch.size.height, batch.size.width) == (height, width)
        assert max(batch.styles[0].shape[-2:]) == width  # the long side of what is painted


def test_pictures_are_resampled_from_the_originals(photo, painting):
    batch = TransferData(photo, painting, sizes=[16, 40], steps=[2, 3]).batch(1)
    close(batch.content, resampled(photo, (40, 30)))
    close(batch.styles[0], resampled(painting, (29, 40)))
    assert all(picture.dtype == torch.float32 for picture in (batch.content, *batch.styles))
    assert batch.level == 1
    assert batch.style_weights == (1.0,)


def test_the_style_may_have_a_scale_of_its_own(photo, painting):
    batch = TransferData(photo, painting, sizes=[40], steps=1, style_scale=1.5).batch(0)
    assert batch.styles[0].shape == (1, 3, 60, 43)
    two = TransferData(photo, [painting, painting], sizes=[40], steps=1, style_scale=[0.5, 2]).batch(0)
    assert [max(style.shape) for style in two.styles] == [20, 80]
    tiny = TransferData(photo, painting, sizes=[40], steps=1, style_scale=0.001).batch(0)
    assert tiny.styles[0].shape == (1, 3, 1, 1)


def test_texture_synthesis_has_the_styles_shape(painting):
    data = TransferData(style=painting, sizes=[35], steps=1, init="noise")
    batch = data.batch(0)
    assert sizes(data) == [(35, 25, 1)]
    assert batch.content is None
    assert batch.initial.shape == (1, 3, 35, 25)


def test_feature_inversion_has_no_style(photo):
    batch = TransferData(photo, sizes=[20], steps=1).batch(0)
    assert batch.styles == batch.style_weights == ()


def test_several_styles_with_weights(photo, painting, picture):
    styles = [painting, picture("woodcut.png", 30, 20), picture("mosaic.png", 9, 9)]
    batch = TransferData(photo, styles, sizes=[20], steps=1, style_weights=[3, 1, 0]).batch(0)
    assert [style.shape[-2:] for style in batch.styles] == [(20, 14), (13, 20), (20, 20)]
    assert batch.style_weights == (0.75, 0.25, 0)
    close(batch.styles[1], resampled(styles[1], (20, 13)))
    assert TransferData(photo, styles, sizes=[20], steps=1).batch(0).style_weights == pytest.approx((1 / 3,) * 3)


def test_init_content_at_the_first_level_only(photo, painting):
    data = TransferData(photo, painting, sizes=[16, 32], steps=1, init="content")
    first = data.batch(0)
    assert torch.equal(first.initial, first.content)
    assert data.batch(1).initial is None


def test_init_noise_depends_on_the_seed_only(photo, painting):
    data = TransferData(photo, painting, sizes=[16], steps=1, init="noise")
    torch.manual_seed(5)
    first = data.batch(0).initial
    torch.rand(100)
    state = torch.get_rng_state()
    assert torch.equal(data.batch(0).initial, first)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(6)
    assert not torch.equal(data.batch(0).initial, first)
    assert first.shape == (1, 3, 12, 16)
    assert 0 <= first.min() < 0.05 < 0.95 < first.max() <= 1


def test_init_style_covers_the_picture(photo, painting, picture):
    data = TransferData(photo, [painting, picture("other.png", 9, 9)], sizes=[16], steps=1, init="style")
    scaled = resampled(painting, (16, 22))
    close(data.batch(0).initial, scaled[5:17], tolerance=0.03)


def test_init_from_a_file(photo, painting, picture):
    start = picture("start.png", 80, 60)
    batch = TransferData(photo, painting, sizes=[16], steps=1, init=start).batch(0)
    close(batch.initial, resampled(start, (16, 12)))


@pytest.mark.parametrize("keep", [False, True])
def test_alpha(picture, painting, keep):
    data = TransferData(picture("cut.png", 80, 60, alpha=True), painting, sizes=[20], steps=1, keep_alpha=keep)
    alpha = data.alpha((15, 20))
    if keep:
        assert alpha.shape == (1, 1, 15, 20)
        assert alpha[0, 0, 7, [0, 4, 15, 19]].tolist() == pytest.approx([128 / 255, 128 / 255, 1, 1], abs=1e-3)
    else:
        assert alpha is None


def test_an_opaque_content_has_no_alpha_to_keep(photo, painting):
    assert TransferData(photo, painting, sizes=[20], steps=1, keep_alpha=True).alpha((15, 20)) is None
    assert TransferData(style=painting, sizes=[20], steps=1, keep_alpha=True, init="noise").alpha((15, 20)) is None


def test_the_digest_tells_pictures_apart(photo, painting, picture):
    def digest(content, style, level=0, **options):
        return TransferData(content, style, sizes=[16, 20], steps=1, **options).batch(level).digest

    other = picture("other.png", 10, 10)
    first = digest(photo, painting)
    assert first == digest(photo, painting, level=1) == digest(photo, [painting], init="noise", style_scale=2)
    changed = [digest(other, painting), digest(photo, other), digest(photo, [painting, other])]
    alone = [digest(photo, None), digest(None, photo, init="noise"), digest(None, [photo, painting], init="noise")]
    assert len({first, digest(painting, photo), *changed, *alone}) == 8


def test_the_loader_hands_out_the_levels(photo, painting):
    data = TransferData(photo, painting, sizes=[10, 20], steps=[2, 1])
    loader = data.train_dataloader()
    assert isinstance(loader, StepLoader)
    batches = list(loader)
    assert [(batch.size.height, batch.size.width) for batch in batches] == [(8, 10), (8, 10), (15, 20)]
    assert [tuple(batch.content.shape[-2:]) for batch in batches[::2]] == [(8, 10), (15, 20)]
    assert batches[1].content is None


def test_images_are_copied_to_the_device_once(picture, painting):
    content = picture("cut.png", 80, 60, alpha=True)
    data = TransferData(content, painting, sizes=[10, 20], steps=2, keep_alpha=True)
    first, again, second, _ = data.train_dataloader()
    device = torch.device("meta")
    moved = data.transfer_batch_to_device(first, device, 0)
    tensors = [moved.content, moved.initial, *moved.styles]
    assert {tensor.device.type for tensor in tensors} == {"meta"}
    assert first.content.device.type == "cpu"
    assert (moved.level, moved.digest, moved.schedule) == (first.level, first.digest, first.schedule)
    moved = data.transfer_batch_to_device(again, device, 0)
    assert (moved.level, moved.digest, moved.schedule) == (first.level, first.digest, first.schedule)
    assert moved.content is moved.initial is moved.warped is moved.guides is None
    assert moved.styles == ()
    assert data.transfer_batch_to_device(second, device, 0).level == 1
    assert data.transfer_batch_to_device(second, device, 0).initial is None


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"content": None, "style": None}, "set data.content, data.style or both"),
        ({"content": None, "style": []}, "set data.content, data.style or both"),
        ({"content": None}, "set data.init to noise or to a picture"),
        ({"style": None, "init": "style"}, "data.style is not set"),
        ({"style_scale": 0}, "above 0, but 0"),
        ({"style_scale": -1}, "above 0, but -1"),
        ({"style_scale": [1.0, 2.0]}, "lists 2 numbers for 1 styles"),
        ({"size": 0}, "at least 1, but 0"),
        ({"min_size": 0}, "at least 1, but 512 and 0"),
        ({"sizes": []}, r"ascending numbers .*\[\] was given"),
        ({"sizes": [20, 10]}, r"ascending numbers .*\[20, 10\]"),
        ({"sizes": [10, 10]}, "ascending numbers"),
        ({"sizes": [0, 10]}, "from 1 up"),
        ({"sizes": [10, 20], "steps": [1]}, "lists 1 numbers for 2 levels"),
        ({"steps": 0}, "at least 1"),
        ({"style_weights": [1, 2]}, "lists 2 numbers for 1 styles"),
        ({"style_weights": []}, "lists 0 numbers for 1 styles"),
        ({"style_weights": [-1]}, "0 or more"),
        ({"style_weights": [0]}, "not all 0"),
        ({"style_weights": [float("nan")]}, "0 or more"),
        ({"style_weights": [float("inf")]}, "0 or more"),
        ({"content": "nowhere.png"}, "found nothing at nowhere.png"),
        ({"style": ["nowhere.png"]}, "found nothing at nowhere.png"),
        ({"init": "contents"}, "contents"),
        ({"max_pixels": 100}, "at most 100 pixels"),
    ],
)
def test_mistakes_are_told_in_one_line(photo, painting, options, said):
    with pytest.raises(UserError, match=said) as caught:
        TransferData(**{"content": photo, "style": painting, **options})
    assert "\n" not in str(caught.value)
