"""Archive: a .mar file, written whole or not at all, and the same bytes for the same input."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from detserve.archives.checksums import SUMS, sha256_of, sum_beside, sums
from detserve.archives.recipe import PACK_IT, Recipe
from detserve.errors import BadArchive

MANIFEST = "MAR-INF/MANIFEST.json"
# The earliest moment a zip file can hold: an archive's bytes must not depend on when it was packed.
EPOCH = (1980, 1, 1, 0, 0, 0)
CREATED_ON = "01/01/1980 00:00:00"
"""The same moment as TorchServe writes it. It warns where this is missing."""


@dataclass(frozen=True)
class Archive:
    """What a .mar file holds: its name and version, its recipe, and its files with their sizes in bytes."""

    name: str
    version: str
    handler: str
    recipe: Recipe
    files: Mapping[str, int]


def write(path: Path, name: str, version: str, handler: str, recipe: Recipe, files: Mapping[str, Path]) -> None:
    """Write a .mar file: manifest, recipe, `files` (name in the archive → file), and the checksums of all these.

    `handler` is one of those names. The file appears under its name only when it is whole and on the disk; an older
    one of that name stays until then. Nothing is compressed: weights hardly shrink, and a worker starts sooner. The
    archive's own checksum is written beside it. Raises BadArchive when it cannot be written, on a full disk say.
    """
    config = f"{name}.yaml"
    manifest = {
        "runtime": "python",
        "model": {"modelName": name, "modelVersion": version, "handler": handler, "configFile": config},
        "archiverVersion": "0.12.0",
        "createdOn": CREATED_ON,
    }
    contents = {MANIFEST: json.dumps(manifest, indent=2).encode(), config: recipe.to_yaml()}
    try:
        contents |= {entry: file.read_bytes() for entry, file in files.items()}
        contents[SUMS] = sums(contents)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, contents)
    except OSError as error:
        raise BadArchive(f"cannot write {path}: {error.strerror}; nothing was changed there") from error


def _write(path: Path, contents: Mapping[str, bytes]) -> None:
    beside = sum_beside(path)
    temporary: list[Path] = []
    try:
        with _temporary_file(path, temporary) as stream:
            write_zip(stream, contents)
        with _temporary_file(beside, temporary) as stream:
            stream.write(f"{sha256_of(temporary[0])}  {path.name}\n".encode())
        beside.unlink(missing_ok=True)  # if this ends here: no checksum is better than that of another archive
        temporary[0].replace(path)
        temporary[1].replace(beside)
    except BaseException:
        for each in temporary:
            each.unlink(missing_ok=True)
        raise


@contextmanager
def _temporary_file(path: Path, temporary: list[Path]) -> Iterator[IO[bytes]]:
    """A new file beside that path, flushed to the disk at the end. Its own path is added to `temporary`."""
    handle, scratch = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".part")
    temporary.append(Path(scratch))
    with os.fdopen(handle, "wb") as stream:
        yield stream
        stream.flush()
        os.fsync(stream.fileno())
    Path(scratch).chmod(0o644)


def write_zip(stream: IO[bytes], contents: Mapping[str, bytes]) -> None:
    """Write these files as an archive has them: the same bytes for the same files, whatever their order."""
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as mar:
        for entry in sorted(contents):
            info = zipfile.ZipInfo(entry, EPOCH)
            info.external_attr = 0o644 << 16
            mar.writestr(info, contents[entry])


def read(path: Path) -> Archive:
    """What a .mar file holds. Raises BadArchive when it cannot be read or was not packed by detserve."""
    import yaml

    try:
        with zipfile.ZipFile(path) as mar:
            manifest: dict[str, Any] = json.loads(mar.read(MANIFEST))
            model = manifest["model"]
            identity = model["modelName"], model["modelVersion"], model["handler"]
            document = yaml.safe_load(mar.read(model["configFile"]))
            files = {info.filename: info.file_size for info in mar.infolist()}
    except FileNotFoundError:
        raise BadArchive(f"no file {path}; {PACK_IT} makes it") from None
    except (OSError, zipfile.BadZipFile, KeyError, ValueError, yaml.YAMLError) as error:
        raise BadArchive(f"{path.name} is no archive of detserve's ({error}); pack it anew with {PACK_IT}") from error
    return Archive(*identity, Recipe.of_archive(document), files)
