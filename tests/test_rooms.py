"""The house: imports point one way, between files as between folders, and no module is too long to read."""

from __future__ import annotations

import ast
import re
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from detserve.archives import contents

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "detserve"
MODULES = {".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in PACKAGE.rglob("*.py")}
ORDER = [
    "core",
    "pictures",
    "text",
    "models",
    "engines",
    "archives",
    "worker",
    "serve",
    "pack",
    "client",
    "bench",
    "bulk",
    "demo",
]
"""The rooms; each may import those before it."""
BELOW = {"errors", "options", "places"}
"""The files beside the rooms that stand below them all; the others stand above."""
LIMIT = 400


def module(name: str) -> str | None:
    """The module of that dotted name, a package's being its `__init__`; None for what is none of detserve's."""
    return next((each for each in (name, f"{name}.__init__") if each in MODULES), None)


def imported(path: Path) -> set[str]:
    """The modules of detserve that a file imports, anywhere in it, those for type checkers included."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {module(alias.name) for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {module(f"{node.module}.{alias.name}") or module(node.module) for alias in node.names}
    return {name for name in found if name is not None and name != "detserve.__init__"}


GRAPH = {name: imported(path) - {name} for name, path in MODULES.items()}


def room(name: str) -> str:
    parts = name.removesuffix(".__init__").split(".")
    return parts[1] if len(parts) > 1 and (PACKAGE / parts[1]).is_dir() else ""


def test_no_files_import_each_other_in_a_circle() -> None:
    try:
        TopologicalSorter(GRAPH).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def folder(name: str) -> str:
    """The folder of a module; those of BELOW are as one of their own."""
    parent, _, stem = name.rpartition(".")
    return "BELOW" if parent == "detserve" and stem in BELOW else parent


def test_no_folders_import_each_other_in_a_circle() -> None:
    graph: dict[str, set[str]] = {}
    for name, others in GRAPH.items():
        graph.setdefault(folder(name), set()).update({folder(other) for other in others} - {folder(name)})
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_rooms_import_only_what_lies_before_them() -> None:
    assert {room(name) for name in MODULES} == {*ORDER, "", "serving"}
    wrong = [
        f"{name} imports {other}"
        for name, others in GRAPH.items()
        for other in others
        if room(name) in ORDER and room(other) in ORDER and ORDER.index(room(name)) < ORDER.index(room(other))
    ]
    assert wrong == []


@pytest.mark.parametrize(("kept_out", "of"), [("worker", "client"), ("serve", "client"), ("pack", "client")])
def test_some_rooms_have_nothing_to_do_with_each_other(kept_out: str, of: str) -> None:
    assert [name for name in GRAPH if room(name) == of and any(room(other) == kept_out for other in GRAPH[name])] == []


def test_what_a_worker_imports_is_in_the_archive() -> None:
    packed = {name.removesuffix(".py").replace("/", ".") for name in contents.files() if name.startswith("detserve/")}
    missing = [f"{name} imports {other}" for name in packed for other in GRAPH[name] if other not in packed]
    assert missing == []


def test_the_floors_are_nine_at_most() -> None:
    """A file's room stands one floor above the highest that it imports; scripts stand on top."""
    rooms: dict[str, set[str]] = {}
    scripts = {path.stem: path for path in ROOT.glob("*.py")}
    graph = GRAPH | {name: imported(path) for name, path in scripts.items()}
    for name, others in graph.items():
        own = room(name) or name
        rooms.setdefault(own, set()).update(other for other in (room(each) or each for each in others) if other != own)
    floors: dict[str, int] = {}
    for name in TopologicalSorter(rooms).static_order():
        floors[name] = 1 + max((floors[other] for other in rooms.get(name, ())), default=0)
    assert max(floors.values()) <= 9, floors


def test_no_module_is_too_long() -> None:
    folders = ("detserve", "benchmarks", "docker", "handlers", "tests")
    paths = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    lengths = {path.relative_to(ROOT): len(path.read_text("utf-8").splitlines()) for path in paths}
    assert {path: length for path, length in lengths.items() if length > LIMIT} == {}


def test_the_guide_names_files_that_are_there() -> None:
    guide = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    links = re.findall(r"\]\((?!http)([^)#]+)\)", guide)
    assert len(links) > 15
    assert [link for link in links if not (ROOT / link).exists()] == []
    asked = re.findall(r"^\| (?!what \|)(.*?) \| (.*) \|$", guide, re.MULTILINE)
    assert [what for what, where in asked if not 1 <= where.count("](") <= 2] == []
    rooms = re.findall(r"^      (\w+)/ ", guide, re.MULTILINE)
    assert rooms == ORDER
