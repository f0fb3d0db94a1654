"""What a pair's run is told, and what becomes of a pair that can't be begun."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
import yaml

from nst_lightning.errors import UserError
from nst_lightning.jobs import batch_painter
from nst_lightning.jobs.batch_launch import Launch
from nst_lightning.jobs.batch_painter import Painter
from nst_lightning.jobs.batch_pairs import Pair, Source
from nst_lightning.jobs.batch_place import Place
from nst_lightning.jobs.batch_request import read_batch_request
from nst_lightning.jobs.worker import FAILED, Job
from nst_lightning.runs.fit_command import resolve_settings


def place_of(content: str, style: str) -> Place:
    names = PurePosixPath(content), PurePosixPath(style)
    return Place(
        Pair(Source(content, names[0]), Source(style, names[1]), "null", Path("out/null.png")),
        Path("lightning_logs/many"),
    )


def painter(*base: str) -> Painter:
    return Painter(read_batch_request(["--name", "many", *base]), {"trainer": {}}, Launch())


@pytest.mark.parametrize("option", ["--data=data.yaml", '--data.init_args={"content": "x.png", "style": ["x.png"]}'])
def test_no_option_for_all_pairs_replaces_the_pictures_of_one(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a: b.png", "it's [1].png"):  # which are more than plain words to YAML
        Path(name).touch()
    arguments = {"content": "x.png", "style": "x.png", "steps": 9}
    Path("data.yaml").write_text(yaml.safe_dump({"class_path": "TransferData", "init_args": arguments}))
    jobs: list[Job] = []
    monkeypatch.setattr(batch_painter, "paint", lambda job, tell: jobs.append(job) or ("stopped", ""))
    painter(option).paint(place_of("a: b.png", "it's [1].png"))
    settings = resolve_settings(jobs[0].words)
    given = settings["data"]["init_args"]
    assert (given["content"], given["style"]) == ("a: b.png", "it's [1].png")
    assert settings["output"]["path"] == "out/null.png"
    assert (given["steps"] == 9) == ("yaml" in option)


def test_a_pair_that_cannot_be_begun_does_not_end_the_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = place_of("sample:town", "sample:starry")

    def refuse() -> None:
        raise UserError("cannot write pair.yaml (it is a folder); choose another place for it")

    monkeypatch.setattr(place, "begin", refuse)
    assert painter().paint(place) == ("failed", "cannot write pair.yaml (it is a folder); choose another place for it")
    assert "it is a folder" in (place.folder / FAILED).read_text()
