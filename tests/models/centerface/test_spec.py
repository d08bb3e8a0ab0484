import json
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from detserve import models
from detserve.core.geometry import nms
from detserve.core.letterbox import Letterbox
from detserve.errors import BadWeights
from detserve.pack.weights import locate
from detserve.pictures.decode import decode

SPEC = models.find("centerface")
WEIGHTS = locate(SPEC.weights.origin, SPEC.weights.sha256)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    return SPEC.network(WEIGHTS)


def run(network: torch.nn.Module, rgb: np.ndarray) -> dict[str, np.ndarray]:
    """uint8 [h, w, 3] → the raw maps of a batch of one."""
    with torch.inference_mode():
        outputs = network(torch.from_numpy(rgb).permute(2, 0, 1)[None].float())
    return dict(zip(SPEC.outputs, (output.numpy() for output in outputs), strict=True))


def test_raw_maps_are_those_of_the_onnx_file(network, shared) -> None:
    golden = np.load(shared / "golden/real/centerface.npz")
    maps = run(network, np.load(shared / "golden/real/face_96x128.npz")["rgb"])
    for name, values in maps.items():
        assert np.abs(values - golden[name]).max() < 1e-4, name


def cases(shared: Path) -> list[dict]:
    return json.loads((shared / "golden/real/centerface.json").read_text())["cases"]


def assert_faces(found, faces: list[dict], scale: float = 1) -> None:
    assert len(found) == len(faces)
    order = np.argsort([-face["score"] for face in faces], kind="stable")
    faces = [faces[i] for i in order]
    assert np.abs(found.boxes * scale - [face["box"] for face in faces]).max() < 0.01
    assert np.abs(found.scores - [face["score"] for face in faces]).max() < 1e-5
    assert np.abs(found.keypoints.reshape(-1, 10) * scale - [face["landmarks"] for face in faces]).max() < 0.01


def detect(network, rgb: np.ndarray, threshold: float):
    spec = SPEC.override(size=rgb.shape[1::-1])
    (candidates,) = spec.decode(run(network, rgb), [threshold])
    return candidates[nms(candidates.boxes, candidates.scores, spec.iou)]


def test_faces_of_the_astronaut_at_its_own_size(network, shared, astronaut) -> None:
    case = next(c for c in cases(shared) if c["name"] == "astronaut own size")
    assert_faces(detect(network, decode(astronaut).rgb, case["threshold"]), case["faces"])


def test_faces_of_zidane_on_a_square_canvas(network, shared) -> None:
    case = next(c for c in cases(shared) if c["name"] == "zidane square 320")
    image = decode((shared / "images/yolo_zidane.jpg").read_bytes())
    canvas = np.empty((320, 320, 3), np.uint8)
    Letterbox.fit(image.size, (320, 320)).apply(image.rgb, canvas, SPEC.fill)
    assert_faces(detect(network, canvas, case["threshold"]), case["faces"])


def test_each_picture_of_a_batch_has_its_own_threshold(network, astronaut) -> None:
    maps = run(network, decode(astronaut).rgb)
    batch = {name: np.concatenate([values] * 3) for name, values in maps.items()}
    spec = SPEC.override(size=(512, 512))
    none, few, all_cells = spec.decode(batch, [1.0, 0.5, 0.0])
    assert len(none) == 0
    assert 0 < len(few) < len(all_cells)
    assert few.scores.min() > 0.5


def test_the_subjects_right_eye_comes_first(network, astronaut) -> None:
    (points,) = detect(network, decode(astronaut).rgb, 0.5).keypoints
    right_eye, left_eye, nose, right_mouth, left_mouth = points
    assert right_eye[0] < nose[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert right_eye[1] < nose[1] < right_mouth[1]


def rewritten(tmp_path: Path, change) -> Path:
    model = onnx.load(WEIGHTS)
    change(model.graph)
    onnx.save(model, tmp_path / "changed.onnx")
    return tmp_path / "changed.onnx"


def test_a_file_that_does_not_fit_is_named_with_what_does_not(tmp_path: Path) -> None:
    def drop_a_layer(graph) -> None:
        del graph.node[next(i for i, node in enumerate(graph.node) if node.op_type == "Conv")]

    def reshape_a_kernel(graph) -> None:
        kernel = next(t for t in graph.initializer if t.name == graph.node[0].input[1])
        kernel.dims[:] = [32, 27, 1, 1]

    noise = tmp_path / "noise.onnx"
    noise.write_bytes(b"\x00not an ONNX file" * 9)
    for path, message in [
        (rewritten(tmp_path, drop_a_layer), "layers with weights"),
        (noise, "noise.onnx"),
        (tmp_path / "absent.onnx", "absent.onnx"),
    ]:
        with pytest.raises(BadWeights, match=message):
            SPEC.network(path)
    with pytest.raises(BadWeights, match=r"changed.onnx.*\[32, 27, 1, 1\].*\[32, 3, 3, 3\]"):
        SPEC.network(rewritten(tmp_path, reshape_a_kernel))
