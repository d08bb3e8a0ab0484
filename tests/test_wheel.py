"""The wheel: built from the files that a clone has, installed, and used from an empty folder."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path

import pytest

from detserve.archives import archive, contents
from tests.harness.server import Server, serving

ROOT = Path(__file__).parents[1]
STARTED = ("picture_handler.py", "sitecustomize.py")
"""What lies in handlers/, and at the top of each archive."""
PARTS = ("pyproject.toml", "setup.py", "README.md", "LICENSE", "requirements", "detserve", "config", "handlers")
"""What the wheel is made of. build/ and the tests of a checkout are not."""
PIP = (sys.executable, "-m", "pip", "--disable-pip-version-check", "-q")
OFFLINE = ("--no-index", "--no-deps", "--no-build-isolation")


@dataclass(frozen=True)
class Installed:
    """detserve in a virtual environment of its own, which finds the other packages of this one.

    folder: where its commands run, empty at first; home: the user's, which stays empty.
    """

    venv: Path
    folder: Path
    home: Path

    @property
    def command(self) -> Path:
        return self.venv / "bin" / "detserve"

    @property
    def environment(self) -> Mapping[str, str]:
        kept = {name: os.environ[name] for name in ("JAVA_HOME", "LD_LIBRARY_PATH") if name in os.environ}
        return {**kept, "PATH": f"{self.venv}/bin:{os.environ['PATH']}", "HOME": str(self.home)}

    def run(self, *arguments: str | Path, status: int = 0) -> subprocess.CompletedProcess[str]:
        command = [str(self.command), *map(str, arguments)]
        ended = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert ended.returncode == status, f"{command}\n{ended.stdout}{ended.stderr}"
        return ended


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built without the network, and after a build that knew another module."""
    source = tmp_path_factory.mktemp("source")
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / part, source)
    stale = source / "build/lib/detserve/core/stale.py"
    stale.parent.mkdir(parents=True)
    stale.touch()
    folder = tmp_path_factory.mktemp("wheel")
    subprocess.run([*PIP, "wheel", *OFFLINE, "--wheel-dir", str(folder), str(source)], check=True)
    (built,) = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    base = tmp_path_factory.mktemp("installed")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(base / "venv")], check=True)
    (packages,) = (base / "venv" / "lib").glob("python3*/site-packages")
    (packages / "others.pth").write_text(sysconfig.get_path("purelib"))
    pip = [*PIP, "--python", str(base / "venv/bin/python"), "install", "--no-index", "--no-deps", str(wheel)]
    subprocess.run(pip, check=True)
    for folder in ("folder", "home"):
        (base / folder).mkdir()
    return Installed(base / "venv", base / "folder", base / "home")


def test_the_wheel_has_the_package_its_settings_and_the_handler_and_nothing_else(wheel: Path) -> None:
    package = {path.relative_to(ROOT).as_posix() for path in (ROOT / "detserve").rglob("*.py")}
    beside = {f"detserve/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "config").iterdir()}
    assert {
        f"detserve/config/{name}" for name in ("config.properties", "log4j2.xml", "metrics.yaml", "fd1.yaml")
    } < beside
    page = {path.relative_to(ROOT).as_posix() for path in (ROOT / "detserve/demo/static").iterdir()}
    with zipfile.ZipFile(wheel) as held:
        names = {name for name in held.namelist() if ".dist-info/" not in name}
    beside |= (
        page
        | {f"detserve/handlers/{name}" for name in STARTED}
        | {"detserve/py.typed", "detserve/pack/exits/drawn.jpg"}
    )
    assert names == package | beside


def test_the_wheel_says_what_it_is_and_what_its_extras_bring(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as held:
        texts = {Path(name).name: held.read(name).decode() for name in held.namelist() if ".dist-info/" in name}
    scripts = ConfigParser()
    scripts.read_string(texts["entry_points.txt"])
    assert dict(scripts["console_scripts"]) == {"detserve": "detserve.cli:main"}
    assert "Apache License" in texts["LICENSE"]
    metadata = message_from_string(texts["METADATA"])
    assert metadata["License-Expression"] == "Apache-2.0"
    told = {"serve", "pack", "client", "documents", "video", "demo", "bench", "bulk", "ray", "objects", "tensorrt"}
    assert set(metadata.get_all("Provides-Extra", [])) == told
    wanted = metadata.get_all("Requires-Dist", [])
    assert [line for line in wanted if ";" not in line] == ["numpy>=2", "PyYAML>=6"]
    extras: dict[str, set[str]] = {}
    for requirement, extra in re.findall(r'^(\S+); extra == "(\w+)"$', "\n".join(wanted), re.MULTILINE):
        extras.setdefault(extra, set()).add(requirement)
    for extra in ("serve", "pack", "client", "documents", "video", "demo", "bench", "bulk", "ray", "objects"):
        assert pins(extra) <= extras[extra], extra
    assert pins("torch") | pins("java") <= extras["serve"] and pins("torch") | pins("serve") <= extras["pack"]
    alone = {re.split("[=<>]", requirement)[0] for requirement in pins("openvino") | pins("weights") | pins("int8")}
    brought = {re.split("[=<>]", requirement)[0] for requirements in extras.values() for requirement in requirements}
    assert alone & brought == set(), "these are installed without their dependencies, which an extra cannot say"


def pins(name: str) -> set[str]:
    """The requirements of requirements/NAME.txt."""
    lines = (ROOT / "requirements" / f"{name}.txt").read_text("utf-8").splitlines()
    return {line.partition("#")[0].strip() for line in lines} - {""}


def test_a_package_has_the_same_pin_wherever_it_stands() -> None:
    found: dict[str, set[str]] = {}
    for path in (ROOT / "requirements").glob("*.txt"):
        for requirement in pins(path.stem):
            name, sign, version = requirement.partition("==")
            if sign:
                found.setdefault(name, set()).add(version)
    assert {name: versions for name, versions in found.items() if len(versions) > 1} == {}


def test_an_installed_detserve_says_what_to_type_there(installed: Installed) -> None:
    assert installed.run("models").stdout.startswith("centerface\n")
    store = installed.folder / "model_store"
    told = installed.run("serve", status=1).stderr
    assert told == f"detserve serve: no archive in {store}: detserve pack fd1 makes {store / 'fd1.mar'}\n"
    told = installed.run("serve", "fd9", status=1).stderr
    assert told == f"detserve serve: no {store / 'fd9.mar'}: detserve pack fd9\n"
    code = "import sys; sys.modules['psutil'] = None; from detserve.cli import main; sys.exit(main(['serve']))"
    python = [str(installed.venv / "bin/python"), "-c", code]
    ended = subprocess.run(python, cwd=installed.folder, env=installed.environment, capture_output=True, text=True)
    assert ended.stderr == "detserve serve: the package 'psutil' is missing: pip install 'detserve[serve]'\n"
    assert list(installed.folder.iterdir()) == []


@pytest.fixture(scope="module")
def fd1(installed: Installed) -> Path:
    """An archive that the installed detserve has packed."""
    installed.run("pack", "fd1", "--size", "256")
    return installed.folder / "model_store" / "fd1.mar"


@pytest.fixture(scope="module")
def fd2(fd1: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model, packed by a detserve whose ratios have two decimals."""
    unpacked = tmp_path_factory.mktemp("unpacked")
    with zipfile.ZipFile(fd1) as mar:
        mar.extractall(unpacked)
    response = unpacked / "detserve/worker/response.py"
    response.write_text(response.read_text("utf-8").replace("DIGITS = 6\n", "DIGITS = 2\n"), "utf-8")
    made = archive.read(fd1)
    files = {name: unpacked / name for name in made.files if name.startswith(("detserve/", "engine/", made.handler))}
    path = fd1.with_name("fd2.mar")
    archive.write(path, "fd2", made.version, made.handler, made.recipe, files)
    return path


@pytest.fixture(scope="module")
def server(installed: Installed, fd1: Path, fd2: Path) -> Iterator[Server]:
    run_dir = installed.folder / "run"
    starter = (installed.command, "serve")
    with serving(
        fd1.parent, run_dir, "--workers", "1", starter=starter, cwd=installed.folder, env=installed.environment
    ) as server:
        yield server


@pytest.fixture(scope="module")
def picture(tmp_path_factory: pytest.TempPathFactory, astronaut: bytes) -> Path:
    path = tmp_path_factory.mktemp("pictures") / "astronaut.png"
    path.write_bytes(astronaut)
    return path


@pytest.mark.slow
def test_an_installed_detserve_packs_what_a_checkout_packs(installed: Installed, fd1: Path) -> None:
    with zipfile.ZipFile(fd1) as mar:
        held = {name: mar.read(name) for name in mar.namelist() if name.endswith(".py")}
    here = contents.files() | {name: ROOT / "handlers" / name for name in STARTED}
    assert held == {name: path.read_bytes() for name, path in here.items()}
    assert "model: centerface" in installed.run("show", fd1).stdout
    summed, _, _ = fd1.with_name("fd1.mar.sha256").read_text().partition(" ")
    told = installed.run("verify", "model_store/fd1.mar", "--sha256", summed).stdout
    assert "the sum agrees with --sha256 and fd1.mar.sha256" in told


@pytest.mark.slow
@pytest.mark.e2e
def test_an_installed_detserve_serves_and_detects(installed: Installed, server: Server, picture: Path) -> None:
    (face,) = json.loads(installed.run("detect", picture, "--url", server.url).stdout)["answer"]
    assert face["conf"] > 0.5
    over_grpc = ("--protocol", "grpc", "--url", f"127.0.0.1:{server.grpc_port}")
    installed.run("detect", picture, *over_grpc, "--out", "drawn")
    assert {path.name for path in (installed.folder / "drawn").iterdir()} == {"astronaut.json", "astronaut.drawn.jpg"}
    told = installed.run("versions", "fd1", "--management", server.management).stdout
    assert told.startswith("fd1/1.0: 1 of 1 workers ready")
    assert list(installed.home.iterdir()) == []


@pytest.mark.slow
@pytest.mark.e2e
def test_a_worker_runs_the_code_of_its_archive_and_not_the_installed_one(server: Server, picture: Path) -> None:
    (ours,) = server.predict("fd1", picture.read_bytes()).json()
    (theirs,) = server.predict("fd2", picture.read_bytes()).json()
    assert theirs["xywh_ratio"] == [round(ratio, 2) for ratio in ours["xywh_ratio"]] != ours["xywh_ratio"]


@pytest.mark.slow
def test_an_installed_detserve_measures(installed: Installed, fd1: Path, picture: Path) -> None:
    load = ("--concurrency", "1", "--processes", "1", "--warmup", "0.5", "--duration", "1", "--pictures", picture)
    told = installed.run("bench", "--mode", "engine", *load).stdout
    assert "fd1.mar in process" in told
