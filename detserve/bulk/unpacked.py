"""Unpacked: an archive in a folder of this machine, named by its checksum, so that a machine unpacks it once."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

from detserve.errors import BadArchive, SetupError


def unpack(sha256: str, fetch: Callable[[], bytes]) -> Path:
    """The folder with the files of the archive of that checksum. fetch: its bytes, asked for where there is none yet.

    Raises BadArchive for bytes of another checksum, SetupError when the folder belongs to somebody else or is full.
    """
    folder = _home() / sha256
    if folder.is_dir():
        return folder
    data = fetch()
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise BadArchive(f"the archive that came here is not the one that was sent: SHA-256 {found}, not {sha256}")
    part = Path(tempfile.mkdtemp(dir=_home(), prefix=".part-"))
    try:
        with zipfile.ZipFile(BytesIO(data)) as mar:
            mar.extractall(part)
        part.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # else another process was faster
            raise SetupError(f"cannot unpack the archive into {folder}: {error.strerror}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def _home() -> Path:
    """A folder that nobody else can write to: code is run from it."""
    home = Path(tempfile.gettempdir()) / f"detserve-bulk-{os.getuid()}"
    home.mkdir(mode=0o700, exist_ok=True)
    status = home.lstat()
    if status.st_uid != os.getuid() or status.st_mode & 0o077 or not home.is_dir():
        raise SetupError(f"{home} is not a folder of this user's alone: take it away, or set TMPDIR to another place")
    return home
