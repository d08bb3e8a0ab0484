"""Archives that were changed after they were packed, in every way that a zip file allows."""

from __future__ import annotations

import pickle
import struct
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import pytest

from detserve.archives.archive import SUMS, sums, write_zip
from detserve.archives.checksums import sha256_of, sum_beside
from detserve.archives.verify import verify
from detserve.errors import BadArchive
from detserve.pack import command as repack
from detserve.pack.packer import ModelChoice, PackRequest, pack

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive as repack.py makes it."""
    folder = tmp_path_factory.mktemp("packed")
    return pack(
        PackRequest(name="fd1", detect=ModelChoice(model="centerface", settings={"size": (128, 128)}), out=folder)
    )


@pytest.fixture
def mar(packed: Path, tmp_path: Path) -> Path:
    """A copy of it, with no sum beside."""
    path = tmp_path / "fd1.mar"
    path.write_bytes(packed.read_bytes())
    return path


def contents(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def rewrite(path: Path, files: Mapping[str, bytes], listed: bool = False) -> None:
    """Write an archive of other files; listed: with a list of sums that fits them, as an attacker would."""
    files = dict(files)
    if listed:
        del files[SUMS]
        files[SUMS] = sums(files)
    with path.open("wb") as stream:
        write_zip(stream, files)


def refused(path: Path, sha256: str | None = None) -> str:
    with pytest.raises(BadArchive) as caught:
        verify(path, sha256)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


def test_a_packed_archive_is_whole_and_its_sum_lies_beside_it(packed: Path) -> None:
    assert verify(packed) == verify(packed, sha256_of(packed)) == sha256_of(packed)
    checked = subprocess.run(["sha256sum", "-c", "fd1.mar.sha256"], cwd=packed.parent, capture_output=True, text=True)
    assert (checked.returncode, checked.stdout) == (0, "fd1.mar: OK\n")


def test_the_list_inside_fits_what_is_unpacked(packed: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(packed) as archive:
        archive.extractall(tmp_path)
        names = set(archive.namelist())
    checked = subprocess.run(["sha256sum", "-c", SUMS], cwd=tmp_path, capture_output=True, text=True)
    assert checked.returncode == 0
    assert {line.removesuffix(": OK") for line in checked.stdout.splitlines()} == names - {SUMS}


def test_another_sum_is_refused(mar: Path) -> None:
    found = sha256_of(mar)
    assert "--sha256 has 000" in refused(mar, "0" * 64)
    assert verify(mar, found.upper()) == found
    sum_beside(mar).write_text(f"{'1' * 64}  fd1.mar\n")
    assert "fd1.mar.sha256 has 111" in refused(mar, found)


def test_every_flipped_byte_is_found(mar: Path) -> None:
    """With no sum to compare with: the list inside and the zip file itself have to tell."""
    whole = mar.read_bytes()
    for at in [*range(0, len(whole), len(whole) // 40), *range(len(whole) - 60, len(whole), 7)]:
        flipped = bytearray(whole)
        flipped[at] ^= 0x10
        mar.write_bytes(flipped)
        refused(mar)
    mar.write_bytes(whole[:-1000])
    assert "no whole archive" in refused(mar)


def test_added_missing_and_changed_files_are_named(mar: Path) -> None:
    files = contents(mar)
    rewrite(mar, {**files, "os.py": b"import evil"})
    assert "os.py is not listed" in refused(mar)
    rewrite(mar, {name: content for name, content in files.items() if name != "detserve/errors.py"})
    assert "detserve/errors.py is missing" in refused(mar)
    rewrite(mar, {**files, "picture_handler.py": files["picture_handler.py"] + b"import evil\n"})
    assert "picture_handler.py differs" in refused(mar)
    rewrite(mar, {name: content for name, content in files.items() if name != SUMS})
    assert f"has no {SUMS}" in refused(mar)
    rewrite(mar, {**files, SUMS: b"\xff\n"})
    refused(mar)


@pytest.mark.parametrize("name", ["../evil.py", "/etc/evil", "engine/../../evil", "..", "C:evil", "a\\..\\evil"])
def test_names_that_lead_out_are_refused_though_listed(mar: Path, name: str) -> None:
    rewrite(mar, {**contents(mar), name: b""}, listed=True)
    assert "leads out of its folder" in refused(mar)


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_is_refused_though_listed(mar: Path, protocol: int) -> None:
    rewrite(mar, {**contents(mar), "engine/extra.bin": pickle.dumps({"a": 1}, protocol)}, listed=True)
    assert "has a pickle, engine/extra.bin" in refused(mar)


def test_what_only_another_reader_of_zip_files_sees_is_refused(mar: Path) -> None:
    """TorchServe's Java reads the entries one after the other, Python the list of them at the end."""
    whole = mar.read_bytes()
    hidden = BytesIO()
    write_zip(hidden, {"evil.py": b"import os"})
    entry = hidden.getvalue()[: hidden.getvalue().index(b"PK\1\2")]
    start = whole.index(b"PK\1\2")
    end = whole.rindex(b"PK\5\6")
    (offset,) = struct.unpack_from("<I", whole, end + 16)
    assert offset == start
    moved = whole[: end + 16] + struct.pack("<I", start + len(entry)) + whole[end + 20 :]
    mar.write_bytes(moved[:start] + entry + moved[start:])
    with zipfile.ZipFile(mar) as archive:
        assert archive.testzip() is None and "evil.py" not in archive.namelist()
    assert "has more in it" in refused(mar)
    for changed in (entry + whole, whole + b"\0", whole[:-2] + b"\3\0abc"):
        mar.write_bytes(changed)
        refused(mar)


def test_links_and_compression_are_refused(mar: Path) -> None:
    files = contents(mar)
    with zipfile.ZipFile(mar, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    assert "has more in it" in refused(mar)
    with zipfile.ZipFile(mar, "w") as archive:
        for name, content in files.items():
            link = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            link.external_attr = 0o120777 << 16
            archive.writestr(link, content)
    assert "has more in it" in refused(mar)


def test_no_archive_at_all(tmp_path: Path) -> None:
    assert "cannot read" in refused(tmp_path / "fd9.mar")
    (tmp_path / "fd1.mar").write_bytes(b"PK\3\4")
    assert "no whole archive" in refused(tmp_path / "fd1.mar")


def test_the_command_prints_the_sum_and_what_it_agrees_with(packed: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert repack.main(["--verify", str(packed)]) == 0
    out = capsys.readouterr().out
    assert out.startswith(sha256_of(packed)) and "agrees with fd1.mar.sha256" in out
    assert repack.main(["--verify", str(packed), "--sha256", "0" * 64]) == 1
    assert "repack: " in capsys.readouterr().err


def test_serve_py_refuses_an_archive_of_another_sum(mar: Path, tmp_path: Path) -> None:
    sum_beside(mar).write_text(f"{sha256_of(mar)}  fd1.mar\n")
    with mar.open("ab") as file:
        file.write(b"\0")
    command = [sys.executable, ROOT / "serve.py", "--model-store", tmp_path, "--run-dir", tmp_path / "run"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 1
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"serve: {mar} is not the archive that was packed")
