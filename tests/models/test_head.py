"""The decode in PyTorch against the decode in numpy, on maps of chance."""

import numpy as np
import pytest
import torch

from detserve import models
from detserve.models.head import CANDIDATES
from detserve.models.spec import DetectorSpec

SIZE = (160, 96)


def maps(spec: DetectorSpec, n: int, seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    w, h = spec.size
    if spec.name == "centerface":
        channels = {"heatmap": 1, "scale": 2, "offset": 2, "landmarks": 10}
        outputs = {name: rng.normal(0, 1, (n, c, h // 4, w // 4)) for name, c in channels.items()}
        outputs["heatmap"] = rng.uniform(0, 1, outputs["heatmap"].shape) ** 4
    else:
        outputs = {f"stride{s}": rng.normal(0, 2, (n, 48, h // s, w // s)) for s in (8, 16, 32)}
    return {name: values.astype(np.float32) for name, values in outputs.items()}


@pytest.mark.parametrize("name", ["centerface", "yolov5n-face"])
@pytest.mark.parametrize("conf", [0.0, 0.3, 0.9, 1.0])
def test_candidates_are_those_of_the_decode_in_numpy(name: str, conf: float) -> None:
    spec = models.find(name).override(size=SIZE)
    assert isinstance(spec, DetectorSpec)
    outputs = maps(spec, 3, seed=1)
    head = spec.head()
    assert head is not None
    boxes, scores, points = head(tuple(torch.from_numpy(outputs[o]) for o in spec.outputs))
    for i, wanted in enumerate(spec.decode(outputs, [conf] * 3)):
        best = np.argsort(-wanted.scores, kind="stable")[:CANDIDATES]
        above = (scores[i] > conf).numpy()
        assert above.sum() == min(len(wanted), CANDIDATES)
        assert scores[i][above].numpy() == pytest.approx(wanted.scores[best], abs=1e-6)
        assert boxes[i][above].numpy() == pytest.approx(wanted.boxes[best], rel=1e-4, abs=1e-3)
        assert wanted.keypoints is not None
        assert points[i][above].numpy() == pytest.approx(wanted.keypoints[best], rel=1e-4, abs=1e-2)


def test_no_more_than_the_best_candidates_are_kept() -> None:
    spec = models.find("centerface")
    assert isinstance(spec, DetectorSpec)
    outputs = maps(spec, 1, seed=2)
    head = spec.head()
    assert head is not None
    scores = head(tuple(torch.from_numpy(outputs[o]) for o in spec.outputs)).scores[0]
    assert len(scores) == CANDIDATES
    assert scores.numpy() == pytest.approx(np.sort(outputs["heatmap"].ravel())[::-1][:CANDIDATES])


def test_text_models_have_no_head() -> None:
    for name in ("craft", "east-vgg16", "ppocrv6-small-det"):
        spec = models.find(name)
        assert isinstance(spec, DetectorSpec)
        assert spec.head() is None
