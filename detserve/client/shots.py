"""Shots: what is sent together, a picture and where there is one its depth map, found as files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from detserve.errors import SetupError
from detserve.pictures.depth import WithDepth
from detserve.pictures.files import find

COLOUR, DEPTH = "color_image", "depth_image"
"""Folders of a recording: in each a file a shot, of the same name but for its suffix."""
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
        if (Path(source) / COLOUR).is_dir():
            found = _recording(Path(source))
            shots += found.shots
            unpaired += found.unpaired
        else:
            shots += [Shot(path) for path in find([source])]
    shots = list(dict.fromkeys(shots))
    if depth is not None:
        if len(shots) != 1 or shots[0].depth:
            raise SetupError(f"--depth is for one picture, not {len(shots)}: of many it lies in {DEPTH}/")
        shots = [Shot(shots[0].colour, depth)]
    return Shots(shots, unpaired)


def _recording(root: Path) -> Shots:
    """Pairs of a root with the two folders; a root without the second has pictures alone."""
    colours = find([str(root / COLOUR)])
    if not (root / DEPTH).is_dir():
        return Shots([Shot(path) for path in colours])
    maps = {
        path.stem: path
        for path in sorted((root / DEPTH).iterdir())
        if path.suffix.lower() in DEPTH_SUFFIXES and not path.name.startswith(".")
    }
    pairs = [Shot(path, maps.pop(path.stem)) for path in colours if path.stem in maps]
    paired = {shot.colour for shot in pairs}
    return Shots(pairs, [path for path in colours if path not in paired] + list(maps.values()))
