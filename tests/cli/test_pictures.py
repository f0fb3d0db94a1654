"""`nst PHOTO PAINTING`: which words are pictures, what they stand for, and mistakes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

from nst_lightning.cli.main import main
from nst_lightning.cli.pictures import named_after_pictures, names_picture, read_pictures
from nst_lightning.images.embedded_settings import read_settings
from nst_lightning.images.files import read_image
from nst_lightning.runs.fit_command import resolve_settings
from tests.runs.conftest import fit_words


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the addresses that the browser is asked to show."""
    addresses: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda address: addresses.append(address) is None)
    return addresses


@pytest.mark.slow
@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ("me.jpg painting.jpg", "--data.content me.jpg --data.style painting.jpg"),
        ("me.jpg a.jpg b.jpg", "--data.content me.jpg --data.style [a.jpg,b.jpg]"),
        ("./fit sample:starry", "--data.content ./fit --data.style sample:starry"),
        (
            "-o out.png --size 768 a.jpg b.jpg",
            "--data.content a.jpg --data.style b.jpg --data.size 768 --output.path out.png",
        ),
        ("a.jpg b.jpg --quality draft", "--config configs/quick.yaml --data.content a.jpg --data.style b.jpg"),
        ("a.jpg b.jpg --quality=fine", "--config configs/quality.yaml --data.content a.jpg --data.style b.jpg"),
        (
            "a.jpg b.jpg --data.steps 9 --output=o.jpg --model.style.weight=3",
            "--data.content a.jpg --data.style b.jpg --output.path o.jpg --data.steps 9 --model.style.weight 3",
        ),
        (
            "a.jpg b.jpg --config configs/quick.yaml",
            "--config configs/quick.yaml --data.content a.jpg --data.style b.jpg",
        ),
    ],
)
def test_it_is_nst_fit_with_fewer_words(given: str, meant: str) -> None:
    words, is_opened = read_pictures(given.split())
    assert resolve_settings(words) == resolve_settings(["fit", *meant.split()])
    assert not is_opened


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("a/golden_gate.jpg great_wave.png", "golden_gate-great_wave"),
        ("sample:town sample:starry --size 64", "town-starry"),
        ("-o x.png me.jpg a.jpg b.jpg --quality fine", "me-a-b"),
        ("me.jpg a.jpg b.jpg c.jpg d.jpg", "me-a-b-2_more"),
        ("$HOME.jpg ..jpg", "_HOME-_"),
        (f"{'long' * 60}.jpg ~/a:b.jpg", f"{'long' * 7}lo-a_b"),
        ("me.jpg a.jpg --name mine", None),
        ("me.jpg a.jpg --name=mine", None),
        ("me.jpg a.jpg --config starry", None),
        ("me.jpg a.jpg -c starry", None),
    ],
)
def test_a_run_is_named_after_its_pictures_unless_it_has_a_name(given: str, name: str | None) -> None:
    assert named_after_pictures(["fit"], given.split()) == ["fit", *([] if name is None else [f"--name={name}"])]


@pytest.mark.slow
def test_names_with_quotes_commas_and_blanks_stay_what_they_are() -> None:
    names = ["it's.png", "a, b.png", "[c].png", "null"]
    words, is_opened = read_pictures(["me.png", *names, "--open"])
    assert resolve_settings(words)["data"]["init_args"]["style"] == names
    assert is_opened
    for name in (*names, "NULL", "~"):  # alone
        data = resolve_settings(read_pictures([name, name])[0])["data"]["init_args"]
        assert (data["content"], data["style"]) == (name, name)


def test_a_word_without_suffix_is_a_picture_if_there_is_such_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert not names_picture("photo")
    (tmp_path / "photo").touch()
    assert names_picture("photo")
    assert all(map(names_picture, ["./fit", "a/fit", "sample:x", "~/me", "me.jpg"]))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("fitt", "there is no command 'fitt'; did you mean fit?; the commands are fit, sweep"),
        ("Compare a.png b.png", "there is no command 'Compare'; did you mean compare?; the commands are fit, sweep"),
        ("me.jpg", "expected a photo and a painting, found me.jpg alone; give both, such as nst me.jpg painting.jpg"),
        (
            "me.jpg --data.steps 3 there.jpg",
            "if there.jpg is one, it stands before the options of nst fit",
        ),
        ("- b.jpg", "a picture is read from a file, not from standard input"),
        ("-- -b.jpg c.jpg", "a picture whose name begins with a dash is given as ./-name.jpg"),
        ("pipe sample:starry", "found a pipe: pipe; it is read more than once, so write it to a file"),
        ("me.jpg b.jpg --siez 3", "there is no option --siez; did you mean --size?"),
        ("me.jpg b.jpg --size big", "size: expected int, but big was given"),
        ("me.jpg b.jpg --quality best", "--quality: expected one of draft, standard, fine, found 'best'"),
        ("me.jpg b.jpg --instant --quality fine", "--quality is for optimizing, which --instant leaves out; give one"),
        ("me.jpg b.jpg --instant --data.images c", "--data.images: the photo is the first argument; leave one of them"),
        ("sample:town sample:starry --instant -o me.mp4", "me.mp4"),
        ("sample:town sample:starry --instant --model.network starry", "the network paints starry only"),
        ("nothing.jpg sample:starry --instant", "found nothing at nothing.jpg"),
        ("me.jpg b.jpg --quality fine --config x.yaml", "--quality and --config both name a config; give one of them."),
        (
            "me.jpg b.jpg --data.content c.jpg",
            "--data.content: the photo is the first argument; leave one of them out.",
        ),
        (
            "--data.size 9 me.jpg b.jpg",
            "a command comes first, such as nst fit --data.size …, or two pictures: nst me.jpg",
        ),
        ("--instant", "a command comes first, such as nst fit --instant …, or two pictures"),
        ("-o out.png", "a command comes first"),
        ("photos sample:starry --instant", "--instant paints one picture, but a folder or a video was given"),
        ("sample:town sample:nothing", "no built-in picture is called 'nothing'"),
        ("nothing.jpg sample:starry", "expected a picture file, found nothing at nothing.jpg"),
    ],
)
def test_mistakes_are_one_line(
    words: str, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("there.jpg").touch()
    os.mkfifo("pipe")
    Path("photos").mkdir()
    for name in "ab":
        Path(f"photos/{name}.png").touch()
    assert main(words.split()) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("nst: ")
    assert said.err.count("\n") == 1
    assert expected in said.err


@pytest.mark.slow
def test_it_paints_the_bytes_of_nst_fit(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoder_file: str,
    content: str,
    style: str,
    capsys: pytest.CaptureFixture[str],
    shown: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = fit_words("starry", encoder_file, content, style)
    assert main([*words, "--output.path", "fit.png"]) == 0
    options = words[3:]
    for option in ("--data.content", "--data.style"):
        del options[options.index(option) : options.index(option) + 2]
    assert capsys.readouterr().out == "fit.png\n"
    assert main([content, style, "-o", "short.png", "--open", *options]) == 0
    assert capsys.readouterr().out == "short.png\n"
    assert Path("short.png").read_bytes() == Path("fit.png").read_bytes()
    assert shown == [(tmp_path / "short.png").as_uri()]


@pytest.mark.slow
def test_instant_is_nst_predict_of_one_picture(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    style: str,
    any_style_file: str,
    capsys: pytest.CaptureFixture[str],
    shown: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    network = ["--model.network", any_style_file]
    assert main([content, style, content, "--instant", "-o", "me.png", "--size", "36", "--open", *network]) == 0
    assert capsys.readouterr().out == "me.png\n"
    assert shown == [(tmp_path / "me.png").as_uri()]
    styles = ["--data.style", f"[{style}, {content}]"]
    assert main(["predict", "--data.images", content, *styles, "--data.size", "36", *network]) == 0
    capsys.readouterr()
    assert torch.equal(read_image("me.png").pixels, read_image("painted/content.png").pixels)
    assert main(["predict", "--config", "me.png", "--output.path", "again.png"]) == 0
    assert Path("again.png").read_bytes() == Path("me.png").read_bytes()
    assert read_settings("painted/content.png") is None


@pytest.mark.slow
def test_instant_without_a_file_is_in_a_run_folder(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    content: str,
    style: str,
    any_style_file: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    words = [content, style, "--instant", "--model.network", any_style_file, "--trainer.default_root_dir", "here"]
    for number in (0, 1):
        assert main(words) == 0
        assert capsys.readouterr().out == f"here/lightning_logs/instant/version_{number}/stylized.png\n"
    runs = Path("here/lightning_logs/instant")
    assert (runs / "version_0/stylized.png").read_bytes() == (runs / "version_1/stylized.png").read_bytes()
    assert read_image(runs / "version_0/stylized.png").pixels.shape == (1, 3, 384, 512)
    Path("torn.png").write_bytes(Path(content).read_bytes()[:60])
    assert main(["torn.png", *words[1:]]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.count("torn.png") >= 1
    assert sorted(path.name for path in runs.iterdir()) == ["version_0", "version_1"]


@pytest.mark.slow
def test_a_picture_is_painted_again_by_the_command_that_painted_it(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    encoder_file: str,
    content: str,
    style: str,
    any_style_file: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*fit_words("starry", encoder_file, content, style), "--output.path", "fit.png"]) == 0
    assert main([content, style, "--instant", "-o", "once.png", "--model.network", any_style_file]) == 0
    capsys.readouterr()
    assert main(["fit", "--config", "once.png"]) == 2
    assert "once.png was painted by nst predict, not by nst fit; use that." in capsys.readouterr().err
    assert main(["predict", "--config", "fit.png"]) == 2
    assert "fit.png was painted by nst fit, not by nst predict; use that." in capsys.readouterr().err
