"""How well faces are found: average precision, easy, medium and hard, by WIDER FACE's protocol.

    .venv/bin/python -m benchmarks.widerface DIR                                # the server of `make serve`
    .venv/bin/python -m benchmarks.widerface DIR --archive model_store/fd1.mar  # in process

DIR holds the validation pictures as EVENT/NAME.jpg and the published lists, at any depth: wider_face_val.mat and
wider_easy_val.mat, wider_medium_val.mat, wider_hard_val.mat, or else wider_face_val_bbx_gt.txt, whose levels are made
of the heights of faces, from 50, 30 and 10 pixels, and are not the published ones.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks import asking, facelists
from benchmarks.asking import Answer, Ask
from benchmarks.facecurve import Doubles, average_precision, normalised
from benchmarks.facelists import LEVELS, BadLists, Lists
from detserve.errors import DetserveError
from detserve.pictures.decode import read_header


def measure(lists: Lists, paths: dict[str, Path], ask: Ask) -> dict[str, float]:
    """Ask for the faces of every picture → AP by level."""
    found = [boxes(ask(paths[name].read_bytes()), paths[name]) for name in tqdm(lists.faces, "pictures")]
    spread = normalised(found)
    return {level: average_precision(spread, list(lists.faces.values()), level) for level in LEVELS}


def boxes(answer: Answer, path: Path) -> Doubles:
    """The objects of an answer as rows left, top, width, height, score in pixels of the upright picture: [n, 5]."""
    width, height = read_header(path.read_bytes()).size
    rows = np.array([[*each["xywh_ratio"], each["conf"]] for each in answer], np.float64).reshape(-1, 5)
    rows *= [width, height, width, height, 1]
    rows[:, :2] -= rows[:, 2:4] / 2
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures → exit status."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.widerface", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    asking.add_arguments(parser, "fd1")
    parser.add_argument("--conf", default="0.02", metavar="P", help="least confidence that is asked for (0.02)")
    parser.add_argument("--iou", metavar="P", help="overlap above which the weaker box goes (the model's)")
    options = parser.parse_args(arguments)
    headers = {"X-Conf-Threshold": options.conf} | ({"X-IoU-Threshold": options.iou} if options.iou else {})
    try:
        lists, paths = facelists.load(options.folder), facelists.pictures(options.folder)
        if missing := [name for name in lists.faces if name not in paths]:
            raise BadLists(f"{options.folder} lacks {len(missing)} of {len(lists.faces)} pictures, {missing[0]} is one")
        with asking.opened(options) as asks:
            figures = measure(lists, paths, asks(headers))
    except (BadLists, DetserveError) as error:
        print(f"widerface: {error}", file=sys.stderr)
        return 1
    for level, figure in figures.items():
        print(f"{level:7} {figure:.4f}")
    if not lists.official:
        print("levels by the faces' heights, not the published ones: those are in the .mat files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
