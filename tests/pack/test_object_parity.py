"""The gate of models of several networks: what it lets pass, what it refuses, and that every backend passes it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from benchmarks.fill_objects import fill
from detserve import engines, models
from detserve.core.detections import Detections
from detserve.core.masks import Masks
from detserve.engines.base import Device, EnginePlan
from detserve.engines.parts import PartedEngines, PartedSource
from detserve.errors import BackendMissing, EngineRejected
from detserve.models.maskrcnn import MaskRcnn
from detserve.models.parts import Wish
from detserve.pack import packer
from detserve.pack.object_parity import EXACT, REDUCED, Bounds, ObjectParity, canvases, match, measure
from detserve.pack.packer import GATE_PICTURES
from detserve.pack.weights import locate

CANVAS = np.zeros((200, 200, 4), np.uint8)
GOOD = ObjectParity(objects=20, unmatched=0, box=0.01, conf=1e-4, mask=0.999)


def detections(boxes: list[list[float]], labels: list[int], values: np.ndarray | None = None) -> Detections:
    corners = np.array(boxes, np.float32).reshape(-1, 4)
    masks = np.ones((len(corners), 28, 28), np.float32) if values is None else values
    return Detections(
        corners,
        np.linspace(0.9, 0.8, len(corners)).astype(np.float32),
        labels=tuple(map(str, labels)),
        label_ids=np.array(labels, np.int64),
        masks=Masks(masks, corners, "exact"),
    )


def test_an_object_is_matched_with_the_nearest_of_its_class() -> None:
    mine = detections([[10, 10, 110, 110]], [3])
    others = detections([[10, 10, 110, 110], [10, 10, 112, 110], [150, 150, 190, 190]], [4, 3, 3])
    ((box, conf, mask),) = match(mine, others, CANVAS, 0)
    assert (box, round(float(conf), 6), round(mask, 3)) == (2, 0.05, round(100 / 102, 3))
    assert not len(match(mine, others[np.array([0, 2])], CANVAS, 0))
    assert not len(match(mine, detections([], []), CANVAS, 0))


def test_pixels_of_which_nobody_is_sure_count_in_fp32_alone() -> None:
    unsure = np.full((1, 28, 28), 0.6, np.float32)
    unsure[0, :, :14] = 1
    other = unsure.copy()
    other[0, :, 16:] = 0.4
    box = [[10.0, 10, 110, 110]]
    mine, others = detections(box, [1], unsure), detections(box, [1], other)
    assert match(mine, others, CANVAS, EXACT.unsure)[0, 2] < 0.6
    assert match(mine, others, CANVAS, REDUCED.unsure)[0, 2] == 1


@pytest.mark.parametrize("bounds", [EXACT, REDUCED])
@pytest.mark.parametrize(
    ("field", "words"),
    [("unmatched", "no counterpart"), ("box", "px off"), ("conf", "confidence"), ("mask", "masks overlap")],
)
def test_each_figure_has_a_bound(bounds: Bounds, field: str, words: str) -> None:
    GOOD.check(bounds)
    over = {
        "unmatched": int(bounds.share * 20) + 1,
        "box": bounds.box * 1.01,
        "conf": bounds.conf * 1.01,
        "mask": bounds.mask * 0.999,
    }
    with pytest.raises(EngineRejected, match=words):
        replace(GOOD, **{field: over[field]}).check(bounds)
    with pytest.raises(EngineRejected):
        replace(GOOD, **{field: float("nan")} if field != "unmatched" else {"unmatched": 20}).check(bounds)


@pytest.mark.parametrize(
    ("asked", "taken", "packed", "bounds"),
    [("auto", "bf16", "auto", REDUCED), ("auto", "fp32", "fp32", EXACT), ("fp32", "fp32", "fp32", EXACT)],
)
def test_what_was_not_computed_in_16_bits_is_not_packed_for_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, asked: str, taken: str, packed: str, bounds: Bounds
) -> None:
    seen = []
    engine = SimpleNamespace(computes_in=lambda plan: taken)

    class Built(PartedEngines):
        def __init__(self, adapter: object, folder: Path, spec: object, plan: EnginePlan, device: Device) -> None:
            self.engines, self.plan = {"features": engine}, plan  # type: ignore[dict-item]

    monkeypatch.setattr(packer, "PartedSource", lambda *_: SimpleNamespace(build=lambda *_: None))
    monkeypatch.setattr(packer, "PartedEngines", Built)
    monkeypatch.setattr(packer.object_parity, "measure", lambda *words: seen.append(words[-1]) or GOOD)
    plan = EnginePlan(precision=asked, max_batch=1)
    spec = models.find("maskrcnn-r50-fpn")
    assert isinstance(spec, MaskRcnn)
    figures, found = packer._build_parts(spec, [tmp_path], engines.find("eager"), plan, tmp_path)
    assert (found.precision, seen) == (packed, [bounds])
    assert figures == GOOD.to_dict()


def test_what_masks_need_is_missed_before_anything_is_built(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("detserve.worker.masks.find_spec", lambda name: None)
    choice = packer.ModelChoice(model="maskrcnn-r50-fpn", weights=[str(tmp_path / "none.pth")])
    with pytest.raises(BackendMissing, match="pip install pycocotools"):
        packer.pack(packer.PackRequest(name="md9", detect=choice, out=tmp_path))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["maskrcnn-r50-fpn", "maskrcnn-d2-r50-fpn-two-stems"])
def test_every_backend_finds_the_same_objects_in_fp32(name: str, tmp_path: Path) -> None:
    spec = models.find(name).override(min_size=64, max_size=96, size=(96, 96))
    assert isinstance(spec, MaskRcnn)
    weights = tmp_path / "weights.pth"
    torch.save(fill(spec), weights)
    source, plan = PartedSource(spec, weights), EnginePlan(precision="fp32", max_batch=1)
    picture = locate(GATE_PICTURES["object"]).read_bytes()
    wish = Wish(conf=0.0, iou=spec.iou, most=50)
    found: dict[str, Detections] = {}
    for backend in engines.available():
        adapter = engines.find(backend)
        source.build(adapter, plan, tmp_path / backend)
        built = PartedEngines(adapter, tmp_path / backend, spec, plan, Device(threads=2))
        figures = measure(source, built, picture, EXACT)
        print(backend, figures)
        assert figures.objects >= 10
        figures.check(EXACT)
        found[backend] = spec.detect(built.run, canvases(spec, picture)[0], wish)
    eager, script = found["eager"], found["torchscript"]
    assert np.array_equal(eager.boxes, script.boxes)
    assert np.array_equal(eager.scores, script.scores)
    assert eager.labels == script.labels
    assert eager.masks is not None
    assert script.masks is not None
    assert np.array_equal(eager.masks.values, script.masks.values)
