import json
import sys

import numpy as np
import pytest

from detserve import response
from detserve.detections import Detections
from detserve.errors import BadPicture, InternalError, InvalidOption, PictureTooLarge, RequestError, UnsupportedFormat

FOUND = Detections(
    np.array([[10, 20, 30, 60], [0, 0, 200, 100]], np.float32),
    np.array([0.75, 0.5], np.float32),
    np.array([[[20, 25]] * 5, [[-20, 150]] * 5], np.float32),
)


def test_boxes_and_landmarks_are_ratios_of_the_picture() -> None:
    first, second = json.loads(response.body(FOUND, (200, 100)))
    assert first == {"xywh_ratio": [0.1, 0.4, 0.1, 0.4], "conf": 0.75, "landmarks_ratio": [0.1, 0.25] * 5}
    assert second["xywh_ratio"] == [0.5, 0.5, 1, 1]
    assert second["landmarks_ratio"] == [-0.1, 1.5] * 5


def test_nothing_found_is_an_empty_list() -> None:
    assert response.body(Detections.empty(5), (10, 10)) == b"[]"


def test_a_model_without_keypoints_has_no_landmarks() -> None:
    assert set(response.objects(Detections(FOUND.boxes, FOUND.scores), (200, 100))[0]) == {"xywh_ratio", "conf"}


@pytest.mark.parametrize(
    ("error", "code"),
    [(BadPicture, 400), (PictureTooLarge, 413), (UnsupportedFormat, 415), (InvalidOption, 422), (InternalError, 500)],
)
def test_an_error_says_its_code_type_and_message(error: type[RequestError], code: int) -> None:
    answer = json.loads(response.body(error("why"), None))
    assert answer == {"code": code, "type": error.type, "message": "why"}


def test_a_stock_torchserve_without_orjson_answers_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    fast = response.body(FOUND, (200, 100))
    monkeypatch.setitem(sys.modules, "orjson", None)
    monkeypatch.setattr(response, "dumps", response._dumps())
    assert json.loads(response.body(FOUND, (200, 100))) == json.loads(fast)
