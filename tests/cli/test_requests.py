"""What the command lines of batch and video ask for, and how their mistakes are told."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from nst_lightning.cli.batch import read_batch_request
from nst_lightning.cli.video import read_video_request
from nst_lightning.errors import UserError


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_batchs_own_words_are_told_from_those_of_fit(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    words = [
        "--contents",
        "a.jpg",
        "b.jpg",
        "--data.size",
        "64",
        "--styles=c.jpg",
        "--styles",
        "d e.jpg",
        "-c",
        "lbfgs",
    ]
    request = read_batch_request([*words, "--output.bits=16", "--model.style.layers", "[relu1_1, relu2_1]"])
    assert request.contents == ("a.jpg", "b.jpg")
    assert request.styles == ("c.jpg", "d e.jpg")
    assert request.base == ("--data.size", "64", "--output.bits=16", "--model.style.layers", "[relu1_1, relu2_1]")
    assert [Path(path).name for path in request.configs] == ["lbfgs.yaml"]
    assert (request.name, request.output, request.match) == ("lbfgs-batch", Path("lbfgs-batch"), "product")
    assert not request.keep_checkpoints
    assert read_batch_request(["--keep_checkpoints", "--match", "pairs"]).keep_checkpoints


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--match", "pair"], "--match: expected one of product, pairs, found 'pair'; did you mean 'pairs'"),
        (["--contents", "--styles", "a"], "--contents wants a value"),
        (["--output"], "--output wants a value"),
        (["--manifest", "a.csv", "--styles", "x"], "--styles can't be given as well"),
        (["--data.content", "a.jpg"], "--data.content can't be given to a batch: use --contents"),
        (["--data.init_args.style=a.jpg"], "--data.style can't be given to a batch: use --styles"),
        (["--ckpt_path", "last"], "--ckpt_path can't be given"),
        (["--name", "../x"], "leads out of lightning_logs"),
        (["--contact_sheet", "x.gif"], "expected an output file ending in"),
        (["--config", "nothing"], "--config nothing is not a file"),
        (["--manifest", "~nobody-here/x.csv"], "nobody's home is ~nobody-here"),
        (["--output", "~nobody-here/x"], "nobody's home is ~nobody-here"),
        (["--contact_sheet", "~nobody-here/x.png"], "nobody's home is ~nobody-here"),
    ],
)
def test_a_mistake_in_the_words_is_one_line(words: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        read_batch_request(words)


def test_the_words_are_read() -> None:
    request = read_video_request(
        [
            "--video",
            "a/clip.MOV",
            "--style",
            "one's, two.png",
            "b.png",
            "--frame_lr=1",
            "--keep_frames",
            "--data.size=64",
        ]
    )
    assert str(request.output) == "clip-painted.mov"
    assert request.base == ("--data.size=64", "--data.style=['one''s, two.png', 'b.png']")
    assert (request.frame_lr, request.keep_frames) == (1.0, True)
    assert request.configs[0].endswith("configs/starry.yaml")
    with pytest.raises(UserError, match="--frame_lr wants a number above 0 and at most 1, but 2 was given"):
        read_video_request(["--video", "clip.mov", "--frame_lr", "2"])
    with pytest.raises(UserError, match="nst video needs --video"):
        read_video_request(["--keep_frames", "false"])
