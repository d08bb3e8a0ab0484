"""Shots: what is sent together, a picture and where there is one its depth map, found as files."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detserve.errors import SetupError
from detserve.pictures.depth import WithDepth
from detserve.pictures.files import find

FOLDERS = (("color_image", "depth_image"), ("color_img", "depth_img"))
"""Folders of a recording: in each a file a shot, of the same name but for its suffix and for the words of `KIND`."""
KIND = re.compile("color|depth")
DEPTH_SUFFIXES = (".png", ".tif", ".tiff", ".npy")


@dataclass(frozen=True)
class Shot:
    """The files of one request."""

    colour: Path
    depth: Path | None = None

    def read(self) -> bytes | WithDepth:
        """Their bytes. Raises OSError when one cannot be read."""
        data = self.colour.read_bytes()
        return WithDepth(data, self.depth.read_bytes()) if self.depth else data


@dataclass(frozen=True)
class Shots:
    """shots, and files of recordings that have no counterpart."""

    shots: list[Shot]
    unpaired: list[Path] = field(default_factory=list)


def shots_of(sources: Sequence[str], depth: Path | None = None) -> Shots:
    """The shots of files, folders, globs and recordings; depth: the map beside the one picture.

    Raises SetupError for a source without a picture, and for a depth map beside several.
    """
    shots: list[Shot] = []
    unpaired: list[Path] = []
    for source in sources:
        if folders := folders_of(Path(source)):
            found = _recording(*folders)
            shots += found.shots
            unpaired += found.unpaired
        else:
            shots += [Shot(path) for path in find([source])]
    shots = list(dict.fromkeys(shots))
    if depth is not None:
        if len(shots) != 1 or shots[0].depth:
            raise SetupError(f"--depth is for one picture, not {len(shots)}: of many it lies in {FOLDERS[0][1]}/")
        shots = [Shot(shots[0].colour, depth)]
    return Shots(shots, unpaired)


def folders_of(root: Path) -> tuple[Path, Path] | None:
    """The folders of pictures and of maps of a recording, of which the second may be missing; None for no recording."""
    return next(((root / colour, root / depth) for colour, depth in FOLDERS if (root / colour).is_dir()), None)


def _recording(colour: Path, depth: Path) -> Shots:
    """Pairs of the two folders; where the second is missing, pictures alone. Of one name the first counts."""
    colours = find([str(colour)])
    if not depth.is_dir():
        return Shots([Shot(path) for path in colours])
    files = [p for p in sorted(depth.iterdir()) if p.suffix.lower() in DEPTH_SUFFIXES and not p.name.startswith(".")]
    maps = {_name(path): path for path in reversed(files)}
    pairs = [Shot(path, maps.pop(_name(path))) for path in colours if _name(path) in maps]
    paired = {path for shot in pairs for path in (shot.colour, shot.depth)}
    return Shots(pairs, [path for path in colours + files if path not in paired])


def _name(path: Path) -> str:
    """What the two files of a shot have in common."""
    return KIND.sub("", path.stem)
