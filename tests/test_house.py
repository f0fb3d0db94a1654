"""Rules of the house that a reader relies on: floors, private parts of other libraries, how docstrings begin."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import nst_lightning

PACKAGE = Path(nst_lightning.__file__).parent
FLOORS = (
    ("errors", "_compat", "utils"),
    ("images", "encoders", "networks"),
    ("losses", "optim", "video"),
    ("data",),
    ("tasks",),
    ("callbacks",),
    ("runs",),
    ("jobs",),
    ("app",),
    ("cli",),
)
"""Folders and files of the package, lowest first."""

FLOOR = {name: number for number, names in enumerate(FLOORS) for name in names}
ROOTS = ("__init__", "__main__")  # above all floors
FILES = {path.relative_to(PACKAGE).with_suffix("").parts: path for path in PACKAGE.rglob("*.py")}


def trees() -> Iterator[tuple[tuple[str, ...], ast.Module]]:
    """Yield the place of each file in the package and its syntax tree."""
    for place, path in FILES.items():
        yield place, ast.parse(path.read_text(encoding="utf-8"))


def imports(tree: ast.AST) -> set[str]:
    """Return the modules that are imported, inside of functions too."""
    found = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    return found | {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}


def test_no_import_runs_upward() -> None:
    upward = [
        f"{'/'.join(place)}.py imports {name}"
        for place, tree in trees()
        for name in imports(tree)
        if name.startswith("nst_lightning.") and place[0] not in ROOTS
        if FLOOR[name.split(".")[1]] > FLOOR[place[0]]
    ]
    assert not upward


def test_no_file_imports_one_that_imports_it() -> None:
    graph = {".".join(("nst_lightning", *place)).removesuffix(".__init__"): imports(tree) for place, tree in trees()}
    TopologicalSorter({name: needed & graph.keys() - {name} for name, needed in graph.items()}).prepare()


def test_nothing_below_the_data_imports_lightning() -> None:
    found = [
        f"{'/'.join(place)}.py"
        for place, tree in trees()
        if place[0] not in (*ROOTS, "_compat") and FLOOR[place[0]] < FLOOR["data"]
        if any(name.split(".")[0] == "lightning" for name in imports(tree))
    ]
    assert not found


def test_private_parts_of_other_libraries_are_touched_in_one_place() -> None:
    foreign = []
    for place, tree in trees():
        if place == ("_compat",):
            continue
        text = FILES[place].read_text(encoding="utf-8")
        for node in ast.walk(tree):
            if not isinstance(node, ast.Attribute) or not re.match("_[a-z]", node.attr):
                continue
            is_defined_here = re.search(rf"self\.{node.attr}\b|def {node.attr}\b|^    {node.attr}:", text, re.MULTILINE)
            if ast.unparse(node.value) not in ("self", "cls") and not is_defined_here:
                foreign.append(f"{'/'.join(place)}.py:{node.lineno}: {ast.unparse(node)}")
        # _thread is documented, as a part of the standard library.
        names = [part for name in imports(tree) for part in name.split(".") if re.match("_[a-z]", part)]
        foreign += [f"{'/'.join(place)}.py imports {name}" for name in names if name not in ("_compat", "_thread")]
    assert not foreign


def test_prose_is_spelled_as_identifiers_are() -> None:
    """American, but for a key on disk and the titles of others' work."""
    british = re.compile(
        r"\b(\w*(?:optimis|normalis|colour|neighbour|behaviour)\w*|(?:labell|modell)ed|licences?|centres?)\b"
    )
    allowed = {"color_matching.py": {"colour"}, "scaling.py": {"modelled"}}
    root, suffixes = PACKAGE.parent, (".md", ".py", ".yaml", ".ipynb", ".html", ".js", ".css")
    folders = (root / name for name in ("nst_lightning", "benchmarks", "configs", "docs", "examples", "tools"))
    files = [*root.glob("*.md"), *(file for folder in folders for file in folder.rglob("*") if file.suffix in suffixes)]
    found = {
        f"{file.relative_to(root)}: {word}"
        for file in files
        for word in british.findall(file.read_text(encoding="utf-8").lower())
        if word not in allowed.get(file.name, set())
    }
    assert not found


def test_docstrings_begin_as_pytorchs_do() -> None:
    refused = []
    for place, tree in trees():
        for node in ast.walk(tree):
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                continue
            text = ast.get_docstring(node) or ""
            puzzling = re.search(r"^ +\*{0,2}\w+: (Of |The same|Whose|Which\.)", text, re.MULTILINE)
            if re.match(r"(Give|Tell)s?\b", text) or puzzling:
                refused.append(f"{'/'.join(place)}.py:{node.lineno}: {node.name}")
    assert not refused
