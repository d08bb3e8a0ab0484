"""Verify: whether an archive is, file by file, the one that was packed."""

from __future__ import annotations

import zipfile
from io import BytesIO
from pathlib import Path, PurePosixPath

from detserve.archives.archive import write_zip
from detserve.archives.checksums import SUMS, check_sum, sums
from detserve.archives.recipe import PACK_IT
from detserve.errors import BadArchive

ENGINE_PICKLES = ("network.pt", "network.torchscript", "engine.pth")
"""Engines of PyTorch, whose tensors a pickle describes. Their readers run nothing that the pickle names."""
_PICKLE = tuple(b"\x80" + bytes([protocol]) for protocol in range(2, 6))


def verify(path: Path, sha256: str | None = None) -> str:
    """Check an archive of detserve's as a whole and file by file → its sum.

    Besides the sums: no name leads out of the folder that the archive is unpacked into, every file is listed, every
    listed file is there, none is a pickle except PyTorch's engines, and there are no bytes that belong to no file.
    Raises BadArchive otherwise.
    """
    found = check_sum(path, sha256)
    contents = _contents(path)
    listed = contents.pop(SUMS, None)
    if listed is None:
        raise BadArchive(f"{path.name} has no {SUMS}: pack it anew with {PACK_IT}")
    if listed != sums(contents):
        raise BadArchive(f"{path.name} was changed after it was packed: {_difference(listed, sums(contents))}")
    for name, content in contents.items():
        if PurePosixPath(name).name not in ENGINE_PICKLES and content.startswith(_PICKLE):
            raise BadArchive(f"{path.name} has a pickle, {name}, which no archive needs: do not serve it")
    # Other programs may not read an archive as Python does, by the list at its end: an entry can hide outside of that.
    anew = BytesIO()
    write_zip(anew, contents | {SUMS: listed})
    if anew.getvalue() != path.read_bytes():
        raise BadArchive(f"{path.name} has more in it than its files, or was not written by detserve: do not serve it")
    return found


def _contents(path: Path) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(path) as mar:
            for name in mar.namelist():
                if not name or name.startswith("/") or "\\" in name or ":" in name or ".." in PurePosixPath(name).parts:
                    raise BadArchive(f"{path.name} has a file that leads out of its folder, {name!r}: do not serve it")
            return {name: mar.read(name) for name in mar.namelist()}
    except (OSError, zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise BadArchive(f"{path.name} is no whole archive ({error}): pack it anew with {PACK_IT}") from error


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
