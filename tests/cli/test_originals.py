"""Whatever is read is never written over, by any command and under any name; nothing is made before that is known."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch

from nst_lightning import (
    VGG19,
    FastStyleTransfer,
    GramStyleLoss,
    StyleTransfer,
    TotalVariationLoss,
    TransferData,
    UserError,
    fit,
)
from nst_lightning.callbacks.animation import Animation
from nst_lightning.cli.main import main
from nst_lightning.networks.network_file import save_network
from nst_lightning.networks.transformer import TransformerNet
from tests.helpers.inputs import make_image
from tests.runs.conftest import CONFIGS, fit_words


@pytest.fixture(autouse=True)
def _originals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, encoder_file: str) -> None:
    """Make an empty folder the working folder, with one file of each kind that a command reads."""
    folder = tmp_path / "work"
    (folder / "in" / "sub").mkdir(parents=True)
    (folder / "out").mkdir()
    monkeypatch.chdir(folder)
    for number, name in enumerate(["me.png", "style.png", "mask.png", "in/a.png", "out/me_style.png"]):
        make_image(Path(name), 40, 30, seed=number)
    for link, name in (("soft.png", "me.png"), ("folder", ".")):
        Path(link).symlink_to(name)
    Path("hard.png").hardlink_to("me.png")
    Path("out/a.png").hardlink_to("in/a.png")
    shutil.copy(encoder_file, "tiny.safetensors")
    Path("config.png").write_text("seed_everything: 3\n")
    Path("inside.yaml").write_text("output:\n  path: nope/../me.png\n")
    Path("out/summary.csv").write_text("content,style\n../me.png,../style.png\n")
    Path("rows.csv").write_text("content,style,output,data.init\nme.png,style.png,mask.png,mask.png\n")
    Path("masks.csv").write_text('content,style,output,data.guides\nme.png,style.png,mask.png,"[mask.png]"\n')
    network = TransformerNet(styles=1)
    save_network(network, Path("net.safetensors"), ["mine"], "0" * 64)


def files() -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in Path().rglob("*") if path.is_file()}


FIT = [*fit_words("starry", "tiny.safetensors", "me.png", "style.png")[1:]]
CONTENT, STYLE = FIT.index("--data.content"), FIT.index("--data.style")
PAIRS = [*FIT[: min(CONTENT, STYLE)], *FIT[max(CONTENT, STYLE) + 2 :]]
ONE = ["--contents", "me.png", "--styles", "style.png", "--output"]
PREDICT = ["--trainer.accelerator", "cpu", "--output.overwrite", "true", "--data.images"]
OWN_SWEEP = ["--name", "mine", "--grid.seed", "[1]"]

COMMANDS = {
    "fit: content": ["fit", *FIT, "--output.path", "nope/../me.png"],
    "fit: style": ["fit", *FIT, "--output.path", "in/sub/../../style.png"],
    "fit: absolute": ["fit", *FIT, "--output.path", "{cwd}/me.png"],
    "fit: symbolic link": ["fit", *FIT, "--output.path", "soft.png"],
    "fit: linked folder": ["fit", *FIT, "--output.path", "folder/folder/me.png"],
    "fit: hard link": ["fit", *FIT, "--output.path", "hard.png"],
    "fit: initial image": ["fit", *FIT, "--data.init", "mask.png", "--output.path", "nope/../mask.png"],
    "fit: guide": ["fit", *FIT, "--data.guides", "[mask.png]", "--output.path", "nope/../mask.png"],
    "fit: style guide": ["fit", *FIT, "--data.style_guides", "[mask.png]", "--output.path", "mask.png"],
    "fit: content guide": ["fit", *FIT, "--data.content_guide", "mask.png", "--output.path", "mask.png"],
    "fit: warped": ["fit", *FIT, "--data.warped", "mask.png", "--output.path", "mask.png"],
    "fit: config": ["fit", *FIT, "--config", "config.png", "--output.path", "x/../config.png"],
    "fit: path in a config": ["fit", *FIT, "--config", "inside.yaml"],
    "fit: animation": ["fit", *FIT, "--animation.path", "nope/../me.png"],
    "fit: animation and image": ["fit", *FIT, "--animation.path", "nope/../new.png", "--output.path", "new.png"],
    "batch: content": ["batch", *PAIRS, *ONE[:3], "style.png", "--output", "new", "--contact_sheet", "nope/../me.png"],
    "batch: style": ["batch", *PAIRS, *ONE, "new", "--contact_sheet", "style.png"],
    "batch: manifest": ["batch", *PAIRS, "--manifest", "out/summary.csv", "--output", "nope/../out"],
    "batch: config": ["batch", *PAIRS, "--config", "config.png", *ONE, "new", "--contact_sheet", "config.png"],
    "batch: mask": ["batch", *PAIRS, "--data.content_guide", "out/me_style.png", *ONE, "out"],
    "batch: row's image": ["batch", *PAIRS, "--manifest", "rows.csv", "--output", "."],
    "batch: row's masks": ["batch", *PAIRS, "--manifest", "masks.csv", "--output", "."],
    "batch: sheet and image": ["batch", *PAIRS, *ONE, "new", "--contact_sheet", "nope/../new/me_style.png"],
    "compare: image": ["compare", "me.png", "style.png", "--output", "nope/../me.png"],
    "compare: hard link": ["compare", "me.png", "style.png", "--output", "hard.png"],
    "export": ["export", "net.safetensors", "nope/../net.safetensors"],
    "predict: folder": ["predict", *PREDICT, "in", "--output.folder", "nope/../in"],
    "predict: hard link": ["predict", *PREDICT, "in", "--output.folder", "out"],
}


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_an_original_is_not_written_over(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    before = files()
    assert main([word.replace("{cwd}", str(Path.cwd())) for word in COMMANDS[command]]) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("nst: ")
    after = files()
    made = set(after) - set(before)
    assert {name: after.get(name) for name in before} == before
    assert not any("stylized" in name or "checkpoints" in name for name in made), made


def test_other_names_are_written() -> None:
    assert main(["compare", "me.png", "style.png", "--output", "nope/../sheet.png"]) == 0
    assert Path("sheet.png").exists()


@pytest.mark.slow
def test_the_folder_of_a_sweep_holds_nothing_that_it_reads(capsys: pytest.CaptureFixture[str]) -> None:
    """The sheet of an earlier sweep would be painted from, and drawn anew."""
    sheet = Path("lightning_logs/mine/sheet.png")
    sheet.parent.mkdir(parents=True)
    shutil.copy("me.png", sheet)
    for options in (["--data.init", str(sheet)], ["--grid.init", f"[noise, {sheet}]"]):
        assert main(["sweep", *FIT, *OWN_SWEEP, *options]) == 2
        assert "the folder of the sweep, lightning_logs/mine, holds one of the" in capsys.readouterr().err
    assert sheet.read_bytes() == Path("me.png").read_bytes()


@pytest.mark.slow
def test_a_run_that_goes_on_does_not_write_over_what_it_reads(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", *FIT, "--trainer.max_steps", "1"]) == 0
    run = Path("lightning_logs/starry/version_0")
    before = (run / "stylized.png").read_bytes()
    shutil.copy(run / "checkpoints/last.ckpt", "mine.png")
    for options in (
        ["--ckpt_path", "last", "--data.init", f"{run}/stylized.png"],
        ["--ckpt_path", "mine.png", "--output.path", "nope/../mine.png"],
    ):
        assert main(["fit", *FIT, *options]) == 2
        assert "one of the" in capsys.readouterr().err
    assert (run / "stylized.png").read_bytes() == before


@pytest.mark.slow
def test_the_frames_of_a_video_are_not_painted_over_its_style(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("av")
    from nst_lightning.video.writing import VideoWriter

    with VideoWriter(Path("clip.mkv"), 24, 32, 5, crf=0) as writer:
        writer.write(torch.rand(1, 3, 24, 32), 0)
    shutil.copy("style.png", "style.mkv")
    Path("new.mkv.frames").mkdir()
    shutil.copy("style.png", "new.mkv.frames/.style.png")
    before = files()
    for style, output in (
        ("style.png", "nope/../clip.mkv"),
        ("style.mkv", "style.mkv"),
        ("new.mkv.frames/.style.png", "new.mkv"),
    ):
        words = ["video", *PAIRS, "--video", "clip.mkv", "--style", style, "--output", output, "--overwrite"]
        assert main(words) == 2, output
        assert "that is read" in (said := capsys.readouterr().err) or "pictures read" in said
        assert files() == before


def test_a_network_is_not_written_over_the_weights_it_learns_from() -> None:
    encoder = VGG19("tiny.safetensors", padding="replicate")
    with pytest.raises(UserError, match=r"model\.output nope/\.\./tiny\.safetensors is one of the files read"):
        FastStyleTransfer(encoder, style=GramStyleLoss(["relu1_1"]), output="nope/../tiny.safetensors")
    assert main(["fit", "--config", str(CONFIGS / "fast_starry.yaml"), "--data.folder", "in", "--data.style", "me.png",
                 "--model.encoder.weights", "tiny.safetensors", "--model.output", "tiny.safetensors"]) == 2  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("written", ["me.png", "nope/../me.png", "hard.png", "soft.png", "mask.png"])
@pytest.mark.parametrize("animated", [False, True])
def test_from_python_neither(written: str, animated: bool) -> None:
    before = files()
    model = StyleTransfer(VGG19("tiny.safetensors", padding="replicate"), variation=TotalVariationLoss())
    data = TransferData("me.png", sizes=[24], steps=1, init="mask.png")
    settings = {"callbacks": [Animation(written)]} if animated else {}
    with pytest.raises(UserError, match="is one of the pictures read; choose another name"):
        fit(model, data, accelerator="cpu", output=None if animated else written, **settings)
    assert files() == before
