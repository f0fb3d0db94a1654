"""`nst fit` from the configs, and what a run leaves behind."""

from __future__ import annotations

import io
import logging
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from lightning.pytorch import Trainer
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

import nst_lightning
from nst_lightning.callbacks.image_writer import ImageWriter
from nst_lightning.cli.main import main
from nst_lightning.data.transfer_data import TransferData
from nst_lightning.encoders import VGG19
from nst_lightning.errors import UserError
from nst_lightning.images.files import LONGEST_SIDES
from nst_lightning.losses import ContentLoss, GramStyleLoss, TotalVariationLoss
from tests.helpers.inputs import make_image
from tests.runs.conftest import CONFIGS

RUN = Path("lightning_logs/starry/version_0")
OTHERS = ("distill_compact", "any_style", "fast_starry", "fast_predict")
OURS = sorted(path.name for path in CONFIGS.glob("*.yaml") if path.stem not in OTHERS)


OFFLINE = {"imagenet": "vgg19_normalized"}


@pytest.mark.slow
@pytest.mark.parametrize("config", OURS)
def test_every_config_runs_a_step(config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As shipped, but for weights that would be downloaded."""
    monkeypatch.chdir(tmp_path)
    weights = yaml.safe_load((CONFIGS / config).read_text())["model"]["init_args"]["encoder"]["init_args"]["weights"]
    small = ["--data.sizes", "[32]", "--data.steps", "1", "--data.first_steps", "null", "--trainer.accelerator", "cpu"]
    encoder = ["--model.encoder.weights", OFFLINE.get(weights, weights)]
    assert main(["fit", "--config", str(CONFIGS / config), *small, *encoder]) == 0
    picture = Image.open(next(tmp_path.glob("lightning_logs/*/version_0/stylized.png")))
    assert max(picture.size) == 32


@pytest.mark.slow
def test_the_distillation_config_parses_and_its_class_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its pictures are not part of the project: stand-ins of the same kind take their place."""
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "pictures"
    folder.mkdir()
    for seed in range(4):
        noise = np.random.default_rng(seed).integers(0, 255, (80, 90, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{seed}.png")
    options = ["--data.folder", str(folder), "--data.crop", "64", "--data.batch_size", "2"]
    options += ["--model.widths", "[4,4,4,4,4]"]
    options += ["--trainer.max_steps", "1", "--trainer.accelerator", "cpu", "--trainer.precision", "32-true"]
    options += ["--model.output", "made.safetensors", "--model.normalization_batches", "1"]
    options += ["--trainer.enable_progress_bar", "false"]
    assert main(["fit", "--config", str(CONFIGS / "distill_compact.yaml"), *options]) == 0
    assert VGG19("made.safetensors")(torch.rand(1, 3, 32, 32), ["relu5_4"])["relu5_4"].shape == (1, 4, 2, 2)


@pytest.mark.slow
def test_tensorboard_shows_terms_pictures_and_settings(nst: Callable[..., int]) -> None:
    assert nst("--trainer.log_every_n_steps", "2", "--tensorboard.every_n_steps", "3") == 0
    events = EventAccumulator(str(RUN)).Reload()
    scalars = set(events.Tags()["scalars"])
    layers = ["relu1_1", "relu2_1", "relu3_1", "relu4_1", "relu5_1"]
    assert {f"loss/style/{layer}" for layer in layers} <= scalars
    assert {
        "loss/content/relu4_2",
        "loss/tv",
        "loss/total",
        "learning_rate",
        "pyramid/level",
        "pyramid/size",
    } <= scalars
    value = {tag: events.Scalars(tag)[-1].value for tag in scalars if tag.startswith("loss/")}
    assert value["loss/total"] == pytest.approx(
        value["loss/style"] + value["loss/content"] + value["loss/tv"], rel=1e-5
    )
    assert [e.value for e in events.Scalars("pyramid/size")] == [24, 24, 34]
    assert [e.step for e in events.Images("picture")] == [3, 6]
    assert [(e.width, e.height) for e in events.Images("picture")] == [(24, 18), (34, 26)]
    assert len(events.Images("reference/content")) == len(events.Images("reference/style1")) == 1
    assert [e.step for e in events.Images("picture/final")] == [7]
    session = HParamsPluginData.FromString(events.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    settings = session.session_start_info.hparams
    assert "epoch" not in scalars  # one is the whole schedule
    layout = Layout.FromString(events.Tensors("custom_scalars__config__")[0].tensor_proto.string_val[0])
    first, *others = layout.category
    assert first.title == "losses"
    charts = {chart.title: chart.multiline.tag[0] for chart in first.chart}
    shown = {title: {tag for tag in scalars if re.match(pattern, tag)} for title, pattern in charts.items()}
    assert shown == {
        "all": {"loss/total", "loss/style", "loss/content", "loss/tv"},
        "style by layer": {f"loss/style/{layer}" for layer in layers},
        "content by layer": {"loss/content/relu4_2"},
    }
    patterns = [chart.multiline.tag[0] for category in others for chart in category.chart]
    assert all(any(re.match(pattern, tag) for tag in scalars) for pattern in patterns)
    assert settings["style/weight"].number_value == 20.0
    assert settings["optimizer"].string_value == "OpponentAdam"


def test_a_stopped_run_shows_no_earlier_steps_values_as_its_last(nst: Callable[..., int]) -> None:
    assert nst("--trainer.log_every_n_steps", "2", "--trainer.max_steps", "5") == 0
    events = EventAccumulator(str(RUN)).Reload()
    assert [e.step for e in events.Scalars("loss/total")] == [1, 3]


@pytest.mark.slow
def test_gain_and_offset_change_the_files_alone(nst: Callable[..., int]) -> None:
    assert nst() == 0
    assert nst("--output.gain", "[0.5, 1, 1]", "--output.offset", "[0, 0.25, 0]", "--output.path", "out.png") == 0
    plain, changed = (np.asarray(Image.open(path), np.float64) / 255 for path in (RUN / "stylized.png", "out.png"))
    expected = np.clip(plain * [0.5, 1, 1] + [0, 0.25, 0], 0, 1)
    np.testing.assert_allclose(changed, expected, atol=1 / 255)  # each is rounded once


@pytest.mark.slow
def test_tensorboard_shows_guides_and_the_config(nst: Callable[..., int], content: str) -> None:
    mask = Image.new("L", (40, 30))
    mask.paste(255, (0, 0, 20, 30))
    mask.save("left.png")
    assert nst("--data.guides", "[left.png]", "--data.content_guide", "left.png", "--output.path", "a.png") == 0
    events = EventAccumulator(str(RUN)).Reload()
    shown = Image.open(io.BytesIO(events.Images("guide/region1")[0].encoded_image_string))
    assert np.asarray(shown.convert("L"))[:, :16].min() > 250
    assert np.asarray(shown.convert("L"))[:, 18:].max() < 5
    assert len(events.Images("guide/content")) == 1
    text = events.Tensors("config/text_summary")[0].tensor_proto.string_val[0].decode()
    assert "content_guide: left.png" in text
    head, _, _ = text.partition("```yaml")
    assert head.startswith(f"- **content**: `{content}`\n- **style**: `")
    assert "\n- `data.content_guide None → left.png`\n" in head
    assert "data.content " not in head.replace("`", " ")
    assert "output.path" in head


@pytest.mark.slow
def test_tensorboard_shows_huge_pictures_smaller(nst: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("nst_lightning.callbacks.tensorboard.LARGEST_SIDE", 20)
    assert nst() == 0
    events = EventAccumulator(str(RUN)).Reload()
    sizes = {tag: (events.Images(tag)[0].width, events.Images(tag)[0].height) for tag in events.Tags()["images"]}
    assert sizes == {"reference/content": (20, 15), "reference/style1": (20, 20), "picture/final": (20, 15)}
    assert Image.open(RUN / "stylized.png").size == (34, 26)


@pytest.mark.slow
def test_pictures_are_written_where_asked(nst: Callable[..., int]) -> None:
    assert nst("--output.path", "out/me.jpg", "--output.every_n_steps", "3", "--output.bits", "16") == 0
    assert Image.open("out/me.jpg").format == "JPEG"
    assert Image.open(RUN / "stylized.png").size == (34, 26)
    assert sorted(path.name for path in (RUN / "steps").iterdir()) == ["000003.png", "000006.png"]
    assert (RUN / "stylized.png").read_bytes()[24] == 16  # bit depth in the PNG header


def test_a_size_that_a_format_cannot_hold_is_refused_before_a_step(
    nst: Callable[..., int], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(LONGEST_SIDES, "WEBP", 30)
    assert nst("--output.path", "me.webp") == 2
    assert "expected at most 30 pixels a side in a WEBP file, found 34" in capsys.readouterr().err
    assert not list(RUN.glob("*.png"))


@pytest.mark.slow
def test_the_last_line_says_where_the_picture_is(nst: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    """Standard output has nothing but its path: `p=$(nst …)` works."""
    assert nst("--output.path", "me.png") == 0
    said = capsys.readouterr()
    assert said.out == "me.png\n"
    assert re.fullmatch(
        rf"picture: me\.png \(\d+ s; run: {RUN}; "
        r"more steps: the same command with --ckpt_path last --data\.steps '\[4, 6\]'; "
        r"charts: tensorboard --logdir lightning_logs\)",
        said.err.splitlines()[-1],
    )
    assert nst("--ckpt_path", "last", "--data.steps", "[4, 6]", "--trainer.logger", "false") == 0  # what it advises
    said = capsys.readouterr()
    assert said.out == f"{RUN / 'stylized.png'}\n"
    assert "tensorboard" not in said.err


@pytest.mark.slow
def test_a_stopped_run_says_how_it_goes_on(nst: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert nst("--trainer.max_steps", "5") == 0
    *_, advice, last = capsys.readouterr().err.splitlines()
    assert "stopped at step 5 of 7; continue with the same command" in advice
    assert last.startswith(f"picture: {RUN / 'stylized.png'} (")
    assert "more steps" not in last


@pytest.mark.slow
def test_the_first_line_says_device_precision_and_time(
    nst: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert nst() == 0
    first = capsys.readouterr().err.splitlines()[0]
    assert first.startswith("painting 34×26 pixels in 7 steps over 2 levels with OpponentAdam, learning rate 0.042; ")
    assert first.endswith("float32 on cpu, a few seconds")
    assert nst("--trainer.enable_progress_bar", "false") == 0  # nobody watches: nothing is measured
    assert capsys.readouterr().err.splitlines()[0].endswith("float32 on cpu")


@pytest.mark.slow
@pytest.mark.parametrize("resumed", [False, True])
def test_progress_bar_tells_level_size_loss_speed_and_time(
    resumed: bool, nst: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    if resumed:
        assert nst("--trainer.max_steps", "5") == 0
        capsys.readouterr()
    assert nst(*(["--ckpt_path", "last"] if resumed else [])) == 0
    bar = capsys.readouterr().err
    assert "level 2/2 34×26 100%" in bar
    assert "7/7" in bar
    assert "steps/s" in bar
    assert "00:00 left" in bar
    if resumed:
        assert "1/7" not in bar


@pytest.mark.slow
def test_keep_alpha(nst: Callable[..., int], content: str) -> None:
    picture = Image.open(content).convert("RGBA")
    picture.putalpha(Image.linear_gradient("L").resize(picture.size))
    picture.save("alpha.png")
    assert nst("--data.content", "alpha.png", "--data.keep_alpha", "true") == 0
    made = Image.open(RUN / "stylized.png")
    assert made.mode == "RGBA"
    assert made.getchannel("A").getextrema()[0] < 30


@pytest.mark.slow
def test_a_loss_of_the_users_own_from_yaml(nst: Callable[..., int], monkeypatch: pytest.MonkeyPatch) -> None:
    Path("mine.py").write_text(
        "from nst_lightning import Loss\n"
        "class Brightness(Loss):\n"
        "    reference = 'none'\n"
        "    def __init__(self, wanted: float = 1.0, weight: float = 1.0):\n"
        "        super().__init__(layers=['input'], weight=weight, name='brightness')\n"
        "        self.wanted = wanted\n"
        "    def forward(self, features, targets):\n"
        "        return {'brightness': self.weight * (features['input'].mean() - self.wanted) ** 2}\n"
    )
    Path("mine.yaml").write_text(
        "model:\n  init_args:\n    extra_losses:\n"
        "    - {class_path: mine.Brightness, init_args: {wanted: 1.0, weight: 1.0e+5}}\n"
    )
    monkeypatch.syspath_prepend(str(Path.cwd()))
    means = []
    for options in ([], ["--config", "mine.yaml"]):
        assert nst(*options, "--data.steps", "[20, 20]", "--name", f"run{len(options)}", "--model.average", "0.5") == 0
        picture = np.asarray(Image.open(f"lightning_logs/run{len(options)}/version_0/stylized.png"))
        means.append(picture.mean())
    assert means[1] > means[0] + 40


@pytest.mark.slow
def test_options_win_wherever_they_stand(nst: Callable[..., int]) -> None:
    """The fixture's options say 34 pixels; the config that is named after them must not undo that."""
    Path("more.yaml").write_text("data:\n  init_args:\n    sizes: [30, 40]\n")
    assert nst("--config", "more.yaml") == 0
    assert Image.open(RUN / "stylized.png").size == (34, 26)


@pytest.mark.slow
def test_python_api_does_the_same_as_the_command(
    nst: Callable[..., int], encoder_file: str, content: str, style: str
) -> None:
    assert nst("--output.settings", "false") == 0  # Python's objects have no config to write into the file
    model = nst_lightning.StyleTransfer(
        VGG19(encoder_file, padding="replicate"),
        ContentLoss(),
        GramStyleLoss(weight=20.0),
        TotalVariationLoss(weight=3.0, kind="second_order", chroma=20.0),
        optimizer=partial(nst_lightning.OpponentAdam, lr=0.042, betas=(0.9, 0.9), chroma=0.4, smoothing=(0.7, 0.95)),
        decay=0.05,
        average=0.0,
    )
    data = nst_lightning.TransferData(content, style, sizes=[24, 34], steps=[4, 3])
    result = nst_lightning.fit(model, data, output="api.png", accelerator="cpu")
    assert Path("api.png").read_bytes() == (RUN / "stylized.png").read_bytes()
    assert result.complete
    assert result.path == Path("api.png")


@pytest.mark.slow
def test_saved_config_repeats_the_run(nst: Callable[..., int]) -> None:
    assert nst() == 0
    assert main(["fit", "--config", str(RUN / "config.yaml")]) == 0
    again = RUN.parent / "version_1"
    assert (again / "stylized.png").read_bytes() == (RUN / "stylized.png").read_bytes()


@pytest.mark.processes
def test_help_and_version_do_not_import_torch() -> None:
    program = (
        "import sys; from nst_lightning.cli.main import main; main(['--help']); main(['--version']);"
        "sys.exit('torch' in sys.modules or 'lightning' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "nst fit --config configs/starry.yaml" in done.stdout


def test_print_config_can_be_fed_back(nst: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        nst("--print_config", "--data.size", "300")
    assert stop.value.code == 0
    settings: dict[str, Any] = yaml.safe_load(capsys.readouterr().out)
    assert settings["data"]["init_args"]["size"] == 300


def test_lower_floors_do_not_import_lightning() -> None:
    package = Path(nst_lightning.__file__).parent
    offenders = [
        path
        for floor in ("images", "encoders", "networks", "losses")
        for path in (package / floor).rglob("*.py")
        if any(line.startswith(("import lightning", "from lightning")) for line in path.read_text().splitlines())
    ]
    assert not offenders


@pytest.mark.slow
@pytest.mark.parametrize(("width", "height"), [(400, 20), (20, 400)])
def test_a_panorama_is_painted(
    width: int, height: int, nst: Callable[..., int], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    wide = make_image(Path("wide.png"), width, height, seed=4)
    pyramid = ("--data.sizes", "null", "--data.size", "400", "--data.min_size", "100", "--data.steps", "1")
    assert nst("--data.content", wide, "--data.style", wide, "--data.guides", f"[{wide}]", *pyramid) == 0
    assert f"painting {width}×{height} pixels in 1 steps over 1 levels" in caplog.text  # 16 pixels for relu5_1
    with Image.open("lightning_logs/starry/version_0/stylized.png") as painted:
        assert painted.size == (width, height)


def test_a_picture_of_one_row_is_told_the_size_that_would_do(
    nst: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    line = make_image(Path("line.png"), 200, 1, seed=4)
    assert nst("--data.content", line, "--data.sizes", "null", "--data.size", "200", "--data.steps", "1") == 2
    assert "200×1 pixels is too small for relu5_1" in capsys.readouterr().err


@pytest.mark.slow
def test_without_checkpoints_no_resume_is_promised(nst: Callable[..., int], capsys: pytest.CaptureFixture[str]) -> None:
    assert nst("--trainer.enable_checkpointing=false") == 0
    assert "ckpt_path" not in capsys.readouterr().err
    assert nst("--trainer.enable_checkpointing=false", "--trainer.max_steps=1") == 0
    assert "stopped at step 1 of 7, without a checkpoint to continue from" in capsys.readouterr().err


@pytest.mark.slow
def test_what_was_painted_before_is_not_written_where_the_next_run_fails(
    encoder_file: str, content: str, style: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A module that paints twice: the second run fails before its first step, and the user's files stay."""
    monkeypatch.chdir(tmp_path)
    task = nst_lightning.StyleTransfer(VGG19(encoder_file), ContentLoss(), GramStyleLoss())
    options: dict[str, Any] = {"accelerator": "cpu", "logger": False, "enable_checkpointing": False}
    options["enable_progress_bar"] = False
    Trainer(**options).fit(task, TransferData(content, style, sizes=[24], steps=2))
    before = Path(content).read_bytes()
    trainer = Trainer(**options, callbacks=[ImageWriter(content)])
    with pytest.raises(UserError, match="is one of the pictures read"):
        trainer.fit(task, TransferData(content, style, sizes=[24], steps=2))
    assert Path(content).read_bytes() == before
    Path("other.png").write_bytes(b"finished")
    trainer = Trainer(**options, callbacks=[ImageWriter("other.png")])
    with pytest.raises(UserError, match="too small"):
        trainer.fit(task, TransferData(content, style, sizes=[4], steps=2))
    assert Path("other.png").read_bytes() == b"finished"
