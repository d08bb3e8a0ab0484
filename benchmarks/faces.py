"""Labelled faces, and average precision on them: a face is found when a box holds its nose, each nose once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

NOSES: dict[str, list[list[int]]] = {
    "facenet_multiface.jpg": [[600, 114], [475, 203], [656, 258], [268, 311], [899, 514], [761, 529]],
    "ternaus_13.jpg": [[309, 159], [479, 174], [669, 213]],
    "mtcnn_ivan.jpg": [[304, 131]],
    "yolo_zidane.jpg": [[999, 206], [655, 366]],
}
"""The noses in pictures for which labels.json only counts the faces, x, y in pixels."""
CELL = 400
"""Side of a cell of a mosaic, in pixels."""


@dataclass(frozen=True)
class Labelled:
    """A picture, uint8 [h, w, 3] BGR, and the noses in it, [n, 2] in pixels."""

    pixels: NDArray[np.uint8]
    noses: NDArray[np.float64]

    @property
    def jpeg(self) -> bytes:
        """The picture as a JPEG."""
        return cv2.imencode(".jpg", self.pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()

    def as_sent(self) -> Labelled:
        """The same with the pixels that its JPEG has when it is decoded whole."""
        return Labelled(_decoded(self.jpeg), self.noses)

    def enlarged(self, times: int) -> Labelled:
        """The same, that many times as large."""
        pixels = cv2.resize(np.ascontiguousarray(self.pixels), None, fx=times, fy=times, interpolation=cv2.INTER_CUBIC)
        return Labelled(np.asarray(pixels, np.uint8), self.noses * times)

    def mirrored(self) -> Labelled:
        """The same with left and right swapped."""
        return Labelled(self.pixels[:, ::-1], np.array([self.pixels.shape[1], 0]) - self.noses * [1, -1])


def mosaic(pictures: list[Labelled], side: int) -> Labelled:
    """side x side pictures on one canvas: the more there are, the smaller and harder their faces."""
    canvas = np.full((side * CELL, side * CELL, 3), 90, np.uint8)
    noses = []
    for i, picture in enumerate(pictures):
        y, x = (CELL * part for part in divmod(i, side))
        h, w = picture.pixels.shape[:2]
        scale = CELL / max(h, w)
        small = cv2.resize(picture.pixels, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        canvas[y : y + small.shape[0], x : x + small.shape[1]] = small
        noses.append(picture.noses * scale + [x, y])
    return Labelled(canvas, np.concatenate(noses))


def singles(folder: Path) -> list[Labelled]:
    """The pictures of a folder with their noses in labels.json."""
    labels = json.loads((folder / "labels.json").read_text())
    noses = NOSES | {name: label["noses"] for name, label in labels.items() if "noses" in label}
    noses |= {name: [] for name, label in labels.items() if label.get("faces") == 0}
    return [
        Labelled(_decoded((folder / name).read_bytes()), np.array(points, float).reshape(-1, 2))
        for name, points in sorted(noses.items())
    ]


def load(folder: Path) -> list[Labelled]:
    """The pictures of a folder: single, and in mosaics of four and of nine, each also mirrored."""
    alone = singles(folder)
    mosaics = [mosaic([alone[(start + i) % 9] for i in range(4)], 2) for start in (0, 4)] + [mosaic(alone, 3)]
    upright = alone + mosaics
    return [picture.as_sent() for picture in upright + [picture.mirrored() for picture in upright]]


def average_precision(found: Sequence[NDArray[np.floating]], pictures: Sequence[Labelled]) -> float:
    """All-point interpolated AP; found: for each picture rows x1, y1, x2, y2, conf in its pixels."""
    rows = sorted(((row, i) for i, rows in enumerate(found) for row in rows), key=lambda pair: -pair[0][4])
    left = [list(map(tuple, picture.noses)) for picture in pictures]
    total = sum(map(len, left))
    hits = []
    for (x1, y1, x2, y2, _), i in rows:
        inside = [nose for nose in left[i] if x1 <= nose[0] <= x2 and y1 <= nose[1] <= y2]
        hits.append(bool(inside))
        if inside:
            left[i].remove(inside[0])
    recall = np.cumsum(hits) / total
    precision = np.cumsum(hits) / np.arange(1, len(hits) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0) * envelope))


def holding(found: NDArray[np.floating], noses: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the boxes, [n, 4 or more] x1, y1, x2, y2, holds which of the noses, [m, 2]: [n, m]."""
    inside = (found[:, None, :2] <= noses) & (noses <= found[:, None, 2:4])
    return np.asarray(inside.all(axis=2))


def _decoded(data: bytes) -> NDArray[np.uint8]:
    return np.asarray(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR), np.uint8)
