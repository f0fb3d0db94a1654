"""`FastStylizer`: which network, which mixture, which tiles."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
import torch

from nst_lightning.data.predict_data import MediaFile, PredictSample
from nst_lightning.errors import UserError
from nst_lightning.networks.network_file import load_network, save_network
from nst_lightning.networks.transformer import TransformerNet
from nst_lightning.tasks import fast_stylizer as painter
from nst_lightning.tasks.fast_stylizer import FastStylizer, mix_styles, pick_tile_size


@pytest.fixture(scope="module")
def network_file(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("network") / "tiny.safetensors"
    save_network(TransformerNet(styles=2, width=4, blocks=1), path, ["dawn", "dusk"], "none")
    return str(path)


@pytest.mark.parametrize(
    ("style", "strength", "expected"),
    [
        (None, 1.0, [1 / 3, 1 / 3, 1 / 3]),
        ("b", 0.5, [0.0, 0.5, 0.0]),
        ({"c": 3, "a": 1}, 1.0, [0.25, 0.0, 0.75]),
        ("a", 0.0, [0.0, 0.0, 0.0]),
    ],
)
def test_shares_add_up_to_the_strength(style: str | dict | None, strength: float, expected: list[float]) -> None:
    assert mix_styles(["a", "b", "c"], style, strength).tolist() == pytest.approx(expected)


@pytest.mark.parametrize(
    ("style", "strength", "message"),
    [
        ("dwn", 1.0, "expected one of dawn, dusk, found 'dwn'; did you mean 'dawn'"),
        ({"dawn": -1.0, "dusk": 2.0}, 1.0, "shares of styles must be 0 or more"),
        ({}, 1.0, "shares of styles"),
        (None, 1.5, "from 0 to 1, but 1.5"),
    ],
)
def test_mistakes_about_styles(style: str | dict | None, strength: float, message: str) -> None:
    with pytest.raises(UserError, match=message):
        mix_styles(["dawn", "dusk"], style, strength)


def test_mistakes_about_the_network(network_file: str) -> None:
    with pytest.raises(UserError, match="there is no network 'nowhere' in the package"):
        FastStylizer("nowhere")
    with pytest.raises(UserError, match=r"found nothing at nowhere\.ckpt"):
        FastStylizer("nowhere.ckpt")
    with pytest.raises(UserError, match="tile_size must be at least 8 pixels, auto or null, but 3"):
        FastStylizer(network_file, tile_size=3)


def test_a_shipped_network_is_found_by_its_name(network_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_lightning.networks.network_file.SHIPPED_FOLDER", Path(network_file).parent)
    assert FastStylizer("tiny").styles == ("dawn", "dusk")
    with pytest.raises(UserError, match="did you mean 'tiny'"):
        FastStylizer("tinny")


def test_tiles_change_nothing_but_rounding(network_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.rand(1, 3, 45, 70, generator=torch.Generator().manual_seed(0))
    whole = FastStylizer(network_file, "dusk", 0.7, tile_size=None)
    expected = load_network(network_file)[0](images, torch.tensor([0.0, 0.7])).detach()
    torch.testing.assert_close(whole(images), expected, rtol=0, atol=0)
    calls, tiled_once = [], painter.paint_tiled
    monkeypatch.setattr(painter, "paint_tiled", lambda *given: calls.append(given) or tiled_once(*given))
    tiled = FastStylizer(network_file, "dusk", 0.7, tile_size=16)(images)
    assert len(calls) == 1
    assert float((tiled - expected).abs().max()) < 1e-5


@pytest.mark.parametrize("tile_size", [None, 8])
@pytest.mark.parametrize("size", [(1, 1), (3, 20), (20, 7)])
def test_tiny_pictures_keep_their_size(network_file: str, size: tuple[int, int], tile_size: int | None) -> None:
    """They are lengthened by repetition, and cut again."""
    images = torch.rand(1, 3, *size)
    rows = torch.arange(max(8, size[0])).clamp(max=size[0] - 1)
    columns = torch.arange(max(8, size[1])).clamp(max=size[1] - 1)
    weights = torch.tensor([0.5, 0.5])
    expected = load_network(network_file)[0](images[..., rows, :][..., columns], weights)[..., : size[0], : size[1]]
    torch.testing.assert_close(FastStylizer(network_file, tile_size=tile_size)(images), expected, rtol=0, atol=1e-5)


def test_a_picture_that_could_not_be_read_is_passed_through(network_file: str) -> None:
    batch = PredictSample(MediaFile("x", PurePosixPath("x")), torch.empty(1, 3, 0, 0), problem="no picture")
    assert FastStylizer(network_file).predict_step(batch, 0).shape == (1, 3, 0, 0)


def test_the_largest_tile_that_an_accelerator_holds() -> None:
    network = TransformerNet(width=24, blocks=0)
    assert pick_tile_size(1000**2, network, 2 * 2**30) is None
    sizes = [pick_tile_size(5000**2, network, gib * 2**30) for gib in (2, 6, 7, 10, 14, 40)]
    numbers = [size for size in sizes if size is not None]
    assert sizes[-1] is None
    assert numbers == sorted(numbers)
    assert (numbers[0], numbers[-1]) == (128, 2048)
    assert all(size % 64 == 0 for size in numbers)


def test_auto_on_a_cpu_tiles_large_pictures_alone(network_file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(painter, "_CPU_PIXELS", 32 * 32)
    monkeypatch.setattr(painter, "paint_tiled", lambda *given: called.append(given[3:]) or given[1])
    FastStylizer(network_file)(torch.rand(1, 3, 32, 32))
    assert not called
    FastStylizer(network_file)(torch.rand(1, 3, 32, 33))
    assert called == [(256, None)]


def test_its_earlier_name_still_names_it() -> None:
    from nst_lightning import tasks

    assert tasks.FastPainter is FastStylizer
