"""Integrity: whether an archive is the one that was packed.

NAME.mar.sha256 beside an archive holds its sum, as `sha256sum -c` reads it, and MAR-INF/SHA256SUMS inside it those of
its files. Against accidents both are enough. Against somebody who can write into the model store neither is: he writes
the sums too. Then the sum has to be kept elsewhere and given to `verify`.
"""

from __future__ import annotations

import hashlib
import zipfile
from io import BytesIO
from pathlib import Path, PurePosixPath

from detserve.errors import BadArchive

ENGINE_PICKLES = ("network.pt", "network.torchscript", "engine.pth")
"""Engines of PyTorch, whose tensors are described by a pickle: their readers run nothing that it names."""
_PICKLE = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))


def sum_beside(path: Path) -> Path:
    """The file beside an archive that holds its sum."""
    return path.with_name(f"{path.name}.sha256")


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, 64 hex digits in lower case."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_sum(path: Path, sha256: str | None = None) -> str:
    """The sum of an archive, compared with `sha256` and with the file beside it, where there are such.

    Raises BadArchive where it differs or a file cannot be read.
    """
    try:
        found = sha256_of(path)
        beside = sum_beside(path).read_text("utf-8").split() if sum_beside(path).exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise BadArchive(f"cannot read {path} or its sum: {error}") from error
    expected = {"--sha256": sha256, sum_beside(path).name: beside[0] if beside else None}
    for source, wanted in expected.items():
        if wanted is not None and wanted.lower() != found:
            raise BadArchive(
                f"{path} is not the archive that was packed: its SHA-256 is {found}, {source} has {wanted}"
            )
    return found


def verify(path: Path, sha256: str | None = None) -> str:
    """Check an archive of repack.py's as a whole and file by file → its sum.

    Beside the sums: no name leads out of the folder it is unpacked into, every file is listed and every listed one is
    there, none is a pickle but the engines of PyTorch, and there are no bytes but theirs. Raises BadArchive otherwise.
    """
    from detserve.archives.archive import SUMS, sums, write_zip  # with all models; serve.py checks sums without

    found = check_sum(path, sha256)
    contents = _contents(path)
    listed = contents.pop(SUMS, None)
    if listed is None:
        raise BadArchive(f"{path.name} has no {SUMS}: pack it anew with repack.py")
    if listed != sums(contents):
        raise BadArchive(f"{path.name} was changed after it was packed: {_difference(listed, sums(contents))}")
    for name, content in contents.items():
        if PurePosixPath(name).name not in ENGINE_PICKLES and content.startswith(_PICKLE):
            raise BadArchive(f"{path.name} has a pickle, {name}, which no archive needs: do not serve it")
    # What unpacks an archive need not read it as Python does: an entry can hide where the list at its end has none.
    anew = BytesIO()
    write_zip(anew, contents | {SUMS: listed})
    if anew.getvalue() != path.read_bytes():
        raise BadArchive(f"{path.name} has more in it than its files, or was not written by repack.py: do not serve it")
    return found


def _contents(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as mar:
            for name in mar.namelist():
                if not name or name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
                    raise BadArchive(f"{path.name} has a file that leads out of its folder, {name!r}: do not serve it")
            return {name: mar.read(name) for name in mar.namelist()}
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise BadArchive(f"{path.name} is no whole archive ({error}): pack it anew with repack.py") from error


def _difference(listed: bytes, found: bytes) -> str:
    """Which files differ from the list, at most three of them."""
    wanted, there = _by_name(listed), _by_name(found)
    faults = [f"{name} is missing" for name in wanted.keys() - there.keys()]
    faults += [f"{name} is not listed" for name in there.keys() - wanted.keys()]
    faults += [f"{name} differs" for name in wanted.keys() & there.keys() if wanted[name] != there[name]]
    return "; ".join(sorted(faults)[:3]) or "its list of sums is malformed"


def _by_name(listed: bytes) -> dict[str, str]:
    pairs = (line.partition("  ") for line in listed.decode("utf-8", "replace").splitlines())
    return {name: sha256 for sha256, _, name in pairs}
