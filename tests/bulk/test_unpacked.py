"""An archive is unpacked once, into a folder that stays whole."""

from __future__ import annotations

import tempfile
import zipfile
from pathlib import Path

import pytest

from detserve.archives.checksums import sha256_of
from detserve.bulk.unpacked import unpack
from detserve.errors import BadArchive, SetupError


@pytest.fixture
def mar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small archive, and a place of its own to unpack it."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    path = tmp_path / "fd1.mar"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("detserve/errors.py", "1")
        file.writestr("fd1.yaml", "model: fd1")
    return path


def test_what_a_machine_has_cleaned_away_is_unpacked_anew(mar: Path) -> None:
    sha256 = sha256_of(mar)
    folder = unpack(sha256, mar)
    (folder / "mine").touch()
    assert unpack(sha256, mar) == folder and (folder / "mine").exists(), "nothing is done twice"
    (folder / "fd1.yaml").unlink()
    assert unpack(sha256, mar) == folder and (folder / "fd1.yaml").read_text() == "model: fd1"
    (folder / "detserve/errors.py").write_text("")
    unpack(sha256, mar)
    assert (folder / "detserve/errors.py").read_text() == "1"
    assert list(folder.parent.iterdir()) == [folder]


def test_what_is_not_the_archive_or_not_ours_is_refused(mar: Path) -> None:
    with pytest.raises(BadArchive, match="is not the archive that was sent: SHA-256 "):
        unpack("0" * 64, mar)
    sha256 = sha256_of(mar)
    home = unpack(sha256, mar).parent
    home.chmod(0o777)
    with pytest.raises(SetupError, match="is not a folder of this user's alone"):
        unpack(sha256, mar)
    home.chmod(0o700)
    mar.write_bytes(b"none")
    with pytest.raises(BadArchive, match="is no archive"):
        unpack(sha256, mar)


def test_a_place_that_cannot_be_written_to_is_named(mar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(mar.parent / "nowhere"))
    with pytest.raises(SetupError, match=r"cannot unpack the archive into .*nowhere.*; TMPDIR can name another place"):
        unpack(sha256_of(mar), mar)
