"""Checksums: of an archive as a whole, and of the files inside it.

NAME.mar.sha256 beside an archive holds its sum, as `sha256sum -c` reads it; MAR-INF/SHA256SUMS inside it holds those of
its files. They reveal accidents. They do not reveal somebody who can write into the model store, and so can write the
sums too. Against that, keep the sum elsewhere and give it to `verify`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from detserve.errors import BadArchive

SUMS = "MAR-INF/SHA256SUMS"
"""The sums of all other files of an archive, as `sha256sum -c` reads them."""


def sha256_of(path: Path) -> str:
    """The SHA-256 of a file, 64 hex digits in lower case."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sum_beside(path: Path) -> Path:
    """The file beside an archive that holds its sum."""
    return path.with_name(f"{path.name}.sha256")


def check_sum(path: Path, sha256: str | None = None) -> str:
    """The sum of an archive, compared with `sha256` if it is given, and with the file beside it if there is one.

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


def sums(contents: Mapping[str, bytes]) -> bytes:
    """The list of sums of these files: name in the archive → content."""
    return "".join(f"{hashlib.sha256(contents[entry]).hexdigest()}  {entry}\n" for entry in sorted(contents)).encode()
