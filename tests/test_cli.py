"""The command `detserve`: what it says of its subcommands, and on machines that lack their packages."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from detserve import __version__
from detserve.archives import archive
from detserve.archives.recipe import PackedModel, Recipe
from detserve.cli import COMMANDS, main
from detserve.engines.base import EnginePlan
from detserve.models import centerface

ROOT = Path(__file__).parents[1]
BARE = """
import sys

THERE = {*sys.stdlib_module_names, "detserve", "numpy", "yaml"}

class Bare:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in THERE:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Bare())
from detserve.cli import main
sys.exit(main(sys.argv[1:]))
"""
"""detserve where pip has brought nothing but its own dependencies."""


def bare(*arguments: str | Path, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BARE, *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_page_has_every_command() -> None:
    page = (ROOT / "docs" / "operating.md").read_text("utf-8")
    assert sorted(re.findall(r"^\| `detserve (\w+)", page, re.MULTILINE)) == sorted(COMMANDS)


@pytest.fixture
def packed(tmp_path: Path) -> Path:
    """A small archive of detserve's, without an engine."""
    plan = EnginePlan(precision="fp32", max_batch=1)
    model = PackedModel(
        model="centerface",
        settings=centerface.SPECS[0].settings(),
        backend="eager",
        plan=plan,
        weights_sha256="0" * 64,
        parity={},
    )
    path = tmp_path / "small.mar"
    archive.write(path, "small", "1.0", "picture_handler.py", Recipe(detect=model, options={}), {})
    return path


@pytest.mark.parametrize("name", COMMANDS)
def test_a_commands_help_is_of_that_command_alone(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main([name, "--help"])
    told = capsys.readouterr().out
    assert told.startswith(f"usage: detserve {name} ")
    assert not re.search(r"\b(python|\w+\.py)\b", told)


def test_help_lists_the_commands_and_what_they_do(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--help"])
    told = capsys.readouterr().out
    assert [name for name, command in COMMANDS.items() if f"  {name:8}  {command.does}\n" not in told] == []


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match=r"^0$"):
        main(["--version"])
    assert capsys.readouterr().out == f"detserve {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "detserve: error: the following arguments are required: COMMAND"),
        (
            ["unpack"],
            r"detserve: error: argument COMMAND: invalid choice: 'unpack' \(choose from 'serve', 'pack', .*\)",
        ),
        (["show"], "detserve show: error: the following arguments are required: FILE.mar"),
        (["verify", "--sha256", "0"], "detserve verify: error: the following arguments are required: FILE.mar"),
        (["models", "fd1"], "detserve models: error: unrecognized arguments: fd1"),
        (["pack"], "detserve pack: error: a NAME is needed, fd1 for instance; .*"),
        (["detect"], r"detserve detect: error: the following arguments are required: PICTURE\|FOLDER\|GLOB"),
    ],
)
def test_wrong_usage_is_told_in_the_commands_own_words(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match=r"^2$"):
        main(arguments)
    usage, *_, line = capsys.readouterr().err.splitlines()
    assert usage.startswith(f"usage: {message.partition(':')[0]} ")
    assert re.fullmatch(message, line)


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["show", "absent.mar"], "detserve show: no file absent.mar; repack.py \\(detserve pack\\) makes it"),
        (["verify", "absent.mar"], "detserve verify: cannot read absent.mar or its sum: .*"),
        (["pack", "own"], "detserve pack: --model is needed: .*"),
        (["serve", "--model-store", "absent"], "detserve serve: no archive in absent: python repack.py fd1 makes .*"),
        (["detect", "absent.jpg"], "detserve detect: no picture at absent.jpg.*"),
        (["bench", "--pictures", "absent.jpg"], "detserve bench: .*absent.jpg.*"),
        (["versions", "fd1", "--management", "http://127.0.0.1:1"], "detserve versions: .*"),
    ],
)
def test_an_error_is_one_line_that_begins_with_the_command(
    arguments: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("signal.signal", lambda *_: None)
    assert main(arguments) == 1
    assert re.fullmatch(line, capsys.readouterr().err.rstrip("\n"))


def test_an_archive_is_shown_and_verified(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(packed)]) == 0
    assert capsys.readouterr().out.startswith("small/1.0  handler picture_handler.py\n")
    summed, _, _ = packed.with_name("small.mar.sha256").read_text().partition(" ")
    assert main(["verify", str(packed), "--sha256", summed]) == 0
    assert "the sum agrees with --sha256 and small.mar.sha256" in capsys.readouterr().out
    assert main(["verify", str(packed), "--sha256", "0" * 64]) == 1
    assert capsys.readouterr().err.startswith("detserve verify: ")


def test_models_and_archives_are_looked_at_with_numpy_and_yaml_alone(packed: Path) -> None:
    for arguments in (["models"], ["show", packed], ["verify", packed], ["--help"], ["pack", "--help"]):
        ended = bare(*arguments)
        assert (ended.returncode, ended.stderr) == (0, ""), arguments


@pytest.mark.parametrize(
    ("arguments", "extra"),
    [
        (["serve"], "serve"),
        (["versions", "fd1"], "serve"),
        (["pack", "fd1"], "pack"),
        (["detect", str(ROOT / "docs/faces.jpg")], "client"),
        (["bench"], "bench"),
        (["bulk", str(ROOT / "docs/faces.jpg"), "--out", "nowhere"], "bulk"),
        (["bench", "--mode", "engine"], "serve"),
        (["bench", "--mode", "torch"], "pack"),
    ],
)
def test_a_missing_package_is_told_in_one_line_with_what_brings_it(arguments: list[str], extra: str) -> None:
    ended = bare(*arguments)
    line = rf"detserve {arguments[0]}: the package '\w+' is missing: pip install -r requirements/{extra}.txt\n"
    assert ended.returncode == 1 and re.fullmatch(line, ended.stderr), ended.stderr


def test_a_module_of_detserves_own_that_is_missing_is_no_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(COMMANDS, "serve", COMMANDS["serve"]._replace(run="detserve.absent:main"))
    with pytest.raises(ModuleNotFoundError, match=r"detserve\.absent"):
        main(["serve"])


def test_whoever_reads_only_the_first_lines_is_not_told_of_a_broken_pipe() -> None:
    command = f"{sys.executable} -m detserve models | head -1"
    ended = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert (ended.stdout, ended.stderr) == ("centerface\n", "")
