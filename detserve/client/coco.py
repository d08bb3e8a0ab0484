"""COCO: the answers of many pictures as one file of COCO's results, for its tools to evaluate."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def results(path: Path, number: int, size: tuple[int, int], detections: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The detections of a file with a picture of that (width, height), `entries` with the file's name in each.

    image_id: the number in the file's name where it is nothing but one, as COCO's own are, else `number`.
    """
    image = int(path.stem) if path.stem.isascii() and path.stem.isdigit() else number
    return [{"image_id": image, "file_name": path.name, **entry} for entry in entries(image, size, detections)]


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
        outlines = found["polygons_ratio"]
        entry["segmentation"] = [[round(v * (width, height)[i % 2], 2) for i, v in enumerate(o)] for o in outlines]
    return entry


def write(path: Path, entries: list[dict[str, Any]]) -> None:
    """All of them into one file. Raises OSError when that fails."""
    path.write_text(json.dumps(entries, separators=(",", ":")), "utf-8")
