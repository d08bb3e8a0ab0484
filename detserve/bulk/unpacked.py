"""Unpacked: an archive in a folder of this machine, named by its checksum, so that a machine unpacks it once."""

from __future__ import annotations

import os
import shutil
import tempfile
import zipfile
from pathlib import Path

from detserve.archives.checksums import sha256_of
from detserve.errors import BadArchive, SetupError


def unpack(sha256: str, archive: Path) -> Path:
    """The folder with the files of an archive of that checksum, unpacked anew where one of them is not whole any more.

    Raises BadArchive for a file of another checksum, SetupError when the folder belongs to somebody else or is full.
    """
    folder = Path(tempfile.gettempdir()) / f"detserve-bulk-{os.getuid()}" / sha256
    try:
        _own(folder.parent)
        with zipfile.ZipFile(archive) as mar:
            if _whole(folder, mar):
                return folder
            found = sha256_of(archive)
            if found != sha256:
                raise BadArchive(f"{archive} is not the archive that was sent: SHA-256 {found}, not {sha256}")
            part = Path(tempfile.mkdtemp(dir=folder.parent, prefix=".part-"))
            try:
                mar.extractall(part / "new")
                if folder.exists():
                    folder.rename(part / "old")
                (part / "new").rename(folder)
            except OSError:
                if not _whole(folder, mar):  # else another process was faster
                    raise
            finally:
                shutil.rmtree(part, ignore_errors=True)
    except zipfile.BadZipFile as error:
        raise BadArchive(f"{archive} is no archive: {error}") from error
    except OSError as error:
        raise SetupError(
            f"cannot unpack the archive into {folder}: {error.strerror}; TMPDIR can name another place"
        ) from error
    return folder


def _whole(folder: Path, mar: zipfile.ZipFile) -> bool:
    """Whether all its files are there, as large as they should be: a machine may clean away what is old."""
    try:
        return all(
            (folder / each.filename).stat().st_size == each.file_size for each in mar.infolist() if not each.is_dir()
        )
    except OSError:
        return False


def _own(home: Path) -> None:
    """Make a folder that nobody else can write to: code is run from it."""
    home.mkdir(mode=0o700, exist_ok=True)
    status = home.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or not home.is_dir():
        raise SetupError(f"{home} is not a folder of this user's alone: take it away, or set TMPDIR to another place")
