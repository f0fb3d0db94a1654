"""`nst export`: each format, loaded anew, against the network; and mistakes in one line."""

from __future__ import annotations

import logging
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors import safe_open

from nst_lightning.cli import export
from nst_lightning.cli.export import run as run_export
from nst_lightning.cli.main import main
from nst_lightning.data.style_images import StyleImages
from nst_lightning.errors import UserError
from nst_lightning.networks.any_style import AnyStyleNet
from nst_lightning.networks.network_file import load_network, save_network
from nst_lightning.networks.transformer import TransformerNet

WEIGHTS = torch.tensor([0.5, 0.2])


@pytest.fixture(autouse=True)
def network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TransformerNet:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    save_network(TransformerNet(styles=2, width=4, blocks=1), "tiny.safetensors", ["dawn", "dusk"], "none")
    return load_network("tiny.safetensors")[0]


def compare(network: TransformerNet, painted: torch.Tensor, images: torch.Tensor) -> None:
    with torch.no_grad():
        torch.testing.assert_close(painted, network(images, WEIGHTS), rtol=0, atol=1e-5)


def test_torchscript(
    network: TransformerNet, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    assert run_export(["export", "tiny.safetensors", "out/tiny.ts"]) == 0
    assert capsys.readouterr().out == "out/tiny.ts\n"
    images = torch.rand(1, 3, 43, 70)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        compare(network, torch.jit.load("out/tiny.ts")(images, WEIGHTS), images)
    assert caplog.messages[-1].startswith("model: out/tiny.ts")
    assert "dawn, dusk" in caplog.messages[-1]


@pytest.mark.slow
def test_exported_program(network: TransformerNet) -> None:
    assert run_export(["export", "tiny.safetensors", "tiny.pt2"]) == 0
    images = torch.rand(1, 3, 43, 70)
    compare(network, torch.export.load("tiny.pt2").module()(images, WEIGHTS), images)


@pytest.mark.slow
def test_onnx(network: TransformerNet) -> None:
    pytest.importorskip("onnxscript")
    onnxruntime = pytest.importorskip("onnxruntime")
    assert run_export(["export", "tiny.safetensors", "tiny.onnx"]) == 0
    session = onnxruntime.InferenceSession("tiny.onnx", providers=["CPUExecutionProvider"])
    images = torch.rand(1, 3, 43, 70)
    (painted,) = session.run(None, {"images": images.numpy(), "weights": WEIGHTS.numpy()})
    compare(network, torch.from_numpy(painted), images)
    assert [(value.name, value.shape) for value in session.get_inputs()] == [
        ("images", [1, 3, "height", "width"]),
        ("weights", [2]),
    ]
    assert [(value.name, value.shape) for value in session.get_outputs()] == [("painted", [1, 3, "height", "width"])]


def test_the_small_file_of_a_checkpoint(network: TransformerNet) -> None:
    card = load_network("tiny.safetensors")[1].as_dict()
    state = {f"network.{key}": value for key, value in network.state_dict().items()}
    torch.save({"state_dict": state, "fast_style_transfer": card}, "last.ckpt")
    assert run_export(["export", "last.ckpt", "small.safetensors"]) == 0
    images = torch.rand(1, 3, 24, 24)
    compare(load_network("small.safetensors")[0], network(images, WEIGHTS).detach(), images)
    with safe_open("small.safetensors", framework="pt") as file:
        assert {file.get_tensor(key).dtype for key in file.keys()} == {torch.float16}  # noqa: SIM118


@pytest.mark.parametrize("wrong", ["brighter", "cropped", "nan"])
def test_a_model_that_paints_something_else_is_refused(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    network = load_network("tiny.safetensors")[0]
    change = {
        "brighter": lambda painted: painted + 0.003,
        "cropped": lambda painted: painted[..., 1:],
        "nan": lambda painted: painted * torch.nan,
    }[wrong]

    def write(model: export.Portable, path: Path) -> export.Run:
        path.touch()
        return lambda *inputs: change(network(*inputs))

    monkeypatch.setitem(export.WRITERS, ".onnx", write)
    with pytest.raises(UserError, match=r"differs from PyTorch by .* at 123×97 pixels"):
        run_export(["export", "tiny.safetensors", "tiny.onnx"])
    assert [path.name for path in Path().iterdir()] == ["tiny.safetensors"]


@pytest.mark.slow
def test_without_onnxruntime_it_says_that_nothing_was_checked(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fake(*given: object, **options: object) -> object:
        return SimpleNamespace(save=lambda path, external_data: Path(path).write_bytes(b"model"))

    monkeypatch.setattr(torch.onnx, "export", fake)
    monkeypatch.setitem(sys.modules, "onnxscript", SimpleNamespace())
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    assert run_export(["export", "tiny.safetensors", "tiny.onnx"]) == 0
    assert "not checked against PyTorch: onnxruntime is not installed" in caplog.text


def test_without_onnxscript_it_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(UserError, match=r"pip install 'nst-lightning\[export\]'"):
        run_export(["export", "tiny.safetensors", "tiny.onnx"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["tiny.safetensors", "tiny.h5"],
            r"ending in \.onnx, \.pt2, .*\.safetensors, found .tiny\.h5",
        ),
        (["nothing.ckpt", "tiny.onnx"], r"found nothing at nothing\.ckpt"),
        (["nothing", "tiny.onnx"], "no network 'nothing' in the package"),
        (["tiny.safetensors", "tiny.safetensors/x.onnx"], "can be written to"),
        (["tiny.safetensors"], "output"),
        (["tiny.safetensors", "x.safetensors", "--style", "a.jpg"], "has no style of its own; leave --style"),
        (["tiny.safetensors", "x.safetensors", "--styles", "3"], "has no style of its own; leave --style"),
    ],
)
def test_mistakes(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        run_export(["export", *words])
    assert "\n" not in str(caught.value)
    assert [path.name for path in Path().iterdir()] == ["tiny.safetensors"]


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_a_network_of_any_style_with_its_styles(
    suffix: str, tmp_path: Path, any_style_file: str, style: str, content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / f"model{suffix}"
    assert main(["export", any_style_file, str(target), "--style", style, content]) == 0  # which checks it
    assert capsys.readouterr().out == f"{target}\n"
    network, _ = load_network(any_style_file)
    assert isinstance(network, AnyStyleNet)
    styles = StyleImages.read([style, content], None, 1.0, None, 1.0, 10**6).images
    image, weights = torch.rand(1, 3, 40, 104), torch.tensor([0.5, 0.2])
    if suffix == ".onnx":
        session = pytest.importorskip("onnxruntime").InferenceSession(target, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"images": image.numpy(), "weights": weights.numpy()})
    else:
        with torch.no_grad():  # torch 2.9 takes what it loads for trainable
            found = torch.export.load(target).module()(image, weights).numpy()
    wanted = network(image, [network.measure(each) for each in styles], weights).detach()
    torch.testing.assert_close(torch.from_numpy(found), wanted, rtol=0, atol=0.5 / 255)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
def test_statistics_as_an_input_are_what_the_second_file_measures(
    suffix: str, tmp_path: Path, encoder_file: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of pictures that neither file has seen, with noise and a draft, as the network itself paints."""
    torch.manual_seed(0)
    noisy = AnyStyleNet(encoder_file, width=4, blocks=1, noise=0.1, drafts=1)
    torch.nn.init.normal_(noisy.modulate.weight, 0, 0.3)
    save_network(noisy, tmp_path / "noisy.safetensors", [], noisy.encoder.digest)
    target, measure = (tmp_path / f"model{middle}{suffix}" for middle in ("", ".measure"))
    assert main(["export", str(tmp_path / "noisy.safetensors"), str(target), "--styles", "2"]) == 0
    assert capsys.readouterr().out == f"{target}\n{measure}\n"
    network, _ = load_network(tmp_path / "noisy.safetensors")
    assert isinstance(network, AnyStyleNet)
    generator = torch.Generator().manual_seed(3)
    image = torch.rand(1, 3, 48, 112, generator=generator) * torch.linspace(0, 1, 112)
    first, second = (torch.rand(1, 3, 48, side, generator=generator) for side in (64, 80))
    weights = torch.tensor([0.5, 0.2])

    def run(path: Path, **inputs: torch.Tensor) -> torch.Tensor:
        if suffix == ".onnx":
            session = pytest.importorskip("onnxruntime").InferenceSession(path, providers=["CPUExecutionProvider"])
            (found,) = session.run(None, {name: value.numpy() for name, value in inputs.items()})
            return torch.from_numpy(found)
        with torch.no_grad():
            found = torch.export.load(path).module()(*inputs.values())
        assert isinstance(found, torch.Tensor)
        return found

    statistics = torch.cat([run(measure, images=each) for each in (first, second)])
    found = run(target, images=image, weights=weights, statistics=statistics)
    wanted = network(image, [network.measure(first), network.measure(second)], weights).detach()
    torch.testing.assert_close(found, wanted, rtol=0, atol=0.5 / 255)
    other = run(target, images=image, weights=weights, statistics=statistics.flip(0))
    assert float((other - wanted).abs().max()) > 0.05


def test_what_a_network_of_any_style_needs(
    tmp_path: Path, any_style_file: str, style: str, capsys: pytest.CaptureFixture[str]
) -> None:
    onnx = str(tmp_path / "a.onnx")
    for words, message in (
        ([any_style_file, onnx, "--styles", "0"], "--styles is at least 1, but 0 was given"),
        ([any_style_file, onnx, "--style", style, "--styles", "2"], "leave one out"),
        ([any_style_file, str(tmp_path / "a.ts"), "--style", style], "exported as .onnx, .pt2, .safetensors"),
        (["starry", onnx, "--style", style], "this one has styles of its own"),
        (["starry", onnx, "--styles", "2"], "this one has styles of its own"),
        ([any_style_file, onnx, "--style", "gone.png"], "found nothing at gone.png"),
    ):
        assert main(["export", *words]) == 2
        assert message in capsys.readouterr().err
