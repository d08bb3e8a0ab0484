"""Whole: where a file says that it ends. FFmpeg takes what there is of a Matroska or WMV file for all of it."""

from __future__ import annotations

from pathlib import Path

_EBML, _SEGMENT = b"\x1a\x45\xdf\xa3", b"\x18\x53\x80\x67"
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
_ASF_FILE = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
"""The object that has the size of the file, 40 bytes from its own beginning."""
_HEAD = 1 << 16


def stated_size(path: Path) -> int:
    """Bytes that the file has to have, of Matroska, WebM and WMV; 0 where it does not say. Raises OSError."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    if head.startswith(_EBML):
        segment = _end(head, len(_EBML))
        return _end(head, segment + len(_SEGMENT)) if head[segment:].startswith(_SEGMENT) else 0
    if head.startswith(_ASF) and (at := head.find(_ASF_FILE)) >= 0:
        return int.from_bytes(head[at + 40 : at + 48], "little")
    return 0


def _end(head: bytes, at: int) -> int:
    """Where an element of EBML ends whose size stands at `at`; 0 where it was left open, as in a recording.

    As many zeros lead the size as bytes follow its first one; ones all through are an open size.
    """
    length = 9 - head[at : at + 1].rjust(1, b"\x01")[0].bit_length()
    bits = (1 << 7 * length) - 1
    size = int.from_bytes(head[at : at + length]) & bits
    return 0 if size == bits else at + length + size
