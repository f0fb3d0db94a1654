"""Every mistake of the person at the keyboard: one line, exit code 2, nothing half-written."""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from nst_lightning.cli.main import main
from nst_lightning.runs.config_files import find_configs, shipped_configs

STYLE = "--model.style"
MISTAKES = {
    "missing picture": (["--data.content", "nope.jpg"], "found nothing at nope.jpg"),
    "misspelt picture": (["--data.content", "smal.png"], "did you mean small.png"),
    "folder for a picture": (["--data.content", "."], "found a folder"),
    "text named jpg": (["--data.content", "text.jpg"], "text.jpg"),
    "truncated jpeg": (["--data.style", "cut.jpg"], "cut.jpg"),
    "empty file": (["--data.content", "empty.png"], "0 bytes"),
    "zero by zero": (["--data.content", "zero.png"], "zero.png"),
    "one by one": (["--data.content", "dot.png", "--data.sizes", "[1]", "--data.steps", "2"], "too small for relu5_1"),
    "decompression bomb": (["--data.style", "bomb.png"], "max_pixels"),
    "unknown sample": (["--data.content", "sample:twon"], "did you mean.*town"),
    "too small for the layer": (["--data.sizes", "[8, 34]"], "8×6 pixels is too small for relu5_1, which needs 16"),
    "unknown layer": ([f"{STYLE}.layers", "[relu4_11]"], "no layer 'relu4_11'; did you mean 'relu4_1'"),
    "unknown setting": (["--data.stepz", "4"], "no setting 'stepz' here; did you mean steps"),
    "unknown further argument": (
        [f"{STYLE}.dict_kwargs.weigth=3"],
        "--model.style.dict_kwargs.weigth: GramStyleLoss has no parameter weigth; did you mean weight",
    ),
    "further argument of the data": (["--data.dict_kwargs", "{x: 1}"], "--data.dict_kwargs.x: TransferData has no"),
    "unknown option": (["--trainer.max_stepss", "4"], "did you mean --trainer.max_steps"),
    "unknown class": (["--model.optimizer", "torch.optim.Adamm"], "did you mean Adam"),
    "unknown choice": ([f"{STYLE}.convention", "gatys"], "did you mean gatys2015"),
    "wrong type": (["--data.steps", "many"], "data.steps: expected int or expected list, but many was given"),
    "unknown precision": (["--trainer.precision", "16-mixd"], "did you mean 16-mixed"),
    "unknown accelerator": (["--trainer.accelerator", "gpuu"], "gpuu.*Available names"),
    "devices in letters": (["--trainer.devices", "abc"], "`devices` selected with `CPUAccelerator` should be an int"),
    "negative devices": (["--trainer.devices=-5"], "`devices` selected with `CPUAccelerator` should be an int"),
    "no nodes": (["--trainer.num_nodes", "0"], "`num_nodes` must be a positive integer"),
    "unknown strategy": (["--trainer.strategy", "nonsense"], "invalid strategy name: `strategy='nonsense'`"),
    "two devices, sharded": (["--trainer.devices", "2", "--trainer.strategy", "fsdp"], "`fsdp` requires a GPU"),
    "unknown weights": (["--model.encoder.weights", "imagenett"], "did you mean 'imagenet'"),
    "negative weight": ([f"{STYLE}.weight", "-1"], "0 or more, found -1"),
    "average of one": (["--model.average", "1"], "decay from 0"),
    "no loss": ([STYLE, "null", "--model.content", "null", "--model.variation", "null"], "nothing to optimize"),
    "style loss without style": (["--data.style", "null"], "the loss 'style' compares with a style picture"),
    "init without content": (["--data.content", "null"], "data.init is recolored, but"),
    "sizes descend": (["--data.sizes", "[34, 24]"], "ascending"),
    "size zero": (["--data.sizes", "null", "--data.size", "0", "--data.steps", "2"], "at least 1"),
    "steps for other levels": (["--data.steps", "[1, 2, 3]"], "3 numbers for 2 levels"),
    "weights for other styles": (["--data.style_weights", "[1, 2]"], "2 numbers for 1 styles"),
    "style scale zero": (["--data.style_scale", "0"], "above 0"),
    "unknown suffix": (["--output.path", "x.gif"], "x.gif"),
    "output below a file": (["--output.path", "small.png/x.png"], "can be written to"),
    "picture every 0 steps": (["--output.every_n_steps", "0"], "at least 1"),
    "checkpoint every 0 steps": (["--checkpoint.every_n_steps", "0"], "at least 1"),
    "TensorBoard every 0 steps": (["--tensorboard.every_n_steps", "0"], "at least 1"),
    "half precision throughout": (["--trainer.precision", "bf16-true"], "use one of 32-true, bf16-mixed"),
    "two epochs": (["--trainer.max_epochs", "2"], "raise data.steps"),
    "accumulated gradients": (["--trainer.accumulate_grad_batches", "2"], "nothing to accumulate"),
    "output over the content": (
        ["--data.content", "dot.png", "--output.path", "dot.png"],
        "one of the pictures read",
    ),
    "init misspelt": (["--data.init", "contnet"], "one_pass or a picture, but"),
    "a mask too few": (["--data.style", "[small.png, small.png]", "--data.guides", "[small.png]"], "1 masks for 2"),
    "missing mask": (["--data.guides", "[mask.png]"], "found nothing at mask.png"),
    "mask of another shape": (["--data.guides", "[small.png]"], "shape of its picture, 40×30, found small.png"),
    "region that vanishes": (
        ["--data.guides", "[corner.png]", "--model.guide_propagation", "inside"],
        "the guide corner.png has no pixels left at relu",
    ),
    "unknown colours": (["--data.preserve_color", "lumnance"], "did you mean luminance"),
    "colour strength": (["--data.preserve_color", "pca", "--data.color_strength", "2"], "from 0 to 1"),
    "tile size zero": (["--model.tile_size", "0"], "at least 1 pixel, auto or null"),
    "animation suffix": (["--animation.path", "run.mkv"], "run.mkv"),
    "nothing to resume": (["--ckpt_path", "last"], "found no checkpoint"),
    "text for a checkpoint": (["--ckpt_path", "text.jpg"], "damaged or not a checkpoint"),
    "seed below 0": (["--seed_everything", "-1"], "seed_everything: -1 is not in bounds"),
    "name that leads out": (["--name", "../../x"], "leads out of lightning_logs"),
    "folder that is a file": (["--trainer.default_root_dir", "text.jpg"], "can be written to"),
    "runs below a file": (["--trainer.default_root_dir", "text.jpg/a"], "_root_dir says where runs are"),
    "group's name alone is alike": (["--trainer.nosuch", "3"], "there is no option --trainer.nosuch$"),
    "fast_dev_run": (["--trainer.fast_dev_run", "true"], "set data.steps to 1"),
    "no step": (["--trainer.max_steps", "0"], "not a step was done"),
    "learning rate": (
        ["--model.optimizer", "SGD", "--model.optimizer.lr", "-1"],
        "can't be made: Invalid learning rate",
    ),
    "schedule too short": (
        [
            "--model.lr_scheduler",
            "OneCycleLR",
            *("--model.lr_scheduler.max_lr", "1", "--model.lr_scheduler.total_steps", "3"),
        ],
        "ends after 3 steps, but the run has 7",
    ),
    "schedule that waits": (
        [
            "--model.lr_scheduler",
            "lightning.pytorch.cli.ReduceLROnPlateau",
            "--model.lr_scheduler.monitor",
            "loss/total",
        ],
        "can't wait for a metric",
    ),
    "style too small": (["--data.style_scale", "0.1"], "style 1: a picture of 2×2 .* follows data.style_scale"),
    "data of another model": (
        ["--data", "FolderImages", "--data.folder", "."],
        "StyleTransfer learns from TransferData",
    ),
    "missing config": (["--config", "configs/stary.yaml"], "did you mean configs/starry.yaml"),
    "broken config": (["--config", "broken.yaml"], "broken.yaml is not valid YAML"),
}


@pytest.fixture
def bad_files(nst: Callable[..., int]) -> None:
    """Put damaged files into the folder that `nst` runs in."""
    Path("text.jpg").write_text("not a picture")
    Path("empty.png").touch()
    Path("broken.yaml").write_text("model: [1, {\n")
    Image.new("RGB", (1, 1)).save("dot.png")
    picture = Image.effect_noise((64, 64), 80).convert("RGB")
    picture.save("small.png")
    picture.save("whole.jpg")
    corner = Image.new("L", (40, 30))
    corner.paste(255, (0, 0, 8, 8))
    corner.save("corner.png")
    Path("cut.jpg").write_bytes(Path("whole.jpg").read_bytes()[:900])
    for name, side in (("zero.png", 0), ("bomb.png", 30_000)):
        header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
        chunks = b"".join(
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
            for kind, body in ((b"IHDR", header), (b"IDAT", zlib.compress(b"")), (b"IEND", b""))
        )
        Path(name).write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.slow
@pytest.mark.usefixtures("bad_files")
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake: str, nst: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    options, message = MISTAKES[mistake]
    assert nst(*options) == 2
    out, err = capsys.readouterr()
    assert "Traceback" not in err + out
    lines = [line for line in err.splitlines() if line.startswith("nst: ")]
    assert len(lines) == 1, err
    assert lines[0] == err.splitlines()[-1]
    assert re.search(message, lines[0]), lines[0]
    assert len(lines[0]) < 350, lines[0]
    left = {path.name for path in Path().rglob("*") if path.is_file()}
    assert not [name for name in left if "partial" in name or name in ("stylized.png", "last.ckpt", "x.png")]


def test_an_unknown_command_names_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fitt"]) == 2
    assert "the commands are fit" in capsys.readouterr().err


@pytest.mark.parametrize("given", ["configs/starry.yaml", "starry.yaml", "starry"])
def test_configs_are_found_from_any_folder(given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel's user has no `configs/` beside them: the shipped one is taken."""
    monkeypatch.chdir(tmp_path)
    shipped = str(shipped_configs() / "starry.yaml")
    assert find_configs(["--config", given]) == [f"--config={shipped}"]
    assert find_configs([f"--config={given}"]) == [f"--config={shipped}"]
    assert find_configs(["--data.size", "64"]) == [f"--config={shipped}", "--data.size", "64"]
    assert find_configs(["--data.size", "64", "-c", given, "--help"]) == [
        *(f"--config={shipped}", "--data.size", "64", "--help")  # configs first, so that options win
    ]
    Path("starry.yaml").write_text("seed_everything: 1\n")
    assert find_configs(["-c", "starry.yaml"]) == ["--config=starry.yaml"]  # one's own file comes first
