"""Which pictures are paired, where they go, and mistakes in one line."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from nst_lightning.errors import UserError
from nst_lightning.jobs.pairs import Pair, Source, check_outputs, find_sources, matched, product, read_manifest
from nst_lightning.jobs.report import check_sheet

OUT = Path("out")


def sources(*names: str) -> list[Source]:
    return [Source(f"in/{name}", PurePosixPath(name).with_suffix("")) for name in names]


def outputs(pairs: list[Pair]) -> list[str]:
    return [f"{pair.content.name}+{pair.style.name}={pair.output}" for pair in pairs]


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def touch(*names: str) -> None:
    for name in names:
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).touch()


def test_folders_are_searched_with_their_subfolders(caplog: pytest.LogCaptureFixture) -> None:
    touch("in/b.PNG", "in/a.v2.jpg", "in/sub/c.webp", "in/notes.txt", "in/.hidden.png", "in/.git/d.png", "in/out/e.png")
    found = find_sources(["in", "sample:town", "in/sub/c.webp"], "--contents", [Path("in/out")])
    assert [(source.path, str(source.name)) for source in found] == [
        ("in/a.v2.jpg", "a.v2"),
        ("in/b.PNG", "b"),
        ("in/sub/c.webp", "sub/c"),
        ("sample:town", "town"),
        ("in/sub/c.webp", "c"),
    ]
    assert caplog.messages == ["no pictures by their suffixes, left out: notes.txt in in"]


def test_every_content_is_painted_in_every_style() -> None:
    pairs = product(sources("me.jpg", "trip/sea.png"), sources("starry.jpg", "monet/1.jpg"), OUT)
    assert outputs(pairs) == [
        "me+starry=out/me_starry.png",
        "me+monet/1=out/me_monet-1.png",
        "trip/sea+starry=out/trip/sea_starry.png",
        "trip/sea+monet/1=out/trip/sea_monet-1.png",
    ]
    assert [pair.label for pair in pairs] == ["me_starry", "me_monet-1", "trip/sea_starry", "trip/sea_monet-1"]


def test_pictures_of_the_same_name_are_matched() -> None:
    pairs = matched(sources("a.jpg", "sub/b.png"), sources("sub/b.webp", "a.jpg"), OUT)
    assert outputs(pairs) == ["a+a=out/a.png", "sub/b+sub/b=out/sub/b.png"]
    assert pairs[1].style.path == "in/sub/b.webp"


@pytest.mark.parametrize(
    ("contents", "styles", "message"),
    [
        (["a.jpg", "b.jpg"], ["a.jpg", "c.jpg"], "in/b.jpg, in/c.jpg stand alone"),
        (["a.jpg", "a.png"], ["a.jpg"], "--contents has in/a.jpg and in/a.png, one name for two"),
        (["a.jpg"], ["x/a.jpg"], "stand alone"),
    ],
)
def test_what_has_no_partner_is_refused(contents: list[str], styles: list[str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        matched(sources(*contents), sources(*styles), OUT)


@pytest.mark.parametrize(
    ("contents", "folder", "message"),
    [
        (["a.jpg", "a.png"], "out", "in/a.jpg × in/s.jpg and in/a.png × in/s.jpg would both be painted to out/a_s"),
        (["a.jpg", "a_s.png"], "in", "in/a_s.png would be painted over a picture that is read"),
        (["a" * 250 + ".jpg"], "out", "a name of more than 240 bytes"),
    ],
)
def test_no_picture_is_painted_over_another(contents: list[str], folder: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_outputs(product(sources(*contents), sources("s.jpg"), Path(folder)))


@pytest.mark.parametrize("other", ["x/../a.png", "{here}/out/x/../a.png", "link/a.png"])
def test_one_file_written_in_two_ways_is_refused(other: str) -> None:
    OUT.mkdir()
    (OUT / "link").symlink_to(".")
    other = other.format(here=Path.cwd())
    rows = manifest(f"content,style,output\na.jpg,a.jpg,a.png\na.jpg,sub/b.png,{other}\n")
    with pytest.raises(UserError, match=r"a.jpg × list/a.jpg and list/a.jpg × list/sub/b.png would both be painted"):
        check_outputs([pair for _, pair in rows])


def test_a_sheet_that_nobody_could_look_at_is_refused() -> None:
    many = sources(*(f"{n}.jpg" for n in range(21)))
    check_sheet(many[:20] * 3, many[:20])
    with pytest.raises(UserError, match="--contact_sheet would show 420 pictures, more than 400"):
        check_sheet(many, many[:20])


MISTAKES = {
    "nothing there": (["nowhere"], "--contents found nothing at nowhere"),
    "no pictures": (["empty"], "--contents empty holds no pictures"),
    "outputs as inputs": (["out/sub"], "out/sub lies where pictures are written"),
    "no sample": (["sample:twon"], "--contents: no built-in picture is called 'twon': did you mean 'town'"),
    "no home": (["~nobody-here/x"], "found ~nobody-here/x, but nobody's home is ~nobody-here"),
    "long name": (["x" * 300], "File name too long"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_place_without_pictures_is_refused(mistake: str) -> None:
    words, message = MISTAKES[mistake]
    touch("empty/notes.txt", "out/sub/a.png")
    with pytest.raises(UserError, match=message):
        find_sources(words, "--contents", [OUT])


def manifest(text: str) -> list[tuple[str, Pair]]:
    touch("list/a.jpg", "list/sub/b.png")
    Path("list/pairs.csv").write_text(text, encoding="utf-8")
    return read_manifest(Path("list/pairs.csv"), OUT)


def test_a_manifest_names_pictures_outputs_and_options() -> None:
    rows = manifest(
        "\ufeffcontent, style ,output,seed,data.size,style_layers\n"
        'a.jpg,sample:starry,x/first.jpg,7,,"[relu1_1, relu2_1]"\n'
        "\n"
        "sub/b.png,a.jpg,,,64,\n"
        f"a.jpg,a.jpg,{Path.cwd()}/else/where.png,,,\n"
    )
    assert [where for where, _ in rows] == [f"line {n} of list/pairs.csv" for n in (2, 4, 5)]
    first, second, third = (pair for _, pair in rows)
    assert (first.content.path, first.style.path) == ("list/a.jpg", "sample:starry")
    assert (first.output, first.label) == (OUT / "x/first.jpg", "x/first")
    assert first.options == {"seed": "7", "style_layers": "[relu1_1, relu2_1]"}
    assert (second.output, second.options) == (OUT / "b_a.png", {"data.size": "64"})
    assert third.output == Path.cwd() / "else/where.png"
    assert third.label.startswith("where-")


def test_what_is_told_of_a_pair_is_one_line() -> None:
    (pair,) = product(sources("a\nb.jpg"), sources("s.jpg"), OUT)
    assert pair.title == "a b × s"


def test_a_column_may_set_the_model_the_schedule_and_the_precision() -> None:
    header = "content,style,model.init_args.average,data.init_args.steps,trainer.precision,seed_everything"
    ((_, pair),) = manifest(f"{header}\na.jpg,a.jpg,0.5,9,bf16-true,3\n")
    assert list(pair.options.values()) == ["0.5", "9", "bf16-true", "3"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1 of list/pairs.csv has the columns \\(none\\), but content and style"),
        ("content;style\n", "has the columns content;style, but content and style are needed, with commas"),
        ("content,style,styl_weight\n", "'styl_weight', which is no option of nst fit; did you mean style_weight"),
        ("content,style,content\n", "'content' twice"),
        ("content,style,data.content\n", "'data.content', which is not for one pair to set"),
        ("content,style,data.init_args.content\n", "'data.init_args.content', which is not for one pair"),
        ("content,style,data.init_args\n", "'data.init_args', which is not for one pair"),
        ("content,style,trainer.devices\n", "'trainer.devices', which is not for one pair"),
        ("content,style,trainer.default_root_dir\n", "'trainer.default_root_dir', which is not for one pair"),
        ("content,style,output.bits\n", "'output.bits', which is not for one pair"),
        ("content,style,animation.path\n", "'animation.path', which is not for one pair"),
        ("content,style,checkpoint.every_n_steps\n", "'checkpoint.every_n_steps', which is not for one pair"),
        ("content,style\n", "no line below its header"),
        ("content,style\na.jpg,a.jpg\na.jpg,\n", "line 3 of list/pairs.csv names no style"),
        ("content,style\na.jpg,x.jpg\n", "line 2 .* names the style x.jpg, but there is no file list/x.jpg"),
        (
            "content,style\na.jpg,sample:stary\n",
            "line 2 .*: no built-in picture is called 'stary': did you mean 'starry'",
        ),
        ("content,style\n~nobody-here/a.jpg,a.jpg\n", "line 2 .*: .*nobody's home is ~nobody-here"),
        ("content,style,output\na.jpg,a.jpg,~nobody-here/a.png\n", "line 2 .*: .*nobody's home is ~nobody-here"),
        (f"content,style\n{'x' * 300},a.jpg\n", r"line 2 .*: expected a path, found list/x+ \(File name too long\)"),
        (
            'content,style\n"a\nb\nc.jpg",a.jpg\n',
            "line 4 .* the content a b c.jpg, but there is no file list/a b c.jpg",
        ),
        ("content,style\na.jpg\n", "line 2 .* has fewer cells than the header's 2"),
        ("content,style\na.jpg,b,c.jpg\n", "line 2 .* has more cells than the header's 2; quote"),
        ("content,style,output\na.jpg,a.jpg,x.gif\n", "line 2 .*: expected an output file ending in"),
        ('content,style\n"a.jpg,a.jpg\n', "can't be read as CSV"),
    ],
)
def test_a_manifests_mistake_names_the_line(text: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        manifest(text)
    assert "\n" not in str(caught.value)


def test_a_manifest_that_is_no_text_or_not_there_is_refused() -> None:
    Path("x.csv").write_bytes(b"content,style\n\xff\xfe,a\n")
    with pytest.raises(UserError, match=r"names the content \\udcff\\udcfe, .* and that the manifest is UTF-8"):
        read_manifest(Path("x.csv"), OUT)
    with pytest.raises(UserError, match=r"--manifest y\.csv can't be read as CSV"):
        read_manifest(Path("y.csv"), OUT)
