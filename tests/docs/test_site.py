"""The documentation: it builds without a warning, its links lead somewhere, and its commands are ones that we have."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from html.parser import HTMLParser
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
import torch
import yaml
from lightning.pytorch import LightningDataModule

from nst_lightning._compat import option_names, silence_lightning
from nst_lightning.cli.app import read_app_request
from nst_lightning.cli.batch import read_batch_request
from nst_lightning.cli.main import COMMANDS
from nst_lightning.cli.options import cluster_request
from nst_lightning.cli.pictures import names_picture, read_pictures
from nst_lightning.cli.predict import make_parser as make_predict_parser
from nst_lightning.cli.sweep import read_sweep_request
from nst_lightning.cli.video import read_video_request
from nst_lightning.errors import UserError
from nst_lightning.images.files import write_image
from nst_lightning.jobs.grid import SHORT_NAMES
from nst_lightning.runs.fit_command import NSTCommand, parsed, resolve_settings, run_command
from nst_lightning.runs.predict_command import PredictCommand
from tests.helpers.inputs import make_image

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


class _Page(HTMLParser):
    """Anchors, links and loaded resources of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.resources: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.anchors.update(values[name] for name in ("id", "name") if name in values)
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        if "src" in values:
            self.resources.append(values["src"])
        if tag == "link" and values.get("rel") not in ("canonical", "prev", "next"):
            self.resources.append(values["href"])


def read_site(folder: Path) -> dict[Path, _Page]:
    return {file: _Page(file.read_text(encoding="utf-8")) for file in folder.rglob("*.html")}


def broken_links(folder: Path) -> Iterator[str]:
    """Links and resources that lead to no file or anchor of a built site; those to other sites are passed over."""
    pages = read_site(folder)
    for file, page in pages.items():
        for link in (*page.links, *page.resources):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            path = unquote(parts.path)
            start = folder if path.startswith("/") else file.parent
            target = (start / path.lstrip("/")).resolve() if path else file
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                yield f"{file.name}: {link} is no file"
            elif parts.fragment and target in pages and unquote(parts.fragment) not in pages[target].anchors:
                yield f"{file.name}: {link} is no anchor"


def test_a_broken_link_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text(
        '<a href="b.html#here">b</a> <a href="b.html#gone">b</a> <a href="https://elsewhere.org/x">x</a>'
        '<img src="missing.jpg"> <a href="#top">top</a>'
    )
    (tmp_path / "b.html").write_text('<h1 id="here">B</h1><a href="a.html">a</a>')
    assert sorted(broken_links(tmp_path)) == [
        "a.html: #top is no anchor",
        "a.html: b.html#gone is no anchor",
        "a.html: missing.jpg is no file",
    ]


@pytest.mark.slow
@pytest.mark.processes
def test_the_site_builds_strictly_its_links_lead_somewhere_and_it_loads_nothing_from_elsewhere(tmp_path: Path) -> None:
    pytest.importorskip("mkdocs")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path / "site")]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": str(ROOT)}
    built = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    pages = read_site(tmp_path / "site")
    assert len(pages) > 30
    assert not list(broken_links(tmp_path / "site"))
    foreign = {link for page in pages.values() for link in page.resources if urlsplit(link).netloc}
    assert not foreign
    text = {file.relative_to(tmp_path / "site").as_posix(): file.read_text(encoding="utf-8") for file in pages}
    assert "nst sweep [--config FILE]" in text["reference/commands.html"]
    assert "Three speeds." in text["benchmarks.html"]
    assert "What it can" in text["models/starry.html"]
    assert "Agreement with the teacher" in text["models/compact_vgg19.html"]
    for page in ("concepts/losses.html", "reference/losses.html"):
        assert "<math" in text[page], page
        assert not re.search(r":math:|\.\. math::|arithmatex|\\\(", text[page]), page
    assert (tmp_path / "site" / "search" / "search_index.js").is_file()  # which a page opened from a folder can load


def shell_blocks(page: Path) -> Iterator[str]:
    """Command lines in the blocks of shell code of a Markdown page, those that go on in the next line joined."""
    for block in re.findall(r"^```bash\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL):
        yield from block.replace("\\\n", " ").splitlines()


def inline_codes(page: Path) -> list[str]:
    """Code within the text and tables of a Markdown page, without the blocks."""
    text = re.sub(r"^ *```.*?^ *```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", text)]


def nst_commands() -> Iterator[tuple[str, list[str]]]:
    """Every `nst` command of README and documentation with its arguments, also after `&&` and in tables."""
    for page in PAGES:
        for line in (*shell_blocks(page), *(code for code in inline_codes(page) if re.match(r"nst \S+ ", code))):
            if found := re.search(r"(?:^|[\s/(])nst ([\w:./]+ [^()]*|[a-z]+)\)?$", line):
                yield page.relative_to(ROOT).as_posix(), shlex.split(found[1], comments=True)


SHOWN = sorted({(page, shlex.join(args)) for page, args in nst_commands() if not {"…", "CLASS", "COMMAND"} & set(args)})


def test_every_command_is_shown() -> None:
    names = {args.split()[0] for _, args in SHOWN}
    assert {name for name in names if not names_picture(name)} == set(COMMANDS)
    assert {"me.jpg", "./fit", "sample:town"} <= names


class _ParsedPredict(PredictCommand):
    """`nst predict` up to the point where something would be made or run."""

    def instantiate_classes(self) -> None:
        pass

    def run_subcommand(self, subcommand: str) -> None:
        pass


def _check_fit(configs: Sequence[str | Path], options: Sequence[str]) -> None:
    resolve_settings(["fit", *(f"--config={config}" for config in configs), *options])


def check_command(command: str, args: list[str]) -> None:
    """Parse a command as far as it goes without the files that it names."""
    if command == "fit":
        resolve_settings([command, *args])
    elif command == "predict":
        silence_lightning()
        own, rest = make_predict_parser().split(args)
        cluster_request(own)
        _ParsedPredict([command, *rest])
    elif command == "sweep":
        sweep = read_sweep_request(args)
        _check_fit([], sweep.base)
    elif command == "batch":
        batch = read_batch_request(args)
        _check_fit(batch.configs, batch.base)
    elif command == "video":
        video = read_video_request(args)
        _check_fit(video.configs, video.base)
    elif command == "app":
        read_app_request(args)
    elif command not in COMMANDS:  # pictures
        (command, *args), _ = read_pictures([command, *args])
        check_command(command, args)
    else:
        import_module(f"nst_lightning.cli.{command}").make_parser().parse_own(args)


@pytest.mark.slow
@pytest.mark.parametrize(("page", "command"), SHOWN)
def test_a_command_that_is_shown_can_be_given(
    page: str, command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (loss,) = python_blocks(ROOT / "docs" / "how-to" / "own_loss.md")
    (tmp_path / "my_losses.py").write_text(loss)  # which a command of that page names
    (tmp_path / "mine.yaml").write_text((ROOT / "configs" / "starry.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    given = command.replace("s3://", "memory://")  # a store that is there without a network
    given = given.replace("$head", "node1").removesuffix(" &").removesuffix(" '&'")  # of a shell script
    name, *args = shlex.split(given)
    for image in re.findall(r"--config (\S+\.png)", command):  # which holds the settings that it was painted by
        settings = ROOT / "configs" / ("starry.yaml" if name == "fit" else "fast_predict.yaml")
        write_image(image, torch.zeros(1, 3, 8, 8), settings=settings.read_text())
    ends: AbstractContextManager[Any] = nullcontext()
    if "help" in command or "--print_config" in args:
        ends = pytest.raises(SystemExit, match=r"^(0|None)?$")
    elif "--ckpt_path last" in command:
        ends = pytest.raises(UserError, match="--ckpt_path last found no checkpoint below")
    with ends:
        check_command(name, args)


OF_FIT = [
    *("README", "docs/first_picture", "docs/faq"),
    *(f"docs/how-to/{name}" for name in ("options", "masks", "colors", "resume", "posters", "tensorboard")),
    *(f"docs/concepts/{name}" for name in ("pyramid", "tiling", "same_picture", "networks")),
]
_NOT_OF_FIT = r"--(help|print_config|\S*\.help|ckpt_path|temporal_weight)|.*(…|FILE|--config)"


def options_of_fit() -> Iterator[tuple[str, str]]:
    """Options of `nst fit` that stand alone in a page, such as `--data.size 1024`."""
    for page in OF_FIT:
        for code in re.findall(r"`(--[^`]+)`", (ROOT / f"{page}.md").read_text(encoding="utf-8")):
            if " " in code and not re.match(_NOT_OF_FIT, code):
                yield page, code


@pytest.mark.slow
@pytest.mark.parametrize(("page", "options"), sorted(set(options_of_fit())))
def test_an_option_that_is_shown_exists(
    page: str, options: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    resolve_settings(["fit", *shlex.split(options)])


def defaults_shown() -> Iterator[tuple[str, str, str]]:
    """Page, option of `nst fit` and default, where a page has this in parentheses: `--data.size 1024` (512)."""
    after = r"`--([\w.]+)(?: [^`]*)?` \((\d[\d.]*)(?: in `starry.yaml`| pixels)?\)"
    before = r"^\| [^|`]*\((\d[\d.]*)\) \| `--([\w.]+)"
    at_the_end = r"^\| `--([\w.]+)[^|]* \| [^|`]*\((\d[\d.]*)\) \|$"
    for page in (*OF_FIT, "docs/reference/commands"):
        text = (ROOT / f"{page}.md").read_text(encoding="utf-8")
        yield from ((page, name, number) for pattern in (after, at_the_end) for name, number in _found(pattern, text))
        yield from ((page, name, number) for number, name in _found(before, text))


def _found(pattern: str, text: str) -> list[tuple[str, str]]:
    return re.findall(pattern, text, re.MULTILINE)


@pytest.mark.slow
def test_a_default_that_is_shown_is_the_default() -> None:
    shown = set(defaults_shown())
    assert {("README", "data.size", "512"), ("docs/how-to/options", "seed_everything", "0")} <= shown
    assert ("docs/how-to/resume", "checkpoint.every_n_steps", "50") in shown
    settings = dict(_flat_values(resolve_settings(["fit"])))
    assert not {place for place in shown if float(place[2]) != settings[place[1]]}


OF_LIGHTNING = {
    "fit": ("starry", "fast_starry", "any_style", "distill_compact", "texture", "inversion", "crowsonkb"),
    "predict": ("fast_predict",),
}


def known_options() -> set[str]:
    """Names of all options of all commands."""
    parsers = (
        import_module(f"nst_lightning.cli.{name}") for name in ("pictures", *COMMANDS) if name not in OF_LIGHTNING
    )
    names = {name for module in parsers for name in option_names(module.make_parser())} | set(SHORT_NAMES)
    for command, configs in OF_LIGHTNING.items():
        for config in configs:
            read = parsed(NSTCommand if command == "fit" else PredictCommand, [command, f"--config={config}"])
            settings = yaml.safe_load(read.subcommand_parser().dump(read.config[command], skip_none=False))
            names |= {f"{name}{end}" for name, _ in _flat_values(settings) for end in ("", ".help")} | {
                "help",
                "print_config",
            }
    return names


def _flat_values(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Settings by their names as one types them, groups too."""
    if isinstance(settings, dict):
        for name, value in settings.items():
            inner = prefix if name == "init_args" else f"{prefix}.{name}" if prefix else name
            yield inner, value
            yield from _flat_values(value, inner)


@pytest.mark.slow
def test_every_option_that_is_named_exists() -> None:
    known = known_options()
    assert {"data.size", "model.style.weight", "instant", "names", "model.smoothing"} <= known
    unknown = {
        (page.name, option)
        for page in PAGES
        for code in inline_codes(page)
        if code.startswith(("--", "nst ", "-"))
        for option in re.findall(r"(?<![\w-])--(?:grid\.)?([A-Za-z][\w.-]*)", code)
        if option not in known and not option.startswith("trainer.logger.")  # those of another logger
    }
    assert not unknown


@pytest.mark.slow
def test_a_run_leaves_the_files_that_the_reference_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = ROOT / "configs" / "quick.yaml"
    steps = ("--data.sizes=[32]", "--data.first_steps=null", "--data.steps=100", "--output.every_n_steps=100")
    device = ("--trainer.accelerator=cpu", "--trainer.enable_progress_bar=false")
    assert run_command(["fit", f"--config={config}", *steps, *device]) == 0
    text = (ROOT / "docs" / "reference" / "commands.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`(?:lightning_logs/NAME/version_N|…)/[^|]*) \|", text, re.MULTILINE)
    named = {
        name.removeprefix("…/")
        for cell in cells
        for name in re.findall(r"`(?:lightning_logs/NAME/version_N/)?([^`]+)`", cell)
    }
    run = Path("lightning_logs/quick/version_0")
    left = {file.relative_to(run).as_posix() for file in run.rglob("*") if file.is_file() and file.name[0] != "."}
    assert {re.sub(r"(tfevents\.).*", r"\1*", name) for name in left} == named


def python_blocks(page: Path) -> list[str]:
    return re.findall(r"^```python.*?\n(.*?)^```$", page.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/how-to/python.md"])
def test_python_that_is_shown_runs(page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    make_image(tmp_path / "me.jpg", 40, 30, seed=1)
    make_image(tmp_path / "painting.jpg", 36, 36, seed=2)
    monkeypatch.chdir(tmp_path)
    program = "\n".join(python_blocks(ROOT / page))
    stylized = re.compile(r"(stylize\(.*), size=512\)")
    program = stylized.sub(r'\1, size=32, steps=2, **{"data.first_steps": None})', program)
    for size in ("size=512", "sizes=[256], steps=100"):
        program = program.replace(size, "sizes=[32], steps=2")
    names: dict[str, Any] = {}
    exec(compile(program, page, "exec"), names)  # our own page
    assert names["result"].picture.shape == (1, 3, 24, 32)
    assert (tmp_path / "me.png").is_file()


def test_the_loss_of_the_page_is_what_its_docstring_says() -> None:
    names: dict[str, Any] = {}
    exec(compile(*python_blocks(ROOT / "docs" / "how-to" / "own_loss.md"), "own_loss.md", "exec"), names)
    loss = names["MeanColorLoss"](weight=3.0)
    targets = loss.prepare(loss.measure({"input": torch.full((1, 3, 5, 7), 0.5)}))
    image = torch.tensor([0.5, 0.5, 1.0]).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    terms = loss({"input": image}, targets)
    assert terms == {"mean_color": pytest.approx(3 * 0.25)}


def test_the_readme_is_short_and_ci_finds_its_two_commands() -> None:
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert len(lines) <= 95
    for mark in ("paint", "test"):
        block = lines[lines.index(f"<!-- {mark} -->") + 1 :]
        assert block[0] == "```bash"
        assert block[2:4] == ["```", "<!-- end -->"]


def test_no_table_cuts_a_formula() -> None:
    """In a row of a table `|` ends a cell, within a formula too."""
    rows = [line for page in PAGES for line in page.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
    cut = [row for row in rows for formula in re.findall(r"\$([^$`]+)\$", row) if re.search(r"(?<!\\)\|", formula)]
    assert not cut


def test_what_can_be_imported_is_in_the_reference() -> None:
    pages = "".join(page.read_text(encoding="utf-8") for page in (ROOT / "docs" / "reference").glob("*.md"))
    shown = {path.rpartition(".")[2] for path in re.findall(r"^::: (\S+)$", pages, re.MULTILINE)}
    public = [f"nst_lightning.{name}" for name in ("networks", "tasks")]
    wanted = {name for module in ("nst_lightning", *public) for name in import_module(module).__all__}
    modules = import_module("nst_lightning.data")
    wanted |= {name for name in modules.__all__ if issubclass(getattr(modules, name), LightningDataModule)}
    assert wanted - shown == {"__version__"}


def test_links_of_the_readme_and_its_companions_lead_to_files() -> None:
    for page in (path for path in PAGES if path.parent == ROOT):
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)[^)]*\)", page.read_text(encoding="utf-8")):
            assert (ROOT / link).exists(), f"{page.name}: {link}"


def test_docstrings_with_sphinx_formulas_are_rewritten_for_markdown(tmp_path: Path) -> None:
    griffe = pytest.importorskip("griffe")
    from tools.docs_site import SphinxMath, on_page_content

    code = '''
def f():
    r"""Return :math:`a_1
    + b`.

    .. math:: c \\, d
        + e

    Example:
        >>> f()
    """
'''
    (tmp_path / "m.py").write_text(code)
    module = griffe.load("m", search_paths=[tmp_path], extensions=griffe.load_extensions(SphinxMath))
    assert module["f"].docstring.value == ("Return \\(a_1 + b\\).\n\n\\[c \\, d\n    + e\\]\n\nExamples:\n    >>> f()")
    shown = on_page_content('<p>x <span class="arithmatex">\\(a &lt; b\\)</span></p>')
    assert re.fullmatch(r"<p>x <math .*<mi>a</mi><mo>&#x0003C;</mo><mi>b</mi>.*</math></p>", shown)
