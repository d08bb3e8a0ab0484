"""yolov5-face: the decode against the reference and a plain loop, real weights on a real picture, wrong weights."""

from __future__ import annotations

import json
import math
import zlib
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detserve import models
from detserve.core.detections import Detections
from detserve.core.geometry import nms
from detserve.core.letterbox import Letterbox
from detserve.engines.sources.network import Preprocessed
from detserve.errors import BadSpec, BadWeights
from detserve.models.checkpoints import read_state_dict
from detserve.models.spec import Outputs
from detserve.models.yolov5face.spec import SPECS, Yolov5Face

BY_NAME = {spec.name: spec for spec in SPECS}
NANO, SMALL = BY_NAME["yolov5n-face"], BY_NAME["yolov5s-face"]
WEIGHTS = {"yolov5n-0.5-face": "yolov5n-0.5.state_dict.pt", "yolov5n-face": "yolov5n-face.from_ncnn.state_dict.pt"}


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


# Decode


@pytest.fixture(scope="module", params=["n05", "n", "s", "m"])
def golden(request: pytest.FixtureRequest, shared: Path) -> dict[str, np.ndarray]:
    with np.load(shared / f"golden/models/yolov5face_{request.param}.npz") as arrays:
        return dict(arrays)


def heads(golden: dict[str, np.ndarray]) -> Outputs:
    """The reference's heads as the network gives them: [n, anchor, y, x, value] → [n, anchor * value, y, x]."""
    maps = (golden[key].transpose(0, 1, 4, 2, 3) for key in ("head_p3", "head_p4", "head_p5"))
    return {name: m.reshape(len(m), 48, *m.shape[3:]) for name, m in zip(NANO.outputs, maps, strict=True)}


def close(found: np.ndarray, wanted: np.ndarray) -> None:
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=0.05)


def test_every_cell_is_decoded_as_by_the_reference(golden: dict[str, np.ndarray]) -> None:
    for found, wanted in zip(NANO.decode(heads(golden), [0, 0]), golden["decoded"], strict=True):
        assert len(found) == 756
        centre, half = wanted[:, :2], wanted[:, 2:4] / 2
        close(found.boxes, np.concatenate([centre - half, centre + half], axis=1))
        close(found.keypoints.reshape(-1, 10), wanted[:, 5:15])
        np.testing.assert_allclose(found.scores, wanted[:, 4] * wanted[:, 15], rtol=0, atol=1e-6)


def test_detections_are_those_of_the_reference(golden: dict[str, np.ndarray]) -> None:
    for i, candidates in enumerate(NANO.decode(heads(golden), [0.3, 0.3])):
        found = candidates[nms(candidates.boxes, candidates.scores, 0.5)]
        wanted = golden[f"nms_{i}"]
        assert len(found) == len(wanted) > 100
        np.testing.assert_allclose(found.scores, wanted[:, 4], rtol=0, atol=1e-5)
        close(found.boxes, wanted[:, :4])
        close(found.keypoints.reshape(-1, 10), wanted[:, 5:15])


def decode_plainly(spec: Yolov5Face, outputs: Outputs, picture: int, conf: float) -> list[list[float]]:
    """The formula of the fact sheet, cell by cell: rows of x1, y1, x2, y2, score and ten landmark values."""

    def sigmoid(x: float) -> float:
        return 1 / (1 + math.exp(-x))

    rows = []
    for level, (name, stride) in enumerate(zip(spec.outputs, (8, 16, 32), strict=True)):
        _, _, height, width = outputs[name].shape
        for anchor, gy, gx in product(range(3), range(height), range(width)):
            v = [float(value) for value in outputs[name][picture, anchor * 16 : anchor * 16 + 16, gy, gx]]
            aw, ah = spec.anchors[level * 6 + anchor * 2 : level * 6 + anchor * 2 + 2]
            objectness = sigmoid(v[4])
            score = objectness * sigmoid(v[15])
            if objectness > conf and score > conf:
                x, y = (2 * sigmoid(v[0]) - 0.5 + gx) * stride, (2 * sigmoid(v[1]) - 0.5 + gy) * stride
                w, h = (2 * sigmoid(v[2])) ** 2 * aw, (2 * sigmoid(v[3])) ** 2 * ah
                points = [v[5 + k] * (ah if k % 2 else aw) + (gy if k % 2 else gx) * stride for k in range(10)]
                rows.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2, score, *points])
    return rows


def random_heads(seed: int, batch: int, width: int, height: int) -> Outputs:
    random = np.random.default_rng(seed)
    return {
        name: random.normal(0, 2, (batch, 48, height // stride, width // stride)).astype(np.float32)
        for name, stride in zip(NANO.outputs, (8, 16, 32), strict=True)
    }


def rows(found: Detections) -> np.ndarray:
    assert found.keypoints is not None
    return np.concatenate([found.boxes, found.scores[:, None], found.keypoints.reshape(-1, 10)], axis=1)


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    size=st.tuples(st.sampled_from([32, 64, 96]), st.sampled_from([32, 64])),
    conf=st.lists(st.one_of(st.sampled_from([0.0, 1.0, 0.5]), st.floats(0, 1)), min_size=1, max_size=3),
)
def test_each_picture_is_decoded_by_the_formula(seed: int, size: tuple[int, int], conf: list[float]) -> None:
    outputs = random_heads(seed, len(conf), *size)
    found = NANO.decode(outputs, conf)
    assert len(found) == len(conf)
    for i, threshold in enumerate(conf):
        wanted = decode_plainly(NANO, outputs, i, threshold)
        np.testing.assert_allclose(rows(found[i]), np.reshape(wanted, (-1, 15)), rtol=1e-4, atol=1e-3)


def test_own_anchors_are_used() -> None:
    spec = NANO.override(anchors=[2 * value for value in NANO.anchors])
    outputs = random_heads(0, 1, 64, 64)
    wanted = decode_plainly(spec, outputs, 0, 0.2)
    assert len(wanted) > 10
    np.testing.assert_allclose(rows(spec.decode(outputs, [0.2])[0]), wanted, rtol=1e-4, atol=1e-3)


def test_nothing_is_above_one_and_all_above_zero() -> None:
    outputs = random_heads(1, 2, 64, 32)
    none, everything = NANO.decode(outputs, [1, 0])
    assert len(none) == 0 and none.keypoints.shape == (0, 5, 2)
    assert len(everything) == 3 * (8 * 4 + 4 * 2 + 2 * 1)


def test_extreme_values_do_not_overflow() -> None:
    outputs = {name: np.full_like(m, 200) for name, m in random_heads(0, 1, 32, 32).items()}
    outputs["stride8"][:] = -200
    (found,) = NANO.decode(outputs, [0])
    assert len(found) == 3 * (4 + 1)
    assert np.isfinite(found.boxes).all() and (found.scores == 1).all()


# Real weights on a real picture


def detect(spec: Yolov5Face, weights: Path, picture: Path) -> Detections:
    """Faces in pixels of the picture, through the letterbox, the engine's own preprocessing, and the decode."""
    bgr = cv2.imread(str(picture))
    assert zlib.crc32(bgr.tobytes()) == 2677136993, "the picture is not decoded as it was for the reference"
    box = Letterbox.fit(bgr.shape[1::-1], spec.size)
    pixels = np.empty((1, *spec.size[::-1], 3), np.uint8)
    box.apply(np.ascontiguousarray(bgr[:, :, ::-1]), pixels[0], spec.fill)
    with torch.inference_mode():
        outputs = Preprocessed(spec.network(weights), spec)(torch.from_numpy(pixels))
    arrays = {name: output.numpy() for name, output in zip(spec.outputs, outputs, strict=True)}
    (candidates,) = spec.decode(arrays, [0.3])
    return box.invert_detections(candidates[nms(candidates.boxes, candidates.scores, 0.5)])


@pytest.mark.parametrize("size", [320, 640])
@pytest.mark.parametrize("name", WEIGHTS)
def test_faces_of_the_reference(shared: Path, name: str, size: int) -> None:
    results = json.loads((shared / "golden/real/yolov5face_detections.json").read_text())["results"]
    key = {"weights": WEIGHTS[name], "picture": "zidane.jpg", "size": size, "path": "square"}
    (wanted,) = [r for r in results if key.items() <= r.items()]
    spec = BY_NAME[name].override(size=(size, size))
    found = detect(spec, shared / "weights" / WEIGHTS[name], shared / "images/yolo_zidane.jpg")
    assert len(found) == wanted["count"] == 2
    np.testing.assert_allclose(found.boxes, [face["box"] for face in wanted["faces"]], rtol=0, atol=0.01)
    np.testing.assert_allclose(found.scores, [face["score"] for face in wanted["faces"]], rtol=0, atol=1e-5)
    landmarks = [face["landmarks"] for face in wanted["faces"]]
    np.testing.assert_allclose(found.keypoints.reshape(-1, 10), landmarks, rtol=0, atol=0.01)


def test_landmarks_begin_on_the_subjects_right(shared: Path) -> None:
    found = detect(NANO, shared / "weights" / WEIGHTS[NANO.name], shared / "images/yolo_zidane.jpg")
    assert len(found) == 2
    for right_eye, left_eye, nose, right_mouth, left_mouth in found.keypoints:
        # Both men face the camera, so what is right on them is left in the picture.
        assert right_eye[0] < left_eye[0] and right_mouth[0] < left_mouth[0]
        assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])


def test_checkpoint_as_published_gives_the_same_faces(shared: Path) -> None:
    spec, picture = BY_NAME["yolov5n-0.5-face"], shared / "images/yolo_zidane.jpg"
    pickled = detect(spec, shared / "weights/yolov5n-0.5.pt", picture)
    plain = detect(spec, shared / "weights/yolov5n-0.5.state_dict.pt", picture)
    assert len(plain) == 2
    np.testing.assert_array_equal(rows(pickled), rows(plain))


# Wrong weights


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A checkpoint of yolov5n-face, untrained, as training leaves it: half precision, under the key model."""
    path = tmp_path / "mine.pt"
    state = {key: t.half() if t.is_floating_point() else t for key, t in NANO.architecture().state_dict().items()}
    torch.save({"epoch": 3, "model": state}, path)
    return path


def test_own_checkpoint_is_loaded(saved: Path) -> None:
    network = NANO.network(saved)
    assert not network.training
    state = network.state_dict()
    assert all(torch.equal(tensor, state[key]) for key, tensor in read_state_dict(saved).items())


@pytest.mark.parametrize("wrong", ["yolov5n-0.5-face", "yolov5s-face"])
def test_wrong_member_of_the_family_is_told_the_right_one(saved: Path, wrong: str) -> None:
    with pytest.raises(BadWeights, match=rf"mine\.pt: does not fit .*model\.\d.*; it fits yolov5n-face, not {wrong}$"):
        BY_NAME[wrong].network(saved)


def test_weights_of_another_network_are_told_by_key(shared: Path) -> None:
    with pytest.raises(BadWeights) as caught:
        NANO.network(shared / "weights/Final_Retinaface_mnet025.pth")
    message = str(caught.value)
    assert "Final_Retinaface_mnet025.pth: does not fit" in message
    assert "missing: model.0.stem_1.conv.weight" in message and "unexpected: body.stage1.0.0.weight" in message
    assert "it fits" not in message and "\n" not in message


@pytest.mark.parametrize("buffer", ["anchors", "anchor_grid"])
def test_other_anchors_are_refused(saved: Path, buffer: str) -> None:
    state = read_state_dict(saved)
    state[f"model.21.{buffer}"] *= 1.01
    torch.save(state, saved)
    with pytest.raises(BadWeights, match=rf"mine\.pt: trained with other anchors .*model\.21\.{buffer} is "):
        NANO.network(saved)


def test_other_anchors_are_taken_where_the_spec_has_them(saved: Path) -> None:
    state = read_state_dict(saved)
    for buffer in ("anchors", "anchor_grid"):
        state[f"model.21.{buffer}"] *= 1.5
    torch.save(state, saved)
    spec = NANO.override(anchors=[1.5 * value for value in NANO.anchors])
    assert torch.equal(spec.network(saved).state_dict()["model.21.anchors"], state["model.21.anchors"])


# Specs


def test_the_family_is_in_the_catalogue() -> None:
    assert [name for name in models.catalogue() if name.startswith("yolov5")] == [
        "yolov5n-0.5-face",
        "yolov5n-face",
        "yolov5s-face",
        "yolov5m-face",
        "yolov5l-face",
    ]
    assert models.find("yolov5s-face") is SMALL


@pytest.mark.parametrize("spec", SPECS, ids=lambda spec: spec.name)
def test_settings_make_the_same_spec_again(spec: Yolov5Face) -> None:
    assert spec.override(**json.loads(json.dumps(spec.settings()))) == spec


@pytest.mark.parametrize(
    ("changes", "rule"), [({"blocks": "conv"}, "blocks must be"), ({"anchors": [1, 2]}, "anchors must be 18 numbers")]
)
def test_bad_settings_are_refused(changes: dict[str, object], rule: str) -> None:
    with pytest.raises(BadSpec, match=rf"model yolov5n-face: {rule}"):
        NANO.override(**changes)
