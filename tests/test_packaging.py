"""What is released: the wheel and the sdist, their metadata, and the files around them that have to agree."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from email import message_from_bytes
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from PIL import Image

import nst_lightning

ROOT = Path(__file__).parents[1]
PAINT = shlex.split("nst fit --config configs/quick.yaml --data.sizes [48] --data.steps 2 --output.path out.png")
PYPROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def _version() -> str:
    found = re.search(r'^version = "(.*)"$', PYPROJECT, re.MULTILINE)
    assert found
    return found[1]


def test_the_version_is_that_of_the_installed_package() -> None:
    assert nst_lightning.__version__ == version("nst-lightning")
    assert "__version__" in nst_lightning.__all__


def test_changelog_and_citation_are_of_this_version() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    latest = re.search(r"^## \[([0-9.]+)\] - (unreleased|\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert latest
    assert latest[1] == _version()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert str(citation["version"]) == _version()
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)


def test_the_repository_has_one_address_which_stands_in_one_file() -> None:
    addresses = re.findall(r"https://github\.com/([\w.-]+/nst-lightning)", PYPROJECT)
    assert len(set(addresses)) == 1
    assert len(addresses) >= 5
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout")
    for name in listed.stdout.splitlines():
        if name.endswith((".md", ".yml", ".yaml", ".cff", ".toml", ".html", "Dockerfile")) and name != "pyproject.toml":
            assert f"github.com/{addresses[0]}" not in (ROOT / name).read_text(encoding="utf-8"), name


def _extra(name: str) -> str:
    found = re.search(rf"^{name} = \[\n(.*?)^\]$", PYPROJECT, re.MULTILINE | re.DOTALL)
    assert found
    return found[1]


def test_every_bound_of_the_documentation_has_its_reason() -> None:
    for line in _extra("docs").splitlines():
        assert re.fullmatch(r' +"[\w.-]+>=[\d.]+(,<\d+)?", +# .+', line), line


def test_the_lowest_versions_are_understood(tmp_path: Path) -> None:
    tomllib = pytest.importorskip("tomllib", reason="Python 3.10 has none")
    script = ROOT / "tools" / "minimum_versions.sh"
    environment = {**os.environ, "PYTHON": "false"}  # with which it ends before anything is installed
    done = subprocess.run([script, tmp_path], env=environment, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    found = dict(line.split("==") for line in (tmp_path / "constraints.txt").read_text(encoding="utf-8").splitlines())
    project = tomllib.loads(PYPROJECT)["project"]
    bounds = [
        bound for group in (project["dependencies"], *project["optional-dependencies"].values()) for bound in group
    ]
    parsed = [re.fullmatch(r"([\w.-]+)(?:\[[^]]*\])?>=([\d.]+)(?:,.*)?", bound) for bound in bounds if ">=" in bound]
    assert found == {match[1]: match[2] for match in parsed if match}
    assert all(parsed)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and sdist, the wheel built from the sdist as `python -m build` does."""
    pytest.importorskip("build")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.mark.slow
@pytest.mark.processes
def test_wheel_and_sdist_hold_what_they_should_and_the_wheel_paints(built: Path, tmp_path: Path) -> None:
    (wheel,), (sdist,) = built.glob("*.whl"), built.glob("*.tar.gz")
    assert wheel.name == f"nst_lightning-{_version()}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"nst_lightning-{_version()}.dist-info/METADATA")
    with tarfile.open(sdist) as archive:
        shipped = {name.partition("/")[2] for name in archive.getnames()}
    _check_wheel(names)
    _check_metadata(metadata)
    assert {"configs/starry.yaml", "tests/conftest.py", "tools/make_gallery.py", "docs/index.md"} <= shipped
    assert {"pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md", "mkdocs.yml"} <= shipped
    assert not [
        name for name in shipped if re.search(r"(^|/)(\.venv|lightning_logs|__pycache__|build|dist)(/|$)", name)
    ]
    _paint_from(wheel, tmp_path)


def _check_wheel(names: set[str]) -> None:
    assert {name.partition("/")[0] for name in names} == {"nst_lightning", f"nst_lightning-{_version()}.dist-info"}
    package = {name.partition("/")[2] for name in names}
    for folder, pattern in {"configs": "**/*.yaml", "nst_lightning": "**/*"}.items():
        for file in (ROOT / folder).glob(pattern):
            name = file.relative_to(ROOT / folder).as_posix()
            if file.is_file() and "__pycache__" not in name:
                assert (f"configs/{name}" if folder == "configs" else name) in package, name
    assert not [name for name in package if re.match(r"(tests|tools|docs|benchmarks)/", name)]


def _check_metadata(content: bytes) -> None:
    metadata = message_from_bytes(content)
    assert metadata["Version"] == _version()
    assert metadata["License-Expression"] == "MIT"
    urls = dict(entry.split(", ") for entry in metadata.get_all("Project-URL", []))
    assert {"Repository", "Documentation", "Issues", "Changelog"} <= set(urls)
    text = str(metadata.get_payload())
    links = re.findall(r"\]\(([^)]+)\)", text)
    assert len(links) > 20
    assert all(link.startswith("https://") for link in links)
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert pictures[0] == f"{urls['Repository']}/raw/v{_version()}/docs/starry.jpg"
    assert all(link.startswith(f"{urls['Repository']}/raw/") for link in pictures)


def _paint_from(wheel: Path, folder: Path) -> None:
    """Paint with the wheel alone in the path of modules, and without the checkout."""
    target = folder / "site"
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(target), str(wheel)]
    subprocess.run(command, check=True)
    (folder / "work").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(target)}
    for args in (PAINT[1:], ["--version"]):
        done = subprocess.run(
            [sys.executable, str(target / "bin" / "nst"), *args],
            cwd=folder / "work",
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    assert done.stdout == f"nst-lightning {_version()}\n"
    with Image.open(folder / "work" / "out.png") as image:
        assert image.size == (48, 36)
    where = [sys.executable, "-c", "import nst_lightning; print(nst_lightning.__file__)"]
    found = subprocess.run(where, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    assert found.stdout.startswith(str(target))


DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")


def _instructions() -> list[tuple[str, str]]:
    lines = [line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if line and not line.startswith("#")]
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines)]


def test_the_dockerfile_is_in_order() -> None:
    instructions = _instructions()
    known = {"ARG", "FROM", "ENV", "COPY", "RUN", "USER", "WORKDIR", "EXPOSE", "HEALTHCHECK", "CMD"}
    assert {name for name, _ in instructions} <= known
    stages = [rest for name, rest in instructions if name == "FROM"]
    assert stages == ["python:${PYTHON}-slim AS build", "python:${PYTHON}-slim"]
    assert not [rest for name, rest in instructions if name == "FROM" and rest.endswith(":latest")]
    final = instructions[instructions.index(("FROM", stages[-1])) :]
    assert dict(final)["EXPOSE"] == "7860"
    assert dict(final)["USER"] == "1000"  # not root
    command = yaml.safe_load(dict(final)["CMD"])
    assert command[:2] == ["sh", "-c"]
    assert "exec nst app --host 0.0.0.0 --port 7860" in command[2]
    assert any(name == "ARG" and rest.startswith("TORCH_INDEX=") for name, rest in instructions)


def test_docker_gets_what_the_wheel_is_built_from() -> None:
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    assert "*" in ignored
    kept = {line[1:] for line in ignored if line.startswith("!")}
    assert kept == {"LICENSE", "README.md", "configs", "nst_lightning", "pyproject.toml"}


@pytest.mark.skipif(shutil.which("hadolint") is None, reason="hadolint is not installed")
def test_hadolint_has_nothing_to_say() -> None:
    done = subprocess.run(["hadolint", "Dockerfile"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


_ASK = """
import time, urllib.request
for _ in range(60):
    try:
        print(urllib.request.urlopen("http://127.0.0.1:7860/").status)
        break
    except OSError:
        time.sleep(1)
"""


def _docker_runs() -> bool:
    if shutil.which("docker") is None:
        return False
    try:
        return subprocess.run(["docker", "info"], capture_output=True, timeout=30, check=False).returncode == 0
    except subprocess.TimeoutExpired:
        return False


@pytest.mark.slow
@pytest.mark.processes
def test_the_image_serves_the_page_and_paints() -> None:
    if not _docker_runs():
        pytest.skip("no Docker that runs")
    tag = "nst-lightning:test"
    subprocess.run(["docker", "build", "--tag", tag, "."], cwd=ROOT, check=True)
    subprocess.run(["docker", "run", "--rm", tag, *PAINT], check=True)
    running = subprocess.run(["docker", "run", "--rm", "--detach", tag], capture_output=True, text=True, check=True)
    container = running.stdout.strip()
    try:
        asked = ["docker", "exec", container, "python", "-c", _ASK]
        assert subprocess.run(asked, capture_output=True, text=True, check=True).stdout == "200\n"
    finally:
        subprocess.run(["docker", "stop", container], capture_output=True, check=False)


WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def _steps(name: str) -> list[str]:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / f"{name}.yml").read_text(encoding="utf-8"))["jobs"]
    return [step.get("run", step.get("uses", "")) for job in jobs.values() for step in job["steps"]]


def test_workflows_do_what_ci_does() -> None:
    assert [file.stem for file in WORKFLOWS] == ["docs", "release", "tests"]
    tests = yaml.safe_load(WORKFLOWS[2].read_text(encoding="utf-8"))["jobs"]
    assert tests["suite"]["strategy"]["matrix"]["python"] == ["3.10", "3.13"]
    assert ".ci/run" in _steps("tests")
    assert any(step.startswith("tools/minimum_versions.sh") for step in _steps("tests"))
    assert "mkdocs build --strict" in _steps("docs")
    release = yaml.safe_load(WORKFLOWS[1].read_text(encoding="utf-8"))["jobs"]
    assert release["publish"]["permissions"] == {"id-token": "write"}  # trusted publishing: no token is kept
    assert ".ci/run" in _steps("release")
    for step in (step for name in ("tests", "docs", "release") for step in _steps(name)):
        for program in re.findall(r"(?:^|\s)((?:\.ci|tools)/\S+)", step):
            assert os.access(ROOT / program, os.X_OK), program


def test_hooks_before_a_commit_are_local() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))["repos"]
    assert [repo["repo"] for repo in hooks] == ["local"]
    assert [hook["id"] for hook in hooks[0]["hooks"]] == ["ruff-check", "ruff-format", "mypy"]


@pytest.mark.parametrize("form", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml")), ids=lambda f: f.stem)
def test_issue_forms_have_what_github_wants(form: Path) -> None:
    content = yaml.safe_load(form.read_text(encoding="utf-8"))
    assert {"name", "description", "body"} <= set(content)
    ids = [field["id"] for field in content["body"]]
    assert len(set(ids)) == len(ids)
    assert all(field["attributes"]["label"] for field in content["body"])
