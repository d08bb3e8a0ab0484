"""What is written for other servers: the same bytes each time, whole or not at all, and nothing that they cannot do."""

from __future__ import annotations

import errno
import json
import re
import shutil
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from detserve.archives import archive, contents
from detserve.archives.archive import write_zip
from detserve.archives.checksums import SUMS, sums
from detserve.errors import BadArchive
from detserve.pack import command as repack
from detserve.pack.exits import drawn, folder, litserve, packages, triton
from detserve.pack.exits.source import CORE, Source
from detserve.pictures.decode import decode
from detserve.worker import envelope
from detserve.worker.predictor import Predictor, Request
from tests.harness.archives import Shelf, write_archive

ROOT = Path(__file__).parents[3]


def tree(top: Path) -> dict[str, bytes]:
    return {p.relative_to(top).as_posix(): p.read_bytes() for p in sorted(top.rglob("*")) if p.is_file()}


def changed(path: Path, target: Path, version: str = "1.0", without: str = "") -> Path:
    """An archive with another version, or without a file, its sums right."""
    with zipfile.ZipFile(path) as mar:
        files = {name: mar.read(name) for name in mar.namelist() if name not in (without, SUMS)}
    files[archive.MANIFEST] = files[archive.MANIFEST].replace(b'"1.0"', f'"{version}"'.encode())
    target.parent.mkdir(exist_ok=True)
    with target.open("wb") as stream:
        write_zip(stream, files | {SUMS: sums(files)})
    return target


def test_a_triton_repository_is_the_same_each_time_and_whole(shelf: Shelf, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert repack.main(["fd1", "--triton", str(tmp_path / name), "--out", str(shelf.get("fd1").parent)]) == 0
    found = tree(tmp_path / "a")
    assert found == tree(tmp_path / "b")
    own = {
        "README.md",
        "requirements.txt",
        "config.pbtxt",
        "warmup/pictures",
        "1/model.py",
        "1/model.yaml",
        folder.MARK,
    }
    code = {f"1/{name}" for name in contents.files() if name not in (contents.HANDLER, contents.STARTUP)}
    engine = {f"1/{name}" for name in archive.read(shelf.get("fd1")).files if name.startswith("engine/")}
    assert found.keys() == {f"fd1/{name}" for name in own | code | engine}
    triton.lay_out(shelf.get("fd1"), tmp_path / "a")
    assert found == tree(tmp_path / "a"), "written once more over itself"


def test_versions_lie_beside_each_other(shelf: Shelf, tmp_path: Path) -> None:
    triton.lay_out(shelf.get("fd1"), tmp_path / "models")
    second = changed(shelf.get("fd1"), tmp_path / "new" / "fd1.mar", version="2.0")
    assert triton.lay_out(second, tmp_path / "models").name == "2"
    held = {path.name for path in (tmp_path / "models" / "fd1").iterdir() if path.is_dir()}
    assert held == {"1", "2", "warmup"}
    both = tree(tmp_path / "models")
    triton.lay_out(second, tmp_path / "models")
    assert both == tree(tmp_path / "models")
    (tmp_path / "models" / "fd1" / "3").mkdir()
    (tmp_path / "models" / "fd1" / "3" / "model.py").write_bytes(b"mine")
    with pytest.raises(BadArchive, match=r"3/model\.py for instance"):
        triton.lay_out(second, tmp_path / "models")


def test_the_configuration_is_that_of_the_yaml(shelf: Shelf, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    shutil.copyfile(ROOT / "config" / "config.properties", tmp_path / "config" / "config.properties")
    (tmp_path / "config" / "fd1.yaml").write_text("serve: {workers: 3, batch_size: 4, max_batch_delay: 5}\n")
    triton.lay_out(shelf.get("fd1"), tmp_path / "models", tmp_path / "config")
    config = (tmp_path / "models" / "fd1" / "config.pbtxt").read_text()
    for line in (
        "preferred_batch_size: [ 4 ]",
        "max_queue_delay_microseconds: 5000",
        "max_queue_size: 100",
        "count: 3 kind: KIND_CPU",
    ):
        assert line in config
    litserve.lay_out(shelf.get("fd1"), tmp_path / "fd1", tmp_path / "config")
    settings = json.loads((tmp_path / "fd1" / "serving.json").read_text())
    assert (settings["workers"], settings["batch_size"], settings["max_batch_delay"]) == (3, 4, 5)
    assert (settings["queue"], settings["max_body"]) == (100, 32 * 2**20)


def test_a_folder_for_litserve_is_the_same_each_time_and_whole(shelf: Shelf, tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert repack.main(["fd1", "--litserve", str(tmp_path / name), "--out", str(shelf.get("fd1").parent)]) == 0
    found = tree(tmp_path / "a")
    assert found == tree(tmp_path / "b")
    own = {"server.py", "serving.json", "requirements.txt", "requirements-server.txt", "Dockerfile", "README.md"}
    assert found[folder.MARK].decode().splitlines()[1:] == sorted(found.keys() - {folder.MARK})
    assert own | {"model.yaml", "detserve/worker/predictor.py", "engine/detect/network.bin"} <= found.keys()
    litserve.lay_out(shelf.get("fd1"), tmp_path / "a")
    assert found == tree(tmp_path / "a")


FOREIGN = {
    "a thesis": {"thesis.tex": b"mine"},
    "a server of another": {"server.py": b"print('mine')", "thesis.tex": b"mine"},
    "a model of another": {
        "1/model.py": b"class TritonPythonModel: ...",
        "config.pbtxt": b"mine",
        "README.md": b"mine",
    },
    "a mark of another": {folder.MARK: b"mine\nthesis.tex\n", "thesis.tex": b"mine"},
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=[name.replace(" ", "-") for name in FOREIGN])
@pytest.mark.parametrize(("option", "place"), [("--triton", "models/fd1"), ("--litserve", "models")])
def test_what_is_somebody_elses_stays(
    shelf: Shelf,
    tmp_path: Path,
    option: str,
    place: str,
    foreign: dict[str, bytes],
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name, content in foreign.items():
        (tmp_path / place / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place / name).write_bytes(content)
    command = ["fd1", option, str(tmp_path / "models"), "--out", str(shelf.get("fd1").parent)]
    assert repack.main(command) == 1
    assert "holds something else" in capsys.readouterr().err
    assert tree(tmp_path) == {f"{place}/{name}": content for name, content in foreign.items()}


def test_what_was_put_into_an_export_stays_and_what_its_python_put_there_may_go(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()  # an empty one is nobody's
    folder.write(tmp_path / "a", {"server.py": b"1", "b/c.py": b"1"}, "LitServe")
    (tmp_path / "a/b/__pycache__").mkdir()
    (tmp_path / "a/b/__pycache__/c.pyc").write_bytes(b"compiled")
    with pytest.raises(BadArchive, match=r"something else than an export for Triton, \.detserve for instance"):
        folder.write(tmp_path / "a", {}, "Triton")
    folder.write(tmp_path / "a", {"server.py": b"2", "b/c.py": b"2"}, "LitServe")
    assert (tmp_path / "a/b/c.py").read_bytes() == b"2" and not (tmp_path / "a/b/__pycache__").exists()
    (tmp_path / "a/b/notes").symlink_to(tmp_path)
    with pytest.raises(BadArchive, match="b/notes for instance"):
        folder.write(tmp_path / "a", {}, "LitServe")
    assert (tmp_path / "a/b/notes").is_symlink()
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(BadArchive, match="file for instance"):
        folder.write(tmp_path / "file", {}, "LitServe")


@pytest.mark.parametrize("old", [True, False], ids=["one-before", "none-before"])
@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "No space left on device"), KeyboardInterrupt()], ids=repr)
def test_whatever_step_fails_nothing_has_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old: bool, error: BaseException
) -> None:
    model = tmp_path / "models" / "fd1"
    if old:
        folder.write(model, {"1/model.py": b"1", "config.pbtxt": b"1"}, "Triton")
    before, steps = tree(tmp_path), 0

    def failing_at(number: int, step: Callable[..., Any]) -> Callable[..., Any]:
        def replaced(*given: Any, **named: Any) -> Any:
            nonlocal steps
            steps += 1
            if steps == number:
                raise error
            return step(*given, **named)

        return replaced

    for number in range(1, 20):
        steps = 0
        with monkeypatch.context() as patched:
            for owner, name in (
                (Path, "mkdir"), (Path, "write_bytes"), (Path, "write_text"), (Path, "rename"), (shutil, "copytree"),
            ):  # fmt: skip
                patched.setattr(owner, name, failing_at(number, getattr(owner, name)))
            try:
                folder.write(model, {"2/model.py": b"2", "config.pbtxt": b"2"}, "Triton", keep=["1"] if old else [])
            except (BadArchive, KeyboardInterrupt) as raised:
                assert isinstance(raised, KeyboardInterrupt) or "nothing was changed there" in str(raised)
            else:
                break
        assert tree(tmp_path) == before
        assert not list(tmp_path.rglob("*.part"))
    assert number > 6 and steps < number, "each step has failed once"
    assert {"2/model.py": b"2", "config.pbtxt": b"2"}.items() <= tree(model).items()
    assert ("1/model.py" in tree(model)) == old


@pytest.mark.parametrize("version", ["2.1", "0", "beta"])
def test_a_version_that_triton_cannot_have_is_refused(shelf: Shelf, tmp_path: Path, version: str) -> None:
    path = changed(shelf.get("fd1"), tmp_path / "fd1.mar", version=version)
    with pytest.raises(BadArchive, match=f"has the version {version}, and Triton's are whole numbers"):
        triton.lay_out(path, tmp_path / "models")
    assert not (tmp_path / "models").exists()
    litserve.lay_out(path, tmp_path / "fd1")


def test_archives_that_cannot_be_laid_out_are_refused(shelf: Shelf, tmp_path: Path) -> None:
    old = changed(shelf.get("fd1"), tmp_path / "fd1.mar", without=CORE)
    with pytest.raises(BadArchive, match="pack it anew"):
        Source.of(old)
    damaged = tmp_path / "damaged.mar"
    damaged.write_bytes(shelf.get("fd1").read_bytes()[:-1000])
    with pytest.raises(BadArchive):
        Source.of(damaged)
    write_archive(tmp_path, "echo")
    with pytest.raises(BadArchive):
        Source.of(tmp_path / "echo.mar")
    with pytest.raises(BadArchive, match="cannot write"):
        litserve.lay_out(shelf.get("fd1"), Path("/proc/fd1"))


def test_the_command_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, says in (
        (["--triton", "models"], "want the NAME"),
        (["fd1", "td1", "--litserve", "x"], "one NAME at a time"),
        (["fd1", "td1", "--triton", "models", "--litserve", "x"], "one NAME at a time"),
        *(
            (["fd1", exit, "x", *other], f"{other[0]} does not go together")
            for exit in ("--triton", "--litserve")
            for other in (["--register"], ["--kserve", "x"], ["--list"], ["--show", "fd1.mar"], ["--verify", "fd1.mar"])
        ),
        (["fd1", "td1"], "one NAME at a time"),
    ):
        with pytest.raises(SystemExit):
            repack.main(arguments)
        assert says in capsys.readouterr().err


def test_the_packages_are_those_of_the_requirements() -> None:
    files = [path.read_text("utf-8") for path in (ROOT / "requirements").glob("*.txt")]
    pinned = {line.split()[0] for text in files for line in text.splitlines() if re.match(r"[\w.-]+==", line)}
    named = [
        packages.NUMPY,
        packages.OBJECTS,
        packages.TORCH,
        *packages.COMMON,
        *(p for each in packages.BACKENDS.values() for p in each),
    ]
    assert [package for package in named if "==" in package and package not in pinned] == []


def test_an_export_decodes_with_what_torchserves_workers_decode_with() -> None:
    """Another decoder takes pictures that this one refuses: a JPEG with a hole, for instance."""
    lines = (ROOT / "requirements" / "serve.txt").read_text("utf-8").splitlines()
    pinned = {line.split()[0] for line in lines if re.match(r"[\w.-]+==", line)}
    engines = {package for each in packages.BACKENDS.values() for package in each}
    of_the_server = {each for each in pinned if each.startswith(("torchserve==", "psutil==", "requests=="))}
    assert {packages.NUMPY, *packages.COMMON} == pinned - engines - of_the_server


def on(source: Source, backend: str) -> Source:
    """The same, as if its engine were of that backend."""
    return replace(source, recipe=replace(source.recipe, detect=replace(source.recipe.detect, backend=backend)))


@pytest.mark.parametrize("backend", ["openvino", "eager", "torchscript", "tensorrt"])
def test_what_a_backend_needs_is_installed_or_named(shelf: Shelf, backend: str) -> None:
    source = on(Source.of(shelf.get("fd1")), backend)
    pinned = packages.requirements(source).decode()
    container, readmes = litserve.dockerfile(source), (litserve.readme(source), triton.readme(source))
    assert ("openvino==" in pinned) == (backend == "openvino")
    assert bool(container) == (backend != "tensorrt") == ("a container of it" in readmes[0])
    assert (f"pip install --no-cache-dir {packages.TORCH}\n" in container) == (backend in ("eager", "torchscript"))
    for readme in readmes:
        assert (packages.TORCH in readme) == (backend != "openvino")
    for command in re.findall(r"docker run .+", container + readmes[1]):
        assert "--stop-timeout 60" in command


def test_a_backend_of_which_it_is_not_known_what_it_needs_is_refused(shelf: Shelf) -> None:
    with pytest.raises(BadArchive, match="fd1 runs on abacus, and what that needs"):
        packages.requirements(on(Source.of(shelf.get("fd1")), "abacus"))


def test_the_drawn_picture_and_its_depth_map_are_of_one_size() -> None:
    from detserve.pictures import depth

    size = decode(drawn.picture()).size
    assert depth.read(drawn.depth(), size).max() > 0


@pytest.mark.parametrize("name", ["fd1", "td1", "ocr1"])
def test_a_model_finds_something_on_the_drawn_picture(shelf: Shelf, tmp_path: Path, name: str) -> None:
    """So that the warm-up goes all the way, reading included."""
    litserve.lay_out(shelf.get(name), tmp_path / name)
    document = yaml.safe_load((tmp_path / name / "model.yaml").read_text("utf-8"))
    predictor = Predictor.load(tmp_path / name, document, (name, "1.0"), gpu=None)
    (reply,) = predictor([Request(envelope.of_row({"body": drawn.picture()}), {})])
    found = json.loads(reply.body)
    assert (reply.status, len(found) >= 4) == (200, True)
    assert name != "ocr1" or any("Gate 14" in each["text"] for each in found)
