"""What a pair's run is told, and what becomes of a pair that can't be begun."""

from __future__ import annotations

import logging
from pathlib import Path, PurePosixPath

import pytest
import yaml

from nst_lightning.cli.batch import read_batch_request
from nst_lightning.errors import UserError
from nst_lightning.jobs import job as jobs
from nst_lightning.jobs.batch import PairFolder, PairPainter
from nst_lightning.jobs.job import FAILED, LOG, Job, Outcome
from nst_lightning.jobs.pairs import Pair, Source
from nst_lightning.jobs.processes import Rank
from nst_lightning.runs.fit_command import resolve_settings


def place_of(content: str, style: str) -> PairFolder:
    names = PurePosixPath(content), PurePosixPath(style)
    return PairFolder(
        Pair(Source(content, names[0]), Source(style, names[1]), "null", Path("out/null.png")),
        Path("lightning_logs/many"),
    )


def painter(*base: str) -> PairPainter:
    return PairPainter(read_batch_request(["--name", "many", *base]), {"trainer": {}}, Rank())


@pytest.mark.slow
@pytest.mark.parametrize("option", ["--data=data.yaml", '--data.init_args={"content": "x.png", "style": ["x.png"]}'])
def test_no_option_for_all_pairs_replaces_the_pictures_of_one(
    option: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("a: b.png", "it's [1].png"):  # which are more than plain words to YAML
        Path(name).touch()
    arguments = {"content": "x.png", "style": "x.png", "steps": 9}
    Path("data.yaml").write_text(yaml.safe_dump({"class_path": "TransferData", "init_args": arguments}))
    job = painter(option).job(place_of("a: b.png", "it's [1].png"))
    settings = resolve_settings(job.args)
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
    message = "cannot write pair.yaml (it is a folder); choose another place for it"
    assert painter().paint(place) == Outcome("failed", message)
    assert "it is a folder" in (place.folder / FAILED).read_text()


def test_a_warning_of_a_run_is_shown_with_the_pair_and_its_chatter_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def run_job(job: Job, report: object) -> Outcome:
        logging.getLogger("nst_lightning.somewhere").info("painting")
        logging.getLogger("nst_lightning.somewhere").warning("too small")
        return Outcome("stopped")

    monkeypatch.setattr(jobs, "run_job", run_job)
    monkeypatch.setattr(logging.getLogger("nst_lightning"), "level", logging.INFO)
    place = place_of("sample:town", "sample:starry")
    place.folder.mkdir(parents=True)
    assert painter().paint(place) == Outcome("stopped")
    assert capsys.readouterr().err == "sample:town × sample:starry: too small\n"
    assert (place.folder / LOG).read_text() == "painting\ntoo small\n"


@pytest.mark.slow
def test_the_log_of_a_pair_that_fails_ends_with_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    place = place_of("broken.png", "sample:starry")
    place.folder.mkdir(parents=True)
    outcome = painter("--trainer.accelerator=cpu").paint(place)
    assert outcome.status == "failed"
    assert "broken.png" in outcome.message
    assert (place.folder / LOG).read_text().splitlines()[-1] == outcome.message
