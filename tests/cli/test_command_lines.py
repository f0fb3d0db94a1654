"""How the command lines of batch, sweep and video are read: the parses of 2026-11-28, before there was one parser."""

# ruff: noqa: E501 - a message is one line

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from nst_lightning.cli.batch import read_batch_request
from nst_lightning.cli.sweep import read_sweep_request
from nst_lightning.cli.video import read_video_request
from nst_lightning.errors import UserError
from nst_lightning.runs.config_files import shipped_configs

Line = Mapping[str, "dict[str, Any] | str"]
"""From a command line to what differs from the defaults, or to the message that refuses it."""

SWEEP_DEFAULTS = {
    "name": "starry-sweep",
    "base": ["--config=starry.yaml"],
    "grid": {},
    "sheet": ["", 256, []],
    "jobs": 1,
    "cluster": None,
}
SWEEP: Line = {
    "": {},
    "--grid.seed '[1, 2]'": {"grid": {"seed": [1, 2]}},
    "--grid.seed=[1,2]": {"grid": {"seed": [1, 2]}},
    "'--grid.seed=[1, 2]'": {"grid": {"seed": [1, 2]}},
    "--grid.seed '[1]' --grid.seed '[2]'": {"grid": {"seed": [2]}},
    "--grid.seed '{one: 1}' --grid.model.style.weight=[3] --data.size 64": {
        "base": ["--config=starry.yaml", "--data.size", "64"],
        "grid": {"seed": {"one": 1}, "model.style.weight": [3]},
    },
    "--grid.model.init_args.style.init_args.weight '[1]'": {"grid": {"model.init_args.style.init_args.weight": [1]}},
    "--grid.seed -1": {"grid": {"seed": -1}},
    "--grid.lr -0.5": {"grid": {"lr": -0.5}},
    "--grid.lr=-1e-3": {"grid": {"lr": "-1e-3"}},
    "--grid.lr -1e-3": {"grid": {"lr": "-1e-3"}},
    "--grid.seed": "--grid.seed wants a value; see nst sweep --help.",
    "--grid.seed=": {"grid": {"seed": None}},
    "--grid.seed '[1'": "--grid.seed is not valid YAML: while parsing a flow sequence in \"<unicode string>\", line 1, column 1 did not find expected ',' or ']' in \"<unicode string>\", line 2, column 1.",
    "--grid. x": {"base": ["--config=starry.yaml", "--grid.", "x"]},
    "--grid x": {"base": ["--config=starry.yaml", "--grid", "x"]},
    "--config lbfgs": {"name": "lbfgs-sweep", "base": ["--config=lbfgs.yaml"]},
    "--config=lbfgs": {"name": "lbfgs-sweep", "base": ["--config=lbfgs.yaml"]},
    "-c lbfgs": {"name": "lbfgs-sweep", "base": ["--config=lbfgs.yaml"]},
    "-c=lbfgs": {"name": "lbfgs-sweep", "base": ["--config=lbfgs.yaml"]},
    "--config lbfgs --config texture": {
        "name": "lbfgs-sweep",
        "base": ["--config=lbfgs.yaml", "--config=texture.yaml"],
    },
    "-c lbfgs --config=configs/texture.yaml --data.size=64": {
        "name": "lbfgs-sweep",
        "base": ["--config=lbfgs.yaml", "--config=texture.yaml", "--data.size=64"],
    },
    "--config inits": {
        "name": "inits",
        "base": ["--config=quick.yaml", "--data.size=256", "--model.style.weight=5"],
        "grid": {"init": ["content", "recolored", "noise", "style", "grey"]},
        "sheet": ["What the picture starts from", 256, []],
    },
    "--config inits --name mine --jobs 3": {
        "name": "mine",
        "base": ["--config=quick.yaml", "--data.size=256", "--model.style.weight=5"],
        "grid": {"init": ["content", "recolored", "noise", "style", "grey"]},
        "sheet": ["What the picture starts from", 256, []],
        "jobs": 3,
    },
    "--config inits --config optimizers": "--config names two sweeps, sweeps/inits.yaml and sweeps/optimizers.yaml; give one.",
    "--config": "--config wants a value; see nst sweep --help.",
    "-c": "--config wants a value; see nst sweep --help.",  # then: -c wants
    "--config nothing": "--config nothing is not a file",
    "--name a/b": {"name": "a/b"},
    "--name=a --name=b": {"name": "b"},
    "--name ''": {},
    "--name=": {},
    "--name ../out": "--name ../out leads out of lightning_logs; give a plain name.",
    "--name -x": {"name": "-x"},
    "--name=-x": {"name": "-x"},
    "--name": "--name wants a value; see nst sweep --help.",
    "--jobs 2": {"jobs": 2},
    "--jobs=2": {"jobs": 2},
    "--jobs 0": "--jobs wants a whole number from 1 up, but 0 was given.",
    "--jobs -3": "--jobs wants a whole number from 1 up, but -3 was given.",
    "--jobs=two": "--jobs wants a whole number from 1 up, but two was given.",
    "--jobs 1.5": "--jobs wants a whole number from 1 up, but 1.5 was given.",
    "--sheet.size 64": {"sheet": ["", 64, []]},
    "--sheet.size=64 --sheet.title 'A b' --sheet.steps '[10, 20]'": {"sheet": ["A b", 64, [10, 20]]},
    "'--sheet.title=A b'": {"sheet": ["A b", 256, []]},
    "--sheet.title -x": {"sheet": ["-x", 256, []]},
    "--sheet.title '- x y'": {"sheet": ["['x y']", 256, []]},
    "--sheet.size 8": "sheet.size wants a whole number from 32 up, but 8 was given.",
    "--sheet.steps 10": "sheet.steps wants a list of steps, such as '[100, 200]', but 10 was given.",
    "--sheet.sise 3": "there is no setting sheet.sise; there are sheet.title, sheet.size, sheet.steps.",
    "--sheet.steps '[1'": "--sheet.steps is not valid YAML: while parsing a flow sequence in \"<unicode string>\", line 1, column 1 did not find expected ',' or ']' in \"<unicode string>\", line 2, column 1.",
    "--output.path x.png": "--output.path can't be given to a sweep: each run writes stylized.png into its own folder.",
    "--output.path=x.png": "--output.path can't be given to a sweep: each run writes stylized.png into its own folder.",
    "--output.path": "--output.path can't be given to a sweep: each run writes stylized.png into its own folder.",
    "--animation.path a.gif": "--animation.path can't be given to a sweep: all runs would write the same file; give it to nst fit.",
    "--print_config": "--print_config can't be given to a sweep: it has many; give it to nst fit.",
    "--print_config=comments": "--print_config can't be given to a sweep: it has many; give it to nst fit.",
    "--ckpt_path last": "--ckpt_path can't be given to a sweep: a sweep that is started again goes on by itself.",
    "--data.content a.jpg": {"base": ["--config=starry.yaml", "--data.content", "a.jpg"]},
    "--data.size 64 --grid.seed '[1]' --data.steps '[1, 2]' --jobs 2 --output.bits=16": {
        "base": ["--config=starry.yaml", "--data.size", "64", "--data.steps", "[1, 2]", "--output.bits=16"],
        "grid": {"seed": [1]},
        "jobs": 2,
    },
    "--grid.seed '[1]' '--data.steps=[1, 2]' --model.style.layers '[relu1_1, relu2_1]'": {
        "base": ["--config=starry.yaml", "--data.steps=[1, 2]", "--model.style.layers", "[relu1_1, relu2_1]"],
        "grid": {"seed": [1]},
    },
    "--grid.seed '[1]' '--data.content=my photo.jpg' --jobs 2": {
        "base": ["--config=starry.yaml", "--data.content=my photo.jpg"],
        "grid": {"seed": [1]},
        "jobs": 2,
    },
    "--data.flag --grid.seed '[1]' stray": {
        "base": ["--config=starry.yaml", "--data.flag", "stray"],
        "grid": {"seed": [1]},
    },
    "--data.offset -5 --jobs 2": {"base": ["--config=starry.yaml", "--data.offset", "-5"], "jobs": 2},
    "--data.offset -x --jobs 2": {"base": ["--config=starry.yaml", "--data.offset", "-x"], "jobs": 2},
    "--job 2": {"base": ["--config=starry.yaml", "--job", "2"]},
    "--gird.seed '[1]'": {"base": ["--config=starry.yaml", "--gird.seed", "[1]"]},
}

BATCH_DEFAULTS = {
    "configs": ["starry.yaml"],
    "base": [],
    "contents": [],
    "styles": [],
    "match": "product",
    "manifest": None,
    "output": "starry-batch",
    "name": "starry-batch",
    "contact_sheet": None,
    "keep_checkpoints": False,
    "cluster": None,
}
BATCH: Line = {
    "": {},
    "--contents a.jpg --styles b.jpg": {"contents": ["a.jpg"], "styles": ["b.jpg"]},
    "--contents=a.jpg --styles=b.jpg": {"contents": ["a.jpg"], "styles": ["b.jpg"]},
    "--contents a.jpg b.jpg --styles c.jpg d.jpg e.jpg": {
        "contents": ["a.jpg", "b.jpg"],
        "styles": ["c.jpg", "d.jpg", "e.jpg"],
    },
    "--contents a.jpg b.jpg --contents c.jpg --contents=d.jpg": {"contents": ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]},
    "'--contents=a b.jpg' --styles 'c d.jpg' e.jpg": {"contents": ["a b.jpg"], "styles": ["c d.jpg", "e.jpg"]},
    "--contents a.jpg '--data.sizes=[24, 32]' --styles b.jpg": {
        "base": ["--data.sizes=[24, 32]"],
        "contents": ["a.jpg"],
        "styles": ["b.jpg"],
    },
    "--contents a.jpg b.jpg '--data.style_weights=[0.3, 0.7]'": {
        "base": ["--data.style_weights=[0.3, 0.7]"],
        "contents": ["a.jpg", "b.jpg"],
    },
    "--contents a.jpg --data.size 64 b.jpg": {"base": ["--data.size", "64", "b.jpg"], "contents": ["a.jpg"]},
    "--contents a.jpg stray --output out more": {"base": ["more"], "contents": ["a.jpg", "stray"], "output": "out"},
    "--contents=a.jpg b.jpg": {"base": ["b.jpg"], "contents": ["a.jpg"]},
    "--contents -x.jpg": {"contents": ["-x.jpg"]},
    "--contents=-x.jpg": {"contents": ["-x.jpg"]},
    "--contents -1": {"contents": ["-1"]},
    "--contents '-x y.jpg' z.jpg": {"contents": ["-x y.jpg", "z.jpg"]},
    "--contents --styles a": "--contents wants a value; see nst batch --help.",
    "--contents": "--contents wants a value; see nst batch --help.",
    "--contents=": {"contents": [""]},
    "--styles": "--styles wants a value; see nst batch --help.",
    "--match pairs": {"match": "pairs"},
    "--match=product": {},
    "--match pair": "--match: expected one of product, pairs, found 'pair'; did you mean 'pairs'?",
    "--match": "--match wants a value; see nst batch --help.",
    "--match pairs --match product": {},
    "--manifest a.csv": {"manifest": "a.csv"},
    "--manifest=a.csv --data.size 64": {"base": ["--data.size", "64"], "manifest": "a.csv"},
    "--manifest a.csv --styles x": "--manifest says which pairs there are, so --styles can't be given as well; leave one.",
    "--manifest a.csv --contents x": "--manifest says which pairs there are, so --contents can't be given as well; leave one.",
    "--manifest a.csv --match pairs": "--manifest says which pairs there are, so --match can't be given as well; leave one.",
    "--manifest=": {"manifest": "."},
    "--manifest ~nobody-here/x.csv": "expected a path, found ~nobody-here/x.csv, but nobody's home is ~nobody-here; check it",
    "--output out": {"output": "out"},
    "--output=a --output b": {"output": "b"},
    "--output=": {},
    "--output -x": {"output": "-x"},
    "--output": "--output wants a value; see nst batch --help.",
    "--output ~nobody-here/x": "expected a path, found ~nobody-here/x, but nobody's home is ~nobody-here; check it",
    "--output.bits=16 --output out": {"base": ["--output.bits=16"], "output": "out"},
    "--name many": {"output": "many", "name": "many"},
    "--name=": {},
    "--name ../x": "--name ../x leads out of lightning_logs; give a plain name.",
    "--name -x": {"output": "-x", "name": "-x"},
    "--contact_sheet s.png": {"contact_sheet": "s.png"},
    "--contact_sheet=s.png": {"contact_sheet": "s.png"},
    "--contact_sheet s.gif": "expected an output file ending in .png, .jpg, .jpeg, .webp, .tif, .tiff, found 's.gif'; change the suffix",
    "--contact_sheet": "--contact_sheet wants a value; see nst batch --help.",
    "--keep_checkpoints": {"keep_checkpoints": True},
    "--keep_checkpoints=true": {"keep_checkpoints": True},
    "--keep_checkpoints=false": {},
    "--keep_checkpoints --keep_checkpoints=false": {"keep_checkpoints": True},
    "--keep_checkpoints=yes": "--keep_checkpoints: expected one of true, false, found 'yes'; choose for example 'true'",
    "--keep_checkpoints=": "--keep_checkpoints: expected one of true, false, found ''; choose for example 'true'",
    "--keep_checkpoints --contents a.jpg": {"contents": ["a.jpg"], "keep_checkpoints": True},
    "--config lbfgs --contents a": {
        "configs": ["lbfgs.yaml"],
        "contents": ["a"],
        "output": "lbfgs-batch",
        "name": "lbfgs-batch",
    },
    "--config=lbfgs": {"configs": ["lbfgs.yaml"], "output": "lbfgs-batch", "name": "lbfgs-batch"},
    "-c lbfgs --contents a b": {
        "configs": ["lbfgs.yaml"],
        "contents": ["a", "b"],
        "output": "lbfgs-batch",
        "name": "lbfgs-batch",
    },
    "-c=lbfgs": {"configs": ["lbfgs.yaml"], "output": "lbfgs-batch", "name": "lbfgs-batch"},
    "--config lbfgs -c texture": {
        "configs": ["lbfgs.yaml", "texture.yaml"],
        "output": "lbfgs-batch",
        "name": "lbfgs-batch",
    },
    "-c": "--config wants a value; see nst batch --help.",
    "--config --contents a": "--config wants a value; see nst batch --help.",
    "--config nothing": "--config nothing is not a file",
    "--contents a b -c lbfgs": {
        "configs": ["lbfgs.yaml"],
        "contents": ["a", "b"],
        "output": "lbfgs-batch",
        "name": "lbfgs-batch",
    },
    "--data.content a.jpg": "--data.content can't be given to a batch: use --contents.",
    "--data.content=a.jpg": "--data.content can't be given to a batch: use --contents.",
    "--data.init_args.content a.jpg": "--data.content can't be given to a batch: use --contents.",
    "--data.init_args.style=a.jpg": "--data.style can't be given to a batch: use --styles.",
    "--data.style a.jpg b.jpg": "--data.style can't be given to a batch: use --styles.",
    "--data.init_args '{size: 64}'": {"base": ["--data.init_args", "{size: 64}"]},
    "--output.path x.png": "--output.path can't be given to a batch: it paints many pictures; use --output FOLDER.",
    "--animation.path=a.gif": "--animation.path can't be given to a batch: all runs would write the same file; give it to nst fit.",
    "--print_config": "--print_config can't be given to a batch: it has many; give it to nst fit.",
    "--ckpt_path last": "--ckpt_path can't be given to a batch: a batch that is started again goes on by itself.",
    "--ckpt_path=last --contents": "--ckpt_path can't be given to a batch: a batch that is started again goes on by itself.",
    "--model.init_args.style.init_args.weight 3 --contents a": {
        "base": ["--model.init_args.style.init_args.weight", "3"],
        "contents": ["a"],
    },
    "--model.style.layers '[relu1_1, relu2_1]' --contents a --data.offset -5 --styles b": {
        "base": ["--model.style.layers", "[relu1_1, relu2_1]", "--data.offset", "-5"],
        "contents": ["a"],
        "styles": ["b"],
    },
    "--data.offset -x --contents a": {"base": ["--data.offset", "-x"], "contents": ["a"]},
    "--content a.jpg": {"base": ["--content", "a.jpg"]},
}

VIDEO_DEFAULTS = {
    "configs": ["starry.yaml"],
    "base": [],
    "video": "v.mp4",
    "output": "v-painted.mp4",
    "frame_steps": 40,
    "frame_lr": 0.3,
    "temporal_weight": 100.0,
    "flow": "auto",
    "keep_frames": False,
    "overwrite": False,
}
VIDEO: Line = {
    "": "nst video needs --video: the file to be painted, such as --video clip.mp4",
    "--video v.mp4": {},
    "--video=a/clip.MOV": {"video": "a/clip.MOV", "output": "clip-painted.mov"},
    "--video 'my clip.webm' --output 'out clip.mp4'": {"video": "my clip.webm", "output": "out clip.mp4"},
    "--video a.mp4 --video b.mp4": {"video": "b.mp4", "output": "b-painted.mp4"},
    "--video": "--video wants a value; see nst video --help.",
    "--video --style a": "--video wants a value; see nst video --help.",
    "--video=": {"video": ".", "output": "-painted.mp4"},
    "--video v.mp4 --style a.png b.png --data.size 64": {
        "base": ["--data.size", "64", "--data.style=['a.png', 'b.png']"]
    },
    "--video v.mp4 --style a.png --style=b.png --style c.png": {"base": ["--data.style=['a.png', 'b.png', 'c.png']"]},
    '--video v.mp4 --style "one\'s, two.png"': {"base": ["--data.style=['one''s, two.png']"]},
    "--video v.mp4 --style a.png '--data.sizes=[24, 32]'": {
        "base": ["--data.sizes=[24, 32]", "--data.style=['a.png']"]
    },
    "--video v.mp4 --style=a.png b.png": {"base": ["b.png", "--data.style=['a.png']"]},
    "--video v.mp4 --style -x.png": {"base": ["--data.style=['-x.png']"]},
    "--video v.mp4 --style": "--style wants a value; see nst video --help.",
    "--video v.mp4 --data.style a.png": {"base": ["--data.style", "a.png"]},
    "--video v.mp4 --style a.png --data.style b.png": "--style and --data.style both name paintings; give one of them.",
    "--video v.mp4 --style a.png --data.init_args.style=b.png": "--style and --data.style both name paintings; give one of them.",
    "--video v.mp4 --output out.mkv": {"output": "out.mkv"},
    "--video v.mp4 --output=": {},
    "--video v.mp4 --output -x.mp4": {"output": "-x.mp4"},
    "--video v.mp4 --frame_steps 5": {"frame_steps": 5},
    "--video v.mp4 --frame_steps=5 --frame_steps 6": {"frame_steps": 6},
    "--video v.mp4 --frame_steps 0": "--frame_steps wants a whole number from 1 up, but 0 was given.",
    "--video v.mp4 --frame_steps -3": "--frame_steps wants a whole number from 1 up, but -3 was given.",
    "--video v.mp4 --frame_steps 2.5": "--frame_steps wants a whole number from 1 up, but 2.5 was given.",
    "--video v.mp4 --frame_steps many": "--frame_steps wants a whole number from 1 up, but many was given.",
    "--video v.mp4 --frame_steps": "--frame_steps wants a value; see nst video --help.",
    "--video v.mp4 --frame_lr 1": {"frame_lr": 1.0},
    "--video v.mp4 --frame_lr=1e-3": {"frame_lr": 0.001},
    "--video v.mp4 --frame_lr 0": "--frame_lr wants a number above 0 and at most 1, but 0 was given.",
    "--video v.mp4 --frame_lr -0.3": "--frame_lr wants a number above 0 and at most 1, but -0.3 was given.",
    "--video v.mp4 --frame_lr 2": "--frame_lr wants a number above 0 and at most 1, but 2 was given.",
    "--video v.mp4 --frame_lr nan": "--frame_lr wants a number above 0 and at most 1, but nan was given.",
    "--video v.mp4 --temporal_weight 0": {"temporal_weight": 0.0},
    "--video v.mp4 --temporal_weight=1e6": {"temporal_weight": 1000000.0},
    "--video v.mp4 --temporal_weight -1": "--temporal_weight wants a number from 0 up, but -1 was given.",
    "--video v.mp4 --temporal_weight -1e-3": "--temporal_weight wants a number from 0 up, but -1e-3 was given.",
    "--video v.mp4 --temporal_weight inf": "--temporal_weight wants a number from 0 up, but inf was given.",
    "--video v.mp4 --flow dis": {"flow": "dis"},
    "--video v.mp4 --flow=raft": {"flow": "raft"},
    "--video v.mp4 --flow farneback": "--flow: expected one of auto, raft, dis, found 'farneback'; choose for example 'auto'",
    "--video v.mp4 --flow": "--flow wants a value; see nst video --help.",
    "--video v.mp4 --keep_frames": {"keep_frames": True},
    "--video v.mp4 --keep_frames true": {"keep_frames": True},
    "--video v.mp4 --keep_frames=true": {"keep_frames": True},
    "--video v.mp4 --keep_frames false": {},
    "--video v.mp4 --keep_frames true --keep_frames false": {},
    "--video v.mp4 --keep_frames --keep_frames=false": {},
    "--video v.mp4 --keep_frames=yes": "--keep_frames: expected one of true, false, found 'yes'; choose for example 'true'",
    "--video v.mp4 --keep_frames=": "--keep_frames: expected one of true, false, found ''; choose for example 'true'",
    "--video v.mp4 --keep_frames --data.size 64": {"base": ["--data.size", "64"], "keep_frames": True},
    "--video v.mp4 --overwrite true": {"overwrite": True},
    "--video v.mp4 --overwrite": {"overwrite": True},
    "--video v.mp4 --overwrite=false": {},
    "--video v.mp4 --config lbfgs": {"configs": ["lbfgs.yaml"]},
    "--video v.mp4 -c lbfgs --config=texture": {"configs": ["lbfgs.yaml", "texture.yaml"]},
    "--video v.mp4 -c=lbfgs": {"configs": ["lbfgs.yaml"]},
    "--video v.mp4 --config": "--config wants a value; see nst video --help.",
    "--video v.mp4 -c": "--config wants a value; see nst video --help.",
    "--video v.mp4 --config nothing": "--config nothing is not a file",
    "--data.content a.jpg --video v.mp4": "--data.content can't be given to a video: use --video.",
    "--video v.mp4 --data.init_args.content=a.jpg": "--data.content can't be given to a video: use --video.",
    "--video v.mp4 --data.warped x.png": "--data.warped can't be given to a video: it is made from the frame before.",
    "--video v.mp4 --data.init_args.warped_guide x.png": "--data.warped_guide can't be given to a video: it is made from the frame before.",
    "--video v.mp4 --output.path x.png": "--output.path can't be given to a video: use --output FILE.",
    "--video v.mp4 --animation.path a.gif": "--animation.path can't be given to a video: each frame would write it; give it to nst fit.",
    "--video v.mp4 --name x": "--name can't be given to a video: it leaves no runs behind.",
    "--video v.mp4 --name": "--name can't be given to a video: it leaves no runs behind.",
    "--video v.mp4 --print_config": "--print_config can't be given to a video: give it to nst fit.",
    "--video v.mp4 --ckpt_path last": "--ckpt_path can't be given to a video: a video that is started again goes on by itself.",
    "--data.size 64 --video v.mp4 --data.steps '[3, 2]' --flow dis --output.bits=16": {
        "base": ["--data.size", "64", "--data.steps", "[3, 2]", "--output.bits=16"],
        "flow": "dis",
    },
    "--video v.mp4 --data.offset -5 --style a.png": {"base": ["--data.offset", "-5", "--data.style=['a.png']"]},
    "--video v.mp4 --vide w.mp4": {"base": ["--vide", "w.mp4"]},
}

COMMANDS: dict[str, tuple[Callable[[Sequence[str]], Any], dict[str, Any], Line]] = {
    "sweep": (read_sweep_request, SWEEP_DEFAULTS, SWEEP),
    "batch": (read_batch_request, BATCH_DEFAULTS, BATCH),
    "video": (read_video_request, VIDEO_DEFAULTS, VIDEO),
}


def plain(value: Any) -> Any:
    """Turn a request's field into what stands in the table."""
    if dataclasses.is_dataclass(value):
        return [plain(part) for part in dataclasses.astuple(value)]
    if isinstance(value, tuple):
        return [plain(part) for part in value]
    return str(value).replace(f"{shipped_configs()}/", "") if isinstance(value, str | Path) else value


@pytest.mark.parametrize(
    ("command", "line"), [(name, line) for name, (*_, table) in COMMANDS.items() for line in table]
)
def test_a_command_line_is_read_as_it_was(
    command: str, line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    read, defaults, table = COMMANDS[command]
    expected = table[line]
    if isinstance(expected, str):
        with pytest.raises(UserError) as caught:
            read(shlex.split(line))
        message = str(caught.value).replace(f"{shipped_configs()}/", "")
        assert message.startswith(expected)
        assert len(message) == len(expected) or "is not a file" in message
        return
    request = read(shlex.split(line))
    found = {field.name: plain(getattr(request, field.name)) for field in dataclasses.fields(request)}
    assert found == {**defaults, **expected}
