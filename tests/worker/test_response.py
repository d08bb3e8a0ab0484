import base64
import json
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest

from detserve.core.detections import Detections
from detserve.errors import BadPicture, InternalError, InvalidOption, PictureTooLarge, RequestError, UnsupportedFormat
from detserve.worker import response
from detserve.worker.pipeline import Result

FOUND = Detections(
    np.array([[10, 20, 30, 60], [0, 0, 200, 100]], np.float32),
    np.array([0.75, 0.5], np.float32),
    np.array([[[20, 25]] * 5, [[-20, 150]] * 5], np.float32),
)


def test_boxes_and_landmarks_are_ratios_of_the_picture() -> None:
    first, second = json.loads(response.body(Result(FOUND, (200, 100))))
    assert first == {"xywh_ratio": [0.1, 0.4, 0.1, 0.4], "conf": 0.75, "landmarks_ratio": [0.1, 0.25] * 5}
    assert second["xywh_ratio"] == [0.5, 0.5, 1, 1]
    assert second["landmarks_ratio"] == [-0.1, 1.5] * 5


def test_nothing_found_is_an_empty_list() -> None:
    assert response.body(Result(Detections.empty(5), (10, 10))) == b"[]"


def test_a_model_without_keypoints_has_no_landmarks() -> None:
    assert set(response.objects(Detections(FOUND.boxes, FOUND.scores), (200, 100))[0]) == {"xywh_ratio", "conf"}


@pytest.mark.parametrize(
    ("error", "code"),
    [(BadPicture, 400), (PictureTooLarge, 413), (UnsupportedFormat, 415), (InvalidOption, 422), (InternalError, 500)],
)
def test_an_error_says_its_code_type_and_message(error: type[RequestError], code: int) -> None:
    answer = json.loads(response.body(Result(error("why"))))
    assert answer == {"code": code, "type": error.type, "message": "why"}


def test_a_stock_torchserve_without_orjson_answers_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = response.body(Result(FOUND, (200, 100)))
    monkeypatch.setitem(sys.modules, "orjson", None)
    monkeypatch.setattr(response, "dumps", response._dumps())
    assert json.loads(response.body(Result(FOUND, (200, 100)))) == json.loads(fast)


def test_text_is_answered_with_quad_reading_and_outline() -> None:
    quads = np.array([[[0, 0], [100, 0], [100, 50], [0, 50]]] * 2, np.float32)
    found = Detections.of_quads(quads, FOUND.scores, [quads[0], None])
    found = replace(found, texts=("STOP", "é"), text_scores=np.array([0.5, 1], np.float32))
    first, second = json.loads(response.body(Result(found, (200, 100))))
    assert first["quad_ratio"] == first["polygon_ratio"] == [0, 0, 0.5, 0, 0.5, 0.5, 0, 0.5]
    assert first["xywh_ratio"] == [0.25, 0.25, 0.5, 0.5]
    assert (first["text"], first["text_conf"]) == ("STOP", 0.5)
    assert second["text"] == "é"
    assert "polygon_ratio" not in second


def test_score_maps_are_pictures_beside_the_detections() -> None:
    scores = np.linspace(0, 1, 12, dtype=np.float32).reshape(3, 4)
    answer = json.loads(response.body(Result(FOUND, (200, 100), maps={"heatmap": scores})))
    assert len(answer["detections"]) == 2
    png = np.frombuffer(base64.b64decode(answer["maps"]["heatmap"]), np.uint8)
    assert cv2.imdecode(png, cv2.IMREAD_GRAYSCALE).tolist() == (scores * 255).astype(int).tolist()
