"""Facelists: WIDER FACE's ground truth, as MATLAB files or as text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

LEVELS = ("easy", "medium", "hard")
HEIGHTS = {"easy": 50, "medium": 30, "hard": 10}
"""Where there is but a text file: the least height in pixels of a level's faces. The MATLAB files name each face."""


class BadLists(ValueError):
    """Lists that are not there or of another form; the message names the file."""


@dataclass(frozen=True)
class Faces:
    """A picture's faces. boxes: float64 [n, 4], left, top, width, height in pixels; levels: for each level, bool [n],
    which of them count there; the others are ignored."""

    boxes: NDArray[np.float64]
    levels: Mapping[str, NDArray[np.bool_]]


@dataclass(frozen=True)
class Lists:
    """The faces of each picture by its path, "0--Parade/0_Parade_marchingband_1_465.jpg"; official: whether the levels
    are those that are published."""

    faces: dict[str, Faces]
    official: bool


def load(folder: Path) -> Lists:
    """The lists of a folder, at any depth: wider_face_val.mat and wider_{easy,medium,hard}_val.mat, or else
    wider_face_val_bbx_gt.txt, whose levels are made of the faces' heights. Raises BadLists."""
    mats = {name: _one(folder, f"wider_{name}_val.mat") for name in ("face", *LEVELS)}
    if all(mats.values()):
        return Lists(dict(_of_mats({name: path for name, path in mats.items() if path})), official=True)
    text = _one(folder, "wider_face_val_bbx_gt.txt") or _one(folder, "*bbx_gt.txt")
    if text is None:
        raise BadLists(
            f"{folder} has neither wider_face_val.mat with wider_easy_val.mat, wider_medium_val.mat and "
            "wider_hard_val.mat, nor wider_face_val_bbx_gt.txt; get them where WIDER FACE is published"
        )
    return Lists(dict(of_text(text)), official=False)


def pictures(folder: Path) -> dict[str, Path]:
    """The pictures of a folder, at any depth, by the last two parts of their paths: event and name."""
    return {f"{path.parent.name}/{path.name}": path for path in sorted(folder.rglob("*.jpg"))}


def of_text(file: Path) -> Iterator[tuple[str, Faces]]:
    """Each picture of wider_face_val_bbx_gt.txt: its path, a count, and so many lines of left, top, width, height,
    blur, expression, illumination, invalid, occlusion, pose; one line of zeros where the count is 0. Raises BadLists.

    A face that is invalid counts for no level.
    """
    number = 0
    try:
        lines = enumerate(file.read_text("utf-8").splitlines(), 1)
        for number, line in lines:
            name = line.strip()
            if not name:
                continue
            number, line = next(lines)
            count = int(line)
            rows = []
            for _ in range(max(count, 1)):
                number, line = next(lines)
                rows.append([float(part) for part in line.split()])
            table = np.array(rows, np.float64)[:count]
            boxes, valid = table[:, :4], table[:, 7] == 0
            yield name, Faces(boxes, {level: valid & (boxes[:, 3] >= HEIGHTS[level]) for level in LEVELS})
    except (ValueError, IndexError, StopIteration):
        raise BadLists(f"{file}:{number}: a picture, a count and that many faces are wanted") from None


def _of_mats(files: Mapping[str, Path]) -> Iterator[tuple[str, Faces]]:
    try:
        from scipy.io import loadmat
    except ImportError:
        raise BadLists("MATLAB files need scipy: pip install scipy") from None
    tables: dict[str, Any] = {}
    for name, path in files.items():
        try:
            tables[name] = loadmat(path)
        except Exception as error:
            raise BadLists(f"{path}: not a MATLAB file ({error})") from error
    try:
        truth = tables["face"]
        for i, event in enumerate(truth["event_list"][:, 0]):
            for j, name in enumerate(truth["file_list"][i, 0][:, 0]):
                boxes = np.asarray(truth["face_bbx_list"][i, 0][j, 0], np.float64).reshape(-1, 4)
                levels = {}
                for level in LEVELS:
                    chosen = np.zeros(len(boxes), bool)
                    numbers = np.asarray(tables[level]["gt_list"][i, 0][j, 0], np.intp).ravel()
                    chosen[numbers - 1] = True  # MATLAB counts from 1
                    levels[level] = chosen
                yield f"{event[0]}/{name[0]}.jpg", Faces(boxes, levels)
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise BadLists(f"{files['face'].parent}: not the lists of WIDER FACE ({error!r})") from error


def _one(folder: Path, pattern: str) -> Path | None:
    return next(iter(sorted(folder.rglob(pattern))), None)
