"""COCO: the answers of many pictures as one file of COCO's results, for its tools to evaluate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LEAST_POINTS = 3
"""COCO's tools refuse an outline of fewer."""


def image_ids(paths: Sequence[Path]) -> list[int]:
    """A number for each picture: the one that its file's name is, as COCO's own are, or 1, 2, … where any has another
    name or two have the same number."""
    names = [path.stem for path in paths]
    numbers = [int(name) for name in names if name.isascii() and name.isdigit()]
    return numbers if len(set(numbers)) == len(names) else [*range(1, len(names) + 1)]


def results(path: Path, image_id: int, size: tuple[int, int], detections: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The detections of a file with a picture of that (width, height), `entries` with the file's name in each."""
    return [{"file_name": path.name, **entry} for entry in entries(image_id, size, detections)]


def entries(image_id: int, size: tuple[int, int], detections: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The detections of a picture of that (width, height) as COCO has them: boxes left, top, width, height in pixels.

    image_id: the picture's number.
    """
    return [{"image_id": image_id, **_entry(each, size)} for each in detections]


def _entry(found: Mapping[str, Any], size: tuple[int, int]) -> dict[str, Any]:
    width, height = size
    cx, cy, w, h = found["xywh_ratio"]
    box = [(cx - w / 2) * width, (cy - h / 2) * height, w * width, h * height]
    entry = {
        "category_id": found.get("label_id", 1),
        "bbox": [round(value, 2) for value in box],
        "score": found["conf"],
    }
    if "mask_rle" in found:
        entry["segmentation"] = found["mask_rle"]
    elif "polygons_ratio" in found:
        outlines = [outline for outline in found["polygons_ratio"] if len(outline) >= 2 * LEAST_POINTS]
        if outlines:
            entry["segmentation"] = [[round(v * (width, height)[i % 2], 2) for i, v in enumerate(o)] for o in outlines]
    return entry


def write(path: Path, entries: list[dict[str, Any]]) -> None:
    """All of them into one file. Raises OSError when that fails."""
    path.write_text(json.dumps(entries, separators=(",", ":")), "utf-8")
