"""Files: which of the files, folders and globs that are named stand for videos."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from detserve.client.video import SUFFIXES
from detserve.errors import SetupError
from detserve.pictures.files import SUFFIXES as PICTURES
from detserve.pictures.files import find


def videos_among(sources: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The videos, each once, and the sources that are left for pictures, those without a video as they were named."""
    videos: dict[Path, None] = {}
    others = []
    for source in sources:
        found: list[Path] = []
        with suppress(SetupError):  # nothing there: whoever looks for pictures says so
            found = find([source], (*PICTURES, *SUFFIXES))
        films = [path for path in found if path.suffix.lower() in SUFFIXES]
        videos |= dict.fromkeys(films)
        others += [str(path) for path in found if path not in films] if films else [source]
    return list(videos), others
