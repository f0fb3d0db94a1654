"""`nst compare`: what is put on the sheet, what it is called, and mistakes in one line."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch
import yaml

from nst_lightning.callbacks.image_writer import FILE_NAME
from nst_lightning.cli import compare
from nst_lightning.cli.compare import differences, distinct_names, notes, places_of, resolve_image
from nst_lightning.cli.compare import run as run_compare
from nst_lightning.errors import UserError
from nst_lightning.images.files import read_image, write_image

COLOURS = {"red": (1.0, 0.0, 0.0), "green": (0.0, 1.0, 0.0), "blue": (0.0, 0.0, 1.0)}


def plain(colour: str, path: str) -> str:
    write_image(path, torch.tensor(COLOURS[colour]).view(1, 3, 1, 1).expand(1, 3, 24, 32))
    return path


def run(folder: str, colour: str = "red", config: dict | None = None) -> Path:
    plain(colour, f"{folder}/{FILE_NAME}")
    if config is not None:
        (Path(folder) / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return Path(folder)


def config(style_weight: float = 10.0, size: int = 512, optimizer: str = "Adam", **more) -> dict:
    """A config in the shape that LightningCLI writes."""
    style = {"class_path": "nst_lightning.losses.GramStyleLoss", "init_args": {"weight": style_weight}}
    chosen = {"class_path": f"torch.optim.{optimizer}", "init_args": {"lr": 0.02}}
    return {
        "seed_everything": 0,
        "trainer": {"enable_progress_bar": True, **more},
        "model": {"class_path": "StyleTransfer", "init_args": {"style": style, "optimizer": chosen, "average": None}},
        "data": {"class_path": "TransferData", "init_args": {"content": "me.jpg", "size": size}},
        "name": "starry",
    }


@pytest.fixture(autouse=True)
def _empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")


def test_images_that_hold_settings_are_told_apart_by_them() -> None:
    for name, weight in (("a.png", 10.0), ("b.jpg", 30.0)):
        write_image(name, torch.zeros(1, 3, 24, 32), settings=yaml.safe_dump(config(weight)))
    images = [resolve_image(name) for name in ("a.png", plain("red", "photo.png"), "b.jpg")]
    assert notes(images, places_of(images)) == ["a\nstyle.weight 10", "photo", "b\nstyle.weight 30"]
    run("lightning_logs/starry/version_0", config=config(20.0))
    images = [resolve_image(name) for name in ("a.png", "lightning_logs/starry")]
    assert [note.rpartition("\n")[2] for note in notes(images, places_of(images))] == [
        "style.weight 10",
        "style.weight 20",
    ]


def lefts_and_tops(sheet: torch.Tensor) -> dict[str, tuple[int, int]]:
    corners = {}
    for name, colour in COLOURS.items():
        rows, columns = ((sheet[0] - torch.tensor(colour).view(3, 1, 1)).abs() < 0.01).all(0).nonzero(as_tuple=True)
        if len(rows):
            corners[name] = (int(columns.min()), int(rows.min()))
    return corners


def test_pictures_and_runs_stand_on_one_sheet(
    caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO)
    run("lightning_logs/starry/version_0", "blue")
    words = ["compare", plain("red", "a.png"), plain("green", "b.jpg"), "lightning_logs/starry", "--size", "40"]
    assert run_compare([*words, "--output", "out/sheet.png", "--columns", "2", "--title", "Three"]) == 0
    found = lefts_and_tops(read_image("out/sheet.png").pixels)
    assert found["red"][1] == found["green"][1] < found["blue"][1]
    assert found["red"][0] == found["blue"][0] < found["green"][0]
    assert caplog.messages[-1] == "picture: out/sheet.png"
    assert capsys.readouterr().out == "out/sheet.png\n"


@pytest.mark.parametrize(("count", "columns"), [(1, 1), (4, 4), (5, 5), (6, 3), (7, 4), (10, 5), (11, 4), (16, 4)])
def test_rows_are_about_the_same_length(count: int, columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    draw = compare.contact_sheet
    monkeypatch.setattr(compare, "contact_sheet", lambda rows, **options: seen.extend(rows) or draw(rows, **options))
    run_compare(["compare", *[plain("red", "a.png")] * count, "--size", "32"])
    assert [len(row) for row in seen[:-1]] == [columns] * (len(seen) - 1)
    assert 1 <= len(seen[-1]) <= columns
    assert sum(map(len, seen)) == count


def test_notes_are_names_and_what_sets_runs_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    notes = []
    draw = compare.contact_sheet
    monkeypatch.setattr(
        compare,
        "contact_sheet",
        lambda rows, **options: notes.extend(c.note for row in rows for c in row) or draw(rows, **options),
    )
    first = run("lightning_logs/starry/version_0", config=config())
    second = run("lightning_logs/starry/version_1", config=config(style_weight=0.5, size=64))
    run_compare(["compare", str(first), plain("red", "town.png"), str(second), "--size", "32"])
    assert notes == [
        "starry/version_0\nstyle.weight 10\nsize 512",
        "town",
        "starry/version_1\nstyle.weight 0.5\nsize 64",
    ]


def test_the_newest_version_with_a_picture_is_taken() -> None:
    for number in (2, 9, 10):
        run(f"lightning_logs/starry/version_{number}")
    Path("lightning_logs/starry/version_11").mkdir()  # still painting
    found = resolve_image("lightning_logs/starry")
    assert Path(found.file) == Path.cwd() / "lightning_logs/starry/version_10" / FILE_NAME
    assert resolve_image("lightning_logs/starry/version_2").names[0] == "starry/version_2"


def test_names_are_as_short_as_they_can_be() -> None:
    words = ["x/a/town.png", "y/a/town.png", "x/b/town.png", "x/b/town.jpg", "sample:starry", "starry.png", "x/sea.png"]
    words += ["sample:mosaic", "x/sea.png"]
    run("logs/starry/version_0")
    run("other/starry/version_0")
    run("logs/lbfgs/version_0")
    words += ["logs/starry/version_0", "other/starry/version_0", "logs/lbfgs"]
    names = distinct_names([resolve_image(word) for word in words])
    assert names == [
        *("x/a/town", "y/a/town", "b/town.png", "b/town.jpg", "sample:starry", "work/starry", "sea"),
        *("mosaic", "sea"),
        *("logs/starry/version_0", "other/starry/version_0", "lbfgs/version_0"),
    ]


def test_differences_tell_three_settings_of_the_method_first() -> None:
    runs = [
        run("a", config=config(max_steps=10)),
        run("b", config=config(style_weight=2.5, size=64, optimizer="LBFGS", max_steps=20)),
        run("c", config={**config(), "name": "other"}),
    ]
    assert differences(runs) == [
        ["style.weight 10", "optimizer Adam", "size 512"],
        ["style.weight 2.5", "optimizer LBFGS", "size 64"],
        ["style.weight 10", "optimizer Adam", "size 512"],
    ]
    assert differences(runs, most=9)[1][3:] == ["max_steps 20"]
    assert differences([runs[0], runs[2]], most=9) == [["max_steps 10"], ["max_steps –"]]
    assert differences(runs[:1]) == [[]]


def test_differences_begin_with_the_images() -> None:
    first, second = config(), config(style_weight=2.5)
    second["data"]["init_args"]["style"] = ["folder/b.jpg"]
    runs = [run("a", config=first), run("b", config=second)]
    assert differences(runs)[1] == ["style b.jpg", "style.weight 2.5"]


def test_a_resumed_run_is_told_by_its_last_config() -> None:
    first, second = run("a", config=config()), run("b", config=config())
    for number in (2, 10):
        (second / f"config-{number}.yaml").write_text(yaml.safe_dump(config(size=number)))
    assert differences([first, second]) == [["size 512"], ["size 10"]]


@pytest.mark.parametrize("damage", [None, "model: [1, {", "text"])
def test_no_settings_unless_every_run_has_its_config(damage: str | None) -> None:
    first, second = run("a", config=config()), run("b", config=config(size=64))
    (second / "config.yaml").unlink() if damage is None else (second / "config.yaml").write_text(damage)
    assert differences([first, second]) == [[], []]


MISTAKES = {
    "nothing given": ([], "nothing to compare"),
    "missing": (["town.pgn"], r"found nothing at town\.pgn; did you mean town\.png"),
    "empty folder": (["empty"], r"expected a run that has painted stylized\.png, found none in empty; run nst fit"),
    "folder of all runs": (["logs"], "name a run, such as logs/starry/version_0"),
    "unreadable": (["text.jpg"], r"expected a picture .* in text\.jpg"),
    "unknown sample": (["sample:twon"], "did you mean 'town'"),
    "no columns": (["town.png", "--columns", "0"], "--columns must be at least 1, but 0 was given"),
    "columns no number": (["town.png", "--columns", "two"], "columns: expected int, but two was given"),
    "tiny": (["town.png", "--size", "3"], "--size must be from 32 to 4096 pixels, but 3"),
    "unknown suffix": (["town.png", "--output", "x.gif"], r"x\.gif"),
    "output is input": (["town.png", "--output", "empty/../town.png"], "one of the pictures compared"),
    "misspelt option": (["town.png", "--colums", "2"], "no option --colums; did you mean --columns"),
}


@pytest.mark.slow
@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_line(mistake: str) -> None:
    words, message = MISTAKES[mistake]
    plain("red", "town.png")
    Path("empty").mkdir()
    Path("text.jpg").write_text("not a picture")
    run("logs/starry/version_0")
    before = sorted(Path().rglob("*"))
    with pytest.raises(UserError, match=message) as caught:
        run_compare(["compare", *words])
    assert "\n" not in str(caught.value)
    assert sorted(Path().rglob("*")) == before


def test_the_sheet_replaces_an_earlier_one_and_is_the_same_again() -> None:
    words = ["compare", plain("red", "a.png"), "sample:town", "--size", "40"]
    run_compare(words)
    first = Path("compare.png").read_bytes()
    run_compare(words)
    assert Path("compare.png").read_bytes() == first


def test_help_shows_the_options(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        run_compare(["compare", "--help"])
    assert stop.value.code == 0
    shown = capsys.readouterr().out
    assert shown.startswith("usage: nst compare")
    assert all(option in shown for option in ("--output", "--columns", "--size", "--title"))


def test_what_all_were_painted_from_stands_beside_them(monkeypatch: pytest.MonkeyPatch) -> None:
    corners = []
    draw = compare.contact_sheet
    monkeypatch.setattr(
        compare, "contact_sheet", lambda rows, **options: corners.append(options["corner"]) or draw(rows, **options)
    )
    plain("green", "me.jpg")
    for number, style in enumerate((["a.jpg", "gone.jpg"], ["a.jpg", "gone.jpg"], "b.jpg")):
        settings = config()
        settings["data"]["init_args"]["style"] = style
        run(f"lightning_logs/starry/version_{number}", config=settings)
    plain("blue", "a.jpg")
    runs = [f"lightning_logs/starry/version_{number}" for number in range(3)]
    run_compare(["compare", *runs[:2], plain("red", "other.png"), "--size", "32"])
    assert [label for label, _ in corners[-1]] == ["content", "style"]  # of two styles one has gone
    shown = [pixels.mean((0, 2, 3)) for _, pixels in corners[-1]]
    for pixels, colour in zip(shown, ("green", "blue"), strict=True):
        torch.testing.assert_close(pixels, torch.tensor(COLOURS[colour]), atol=0.02, rtol=0)
    run_compare(["compare", *runs, "--size", "32"])
    assert [label for label, _ in corners[-1]] == ["content"]  # the styles differ
    run_compare(["compare", "me.jpg", *runs, "--size", "32"])
    assert corners[-1] == []  # it is there already
    predicted = {"seed_everything": 0, "data": {"init_args": {"images": ["me.jpg"], "style": "b.jpg"}}}
    run("lightning_logs/instant/version_0", config=predicted)
    run_compare(["compare", runs[2], "lightning_logs/instant/version_0", "--size", "32"])
    assert [label for label, _ in corners[-1]] == ["content"]  # of one pass and of optimization
    predicted["data"]["init_args"]["images"] = ["me.jpg", "b.jpg"]
    run("lightning_logs/instant/version_0", config=predicted)
    run_compare(["compare", runs[2], "lightning_logs/instant/version_0", "--size", "32"])
    assert corners[-1] == []  # which of them this is can't be told
    before = Path("me.jpg").read_bytes()
    with pytest.raises(UserError, match=r"--output me\.jpg"):
        run_compare(["compare", *runs, "--size", "32", "--output", "me.jpg"])
    assert Path("me.jpg").read_bytes() == before
