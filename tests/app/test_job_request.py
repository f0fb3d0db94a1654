"""What visitors may ask for, and the command that does the same."""

from __future__ import annotations

import shlex
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from nst_lightning.app.job_request import JobRequest, PaintOptions, as_argument, read_options
from nst_lightning.app.limits import Limits, RefusalError
from nst_lightning.data.schedule import steps_per_level
from nst_lightning.jobs.pictures import QUALITIES
from nst_lightning.runs.config_files import find_config
from nst_lightning.runs.fit_command import resolve_settings

LIMITS = Limits(size=1024)


def request(options: PaintOptions, content: str = "town", style: str = "starry") -> JobRequest:
    return JobRequest(
        "id", options, f"sample:{content}", f"sample:{style}", (f"sample:{content}", f"sample:{style}"), Path("job"), 1
    )


def named(content: str, style: str) -> JobRequest:
    """A request for two files that a visitor calls so."""
    return JobRequest(
        "id", PaintOptions(), "/page/uploads/ab-1", "/page/uploads/-cd_2", (content, style), Path("job"), 9
    )


@pytest.mark.parametrize("name", QUALITIES.values())
def test_defaults_are_those_of_the_shipped_configs(name: str) -> None:
    config = yaml.safe_load(Path(find_config(f"configs/{name}.yaml")).read_text())
    assert config["data"]["init_args"]["size"] == PaintOptions().size
    assert not [word for word in PaintOptions().argv("a", "b", "c") if word.startswith("--model")]
    assert config["seed_everything"] == PaintOptions().seed


def test_the_command_says_what_the_options_say() -> None:
    options = PaintOptions(320, 2.5, True, "fine", "noise", 0.5, 3.25, 7)
    words = shlex.split(request(options, style="mosaic").command())
    settings = resolve_settings(words[1:])
    model, data = settings["model"]["init_args"], settings["data"]["init_args"]
    assert words[0] == "nst"
    assert settings["seed_everything"] == 7
    assert settings["output"]["path"] == "town-mosaic.png"
    shipped = yaml.safe_load(Path(find_config("configs/quality.yaml")).read_text())["model"]["init_args"]
    assert model["style"]["init_args"]["weight"] == 2.5 * shipped["style"]["init_args"]["weight"]
    assert model["encoder"]["init_args"]["weights"] == shipped["encoder"]["init_args"]["weights"]
    assert model["variation"]["init_args"]["weight"] == 3.25 / 2 * shipped["variation"]["init_args"]["weight"]
    assert (
        data
        | {
            "content": "sample:town",
            "style": "sample:mosaic",
            "size": 320,
            "preserve_color": "luminance",
            "init": "noise",
            "style_scale": 0.5,
        }
        == data
    )


def test_a_picture_that_was_painted_on_is_a_command_for_each_time() -> None:
    line = request(PaintOptions(prolonged=((20, 10, 15), (20, 10, 22)))).command()
    first, *further = [shlex.split(part) for part in line.split(" && ")]
    assert further == [
        [*first[:-2], "--data.steps", steps, "--ckpt_path", "last", *first[-2:]]
        for steps in ("[20, 10, 15]", "[20, 10, 22]")
    ]
    settings = resolve_settings(further[0][1:-4])
    assert settings["data"]["init_args"]["steps"] == [20, 10, 15]


def test_a_picture_that_was_stopped_is_a_command_that_stops_there() -> None:
    line = request(PaintOptions(prolonged=((20, 10, 15),))).command(stopped_after=33)
    first, second = [shlex.split(part) for part in line.split(" && ")]
    assert "--trainer.max_steps" not in first
    assert second[second.index("--trainer.max_steps") + 1] == "33"


@pytest.mark.slow
@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("levels", [1, 4])
def test_the_steps_are_those_that_the_command_has(quality: str, levels: int) -> None:
    words = shlex.split(request(PaintOptions(quality=quality)).command())
    data = resolve_settings(words[1:])["data"]["init_args"]
    assert PaintOptions(quality=quality).total_steps(levels) == sum(
        steps_per_level(data["steps"], data["first_steps"], levels)
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "me.jpg",
        "my cat's.jpg",
        "$(rm -rf ~).png",
        "--config.png",
        "[a].jpg",
        "null",
        "~.png",
        "1.5",
        'a"b.png',
        "./sample:town",
    ],
)
def test_any_file_name_comes_through_shell_and_parser_as_that_file(name: str) -> None:
    words = shlex.split(named(name, name).command())
    data = resolve_settings(words[1:])["data"]["init_args"]
    assert data["content"] in (name, f"./{name}")
    assert data["style"] == data["content"]


def test_result_names_are_plain() -> None:
    assert request(PaintOptions()).file_name == "town-starry.png"
    assert named("Mein Häuschen (1).jpeg", "../../etc/passwd").file_name == "Mein-H-uschen-1-etc-passwd.png"
    assert named("語.png", "b.c.jpg").file_name == "picture-b-c.png"


def test_a_file_of_a_samples_name_is_not_the_sample() -> None:
    assert as_argument("sample:town", "sample:town") == "sample:town"
    assert as_argument("/tmp/page/uploads/abc", "sample:town") == "./sample:town"
    assert as_argument("/tmp/page/uploads/abc", "me.png") == "me.png"


HERE = {
    "--data.max_pixels": "9",
    "--trainer.enable_progress_bar": "false",
    "--trainer.default_root_dir": "job",
    "--trainer.logger": "false",
}
"""What a run of the page's has beside the words that are shown."""


def pairs(words: list[str]) -> dict[str, str]:
    assert words[1] == "--config"
    assert len(set(words[1::2])) == len(words) // 2  # each option is there once
    return dict(zip(words[1::2], words[2::2], strict=True))


def without_checkpoint(words: list[str]) -> list[str]:
    """Leave out `--ckpt_path last`: the parser looks for it."""
    return [word for word in words if word not in ("--ckpt_path", "last")]


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        PaintOptions(),
        PaintOptions(320, 2.5, True, "fine", "noise", 0.5, 3.25, 7),
        PaintOptions(prolonged=((20, 10, 15), (20, 10, 22))),
    ],
)
def test_what_is_shown_is_what_runs_but_for_paths(options: PaintOptions) -> None:
    asked = replace(named("me.png", "it.png"), options=options)
    *_, shown = [shlex.split(part) for part in asked.command().split(" && ")]
    run = asked.argv()
    assert shown[:2] == ["nst", run[0]]
    files = {
        "--data.content": "/page/uploads/ab-1",
        "--data.style": "/page/uploads/-cd_2",
        "--output.path": "job/picture.png",
    }
    assert pairs(run) == {**pairs(shown[1:]), **files, **HERE}
    # To the parser, too: no word is lost or taken for another's.
    said, done = (resolve_settings(without_checkpoint(words)) for words in (shown[1:], run))
    data = {"content": files["--data.content"], "style": files["--data.style"], "max_pixels": 9}
    assert done["model"] == said["model"]
    assert done["data"]["init_args"] == {**said["data"]["init_args"], **data}
    assert done["seed_everything"] == said["seed_everything"]


def test_what_was_stopped_goes_on_from_its_checkpoint(tmp_path: Path) -> None:
    asked = replace(request(PaintOptions()), folder=tmp_path)
    assert "--ckpt_path" not in asked.argv()
    checkpoint = tmp_path / "lightning_logs" / "starry" / "version_0" / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"")
    assert pairs(asked.argv())["--ckpt_path"] == "last"
    assert "--ckpt_path" not in asked.command()


def test_the_painting_in_one_pass_that_is_shown_is_what_runs_but_for_paths() -> None:
    asked = replace(
        named("me.png", "it.png"), options=PaintOptions(strength=3, brush=2, keep_colors=True, instant=True)
    )
    shown, run = shlex.split(asked.command()), asked.argv()
    assert shown[:2] == ["nst", run[0]]
    assert pairs(shown[1:])["--model.strength"] == "1"
    here = {"--data.max_pixels": "9", "--data.num_workers": "0", "--trainer.enable_progress_bar": "false"}
    files = {
        "--data.images": "/page/uploads/ab-1",
        "--data.style": "/page/uploads/-cd_2",
        "--output.folder": "job/painted",
    }
    assert pairs(run) == {**pairs(shown[1:]), **files, **here}


BLEND = JobRequest(
    "id",
    PaintOptions(weights=(2, 1)),
    "/page/uploads/ab-1",
    "sample:starry",
    ("me.png", "sample:starry", "it's.png"),
    Path("job"),
    9,
    ("/page/uploads/-cd_2",),
    ("/page/uploads/m1", "/page/uploads/m2"),
)


@pytest.mark.parametrize("instant", [False, True])
def test_several_styles_have_their_weights_and_masks(instant: bool) -> None:
    asked = replace(BLEND, options=replace(BLEND.options, instant=instant), masks=() if instant else BLEND.masks)
    shown, run = pairs(shlex.split(asked.command())[1:]), pairs(asked.argv())
    assert yaml.safe_load(shown["--data.style"]) == ["sample:starry", "./it's.png"]
    assert yaml.safe_load(run["--data.style"]) == ["sample:starry", "/page/uploads/-cd_2"]
    assert yaml.safe_load(run["--data.style_weights"]) == [2, 1]
    assert shown["--data.style_weights"] == run["--data.style_weights"]
    if not instant:
        assert yaml.safe_load(shown["--data.guides"]) == ["./mask-1.png", "./mask-2.png"]
        assert yaml.safe_load(run["--data.guides"]) == list(asked.masks)
        assert asked.shown_names["/page/uploads/m2"] == "./mask-2.png"
        assert asked.file_name == "me-starry-it-s.png"
    assert "--data.style_weights" not in replace(asked, options=replace(asked.options, weights=(3, 3))).command()


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("it.png", """--data.style "['sample:starry', 'it.png']" --data.style_weights '[2, 1]'"""),
        ("it's.png", """--data.style "['sample:starry', './it''s.png']" """),
        ("5\" $HOME `id` \\ it's!.png", "--data.style '["),
    ],
)
def test_lists_of_a_shown_command_are_legible_and_a_shell_reads_them(name: str, shown: str) -> None:
    command = replace(BLEND, names=("me.png", "sample:starry", name)).command()
    assert shown in command
    words = subprocess.check_output(["bash", "-c", f"printf '%s\\0' {command}"], text=True).split("\0")[:-1]
    assert words == shlex.split(command)
    styles = pairs(words[1:])["--data.style"]
    assert yaml.safe_load(styles) == ["sample:starry", name if name == "it.png" else f"./{name}"]


def test_what_begins_with_a_painting_in_one_pass_is_two_commands() -> None:
    asked = replace(named("my cat.gif", "it.png"), options=PaintOptions(start="instant")).begun_with_instant()
    first, second = [shlex.split(part) for part in asked.command().split(" && ")]
    assert pairs(first[1:])["--output.folder"] == "painted"
    assert pairs(second[1:])["--data.init"] == "painted/my cat.png"
    assert pairs(asked.argv())["--data.init"] == "job/instant/picture.png"
    data = resolve_settings(second[1:])["data"]["init_args"]
    assert (data["min_size"], data["first_steps"], data["steps"]) == (256, 36, 36)
    assert asked.options.total_steps(3) == 3 * 36
    assert asked.beginning is not None
    assert asked.beginning.request is not None
    run = asked.beginning.request.argv()
    assert pairs(run)["--output.folder"] == "job/instant/painted"


@pytest.mark.parametrize(
    ("asked", "word"),
    [
        ({"size": 1025}, "1024"),
        ({"size": 15}, "16"),
        ({"size": 512.0}, "whole"),
        ({"size": "512"}, "whole"),
        ({"size": True}, "whole"),
        ({"strength": float("nan")}, "0.01"),
        ({"strength": 1e9}, "100"),
        ({"smoothness": -1}, "0"),
        ({"seed": 2**32}, "whole"),
        ({"quality": "best"}, "draft"),
        ({"quality": ["draft"]}, "draft"),
        ({"start": "/etc/passwd"}, "content"),
        ({"encoder": "/tmp/evil.pth"}, "encoder"),
        ({"keep_colors": "yes"}, "true"),
        ({"prolonged": [[10**9]]}, "prolonged"),
        ({"begins_at": 1}, "begins_at"),
        ({"instant": 1}, "instant"),
        ({"weights": 1}, "weights"),
        ({"weights": [1] * 5}, "4"),
        ({"weights": [1, float("inf")]}, "100"),
        ({"weights": [0, 0]}, "raise one"),
        ({"__class__": 1}, "__class__"),
    ],
)
def test_what_is_out_of_range_is_refused_with_the_range(asked: dict[str, Any], word: str) -> None:
    with pytest.raises(RefusalError) as refused:
        read_options(asked, LIMITS)
    assert refused.value.status == 400
    assert word in refused.value.line


def test_all_fields_are_taken_over() -> None:
    asked = {
        "size": 256,
        "strength": 0.5,
        "keep_colors": True,
        "quality": "draft",
        "start": "style",
        "brush": 2,
        "smoothness": 0,
        "seed": 3,
        "instant": True,
        "weights": [1, 0.5],
    }
    options = PaintOptions(256, 0.5, True, "draft", "style", 2.0, 0.0, 3, instant=True, weights=(1.0, 0.5))
    assert read_options(asked, LIMITS) == options
    assert read_options(options.described(), LIMITS) == options  # the page sends back what it was told
