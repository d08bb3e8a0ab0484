"""node_config.json of a server of detectron2's models, and the YAML that it names."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detserve import models
from detserve.errors import BadSpec
from detserve.models.maskrcnn import MaskRcnn
from detserve.pack import command
from detserve.pack.node_config import read

NODE = {
    "DETECTION_TYPE": "RGBMaskRCNNTorchServicer",
    "MODEL_WEIGHT": "model_final.pth",
    "CONFIG_FILE": "config.yaml",
    "MIN_SIZE": 416,
    "SCORE_THRESH_TEST": 0.8,
    "CATEGORY_FILE": "categories.txt",
}
FOUR = """
MODEL:
  META_ARCHITECTURE: GeneralizedRCNN
  BACKBONE: {NAME: build_resnet_fpn_backbone}
  PIXEL_MEAN: [130.946, 142.507, 137.682]
  ANCHOR_GENERATOR: {SIZES: [[32], [64], [128], [256]]}
  RPN: {IN_FEATURES: [p2, p3, p4, p5]}
  ROI_HEADS: {NUM_CLASSES: 2, SCORE_THRESH_TEST: 0.5}
  RESNETS: {DEPTH: 50}
INPUT: {MIN_SIZE_TEST: 800, MAX_SIZE_TEST: 1333, FORMAT: BGR}
TEST: {DETECTIONS_PER_IMAGE: 50}
"""

DEPTH = {"DETECTION_TYPE": "RGBDMaskRCNNTorchServicer", "DEPTH_MIN": 1000, "DEPTH_MAX": 1500, "MIN_SIZE": 384}
TWO = """
MODEL:
  META_ARCHITECTURE: RGBDRCNN
  BACKBONE: {NAME: build_rgbd_resnet_fpn_backbone}
  PIXEL_MEAN: [108.609, 113.435, 107.669]
  DEPTH_PIXEL_MEAN: [140]
  DEPTH_PIXEL_STD: [2]
  ANCHOR_GENERATOR: {SIZES: [[32], [64], [128], [256]]}
  RPN: {IN_FEATURES: [p2, p3, p4, p5]}
  ROI_BOX_HEAD:
    BBOX_REG_WEIGHTS: (10.0, 10.0, 5.0, 5.0)
INPUT: {MIN_SIZE_TEST: 384}
"""
ENGINE = {
    "DETECTION_TYPE": "RGBDMaskRCNNTensorRTServicer",
    "ENGINE": "model.trt",
    "SCORE_THRESHOLD": 0.8,
    "MODEL_WEIGHT": None,
    "CONFIG_FILE": None,
    "SCORE_THRESH_TEST": None,
}


def node(folder: Path, config: str = FOUR, **changes: Any) -> Path:
    (folder / "config.yaml").write_text(config)
    (folder / "categories.txt").write_text("bolt\nnut\n")
    (folder / "node_config.json").write_text(json.dumps({k: v for k, v in (NODE | changes).items() if v is not None}))
    return folder / "node_config.json"


def request_of(path: Path, *words: str, name: str = "md9") -> Any:
    return command.request(command.parse([name, "--node-config", str(path), *words]))


def test_the_served_configuration_becomes_a_request(tmp_path: Path) -> None:
    request = request_of(node(tmp_path))
    assert request.detect.model == "maskrcnn-d2-r50-fpn"
    assert list(request.detect.weights) == [str(tmp_path / "model_final.pth")]
    spec = models.find(request.detect.model).override(**request.detect.settings)
    assert isinstance(spec, MaskRcnn)
    assert (spec.levels, spec.min_size, spec.max_size, spec.conf, spec.max_detections) == (4, 416, 1333, 0.8, 50)
    assert (spec.mean, spec.std, spec.channels) == ((130.946, 142.507, 137.682), (1.0, 1.0, 1.0), "BGR")
    assert (spec.categories, spec.category_ids) == (("bolt", "nut"), (0, 1))


def test_colour_and_depth_become_a_request_too(tmp_path: Path) -> None:
    request = request_of(node(tmp_path, TWO, **DEPTH | {"DEPTH_MAX": 1800}))
    assert request.detect.model == "maskrcnn-d2-r50-fpn-two-stems"
    spec = models.find(request.detect.model).override(**request.detect.settings)
    assert isinstance(spec, MaskRcnn)
    assert (spec.levels, spec.min_size, spec.max_size) == (4, 384, 0)
    assert (spec.depth_low, spec.depth_high, spec.depth_mean, spec.depth_std) == (1.0, 1.8, 140, 2)


def test_it_goes_over_the_settings_of_the_served_model_and_under_the_command_line(tmp_path: Path) -> None:
    path = node(tmp_path, TWO, **DEPTH)
    assert request_of(path, name="md1").detect.model == "maskrcnn-d2-r50-fpn-two-stems"
    request = request_of(path, "--conf", "0.1", "--weights", "other.pth", name="md1")
    assert (request.detect.settings["conf"], list(request.detect.weights)) == (0.1, ["other.pth"])


@pytest.mark.parametrize(
    ("kind", "means", "model"),
    [
        ("RGBD", [1, 2, 3], "maskrcnn-d2-r50-fpn-two-stems"),
        ("rgb-d", [1, 2, 3, 4], "maskrcnn-d2-r50-fpn-rgbd"),
        ("RGB", [1, 2, 3], "maskrcnn-d2-r50-fpn"),
    ],
)
def test_depth_is_told_by_the_type_and_by_the_means(tmp_path: Path, kind: str, means: list[int], model: str) -> None:
    path = node(tmp_path, f"MODEL: {{PIXEL_MEAN: {means}}}", DETECTION_TYPE=kind)
    assert request_of(path).detect.model == model


def test_a_configuration_may_be_built_on_one_beside_it(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text("MODEL: {RESNETS: {DEPTH: 101}}\nTEST: {DETECTIONS_PER_IMAGE: 7}")
    told = read(node(tmp_path, "_BASE_: base.yaml\nMODEL: {RESNETS: {DEPTH: 50}}"))
    assert told["settings"]["max_detections"] == 7
    with pytest.raises(BadSpec, match=r"_BASE_ \.\./x\.yaml is not beside it"):
        read(node(tmp_path, "_BASE_: ../x.yaml"))


@pytest.mark.parametrize(
    ("config", "words"),
    [
        ("MODEL: {RESNETS: {DEPTH: 101}}", "MODEL.RESNETS.DEPTH 101 is not served"),
        ("MODEL: {BACKBONE: {NAME: build_swin_backbone}}", "MODEL.BACKBONE.NAME 'build_swin_backbone'"),
        ("MODEL: {KEYPOINT_ON: true}", "MODEL.KEYPOINT_ON True"),
        ("MODEL: {MASK_ON: false}", "MODEL.MASK_ON False"),
        ("MODEL: {ROI_HEADS: {NAME: CascadeROIHeads}}", "MODEL.ROI_HEADS.NAME 'CascadeROIHeads'"),
        ("MODEL: {RPN: {IN_FEATURES: [p3, p4]}}", r"proposals on \['p3', 'p4'\]"),
        ("MODEL: {PIXEL_MEAN: [1, 2, 3, 4]}", "PIXEL_MEAN has four values"),
        ("MODEL: {META_ARCHITECTURE: RGBDRCNN}", "META_ARCHITECTURE is RGBDRCNN"),
        ("INPUT: {FORMAT: L}", "INPUT.FORMAT 'L'"),
        ("MODEL: {RPN: {BBOX_REG_WEIGHTS: [1, 1, 2, 2]}}", "MODEL.RPN.BBOX_REG_WEIGHTS"),
        ("MODEL: {ROI_BOX_HEAD: {BBOX_REG_WEIGHTS: '(1, 1, 1, 1)'}}", "MODEL.ROI_BOX_HEAD.BBOX_REG_WEIGHTS"),
        ("MODEL: {ROI_BOX_HEAD: {USE_SIGMOID_CE: true}}", "USE_SIGMOID_CE True"),
        ("MODEL: {ANCHOR_GENERATOR: {OFFSET: 0.5}}", "MODEL.ANCHOR_GENERATOR.OFFSET 0.5"),
        ("MODEL: {PROPOSAL_GENERATOR: {MIN_SIZE: 4}}", "MODEL.PROPOSAL_GENERATOR.MIN_SIZE 4"),
        ("INPUT: {MIN_SIZE_TEST: abc}", "MIN_SIZE_TEST 'abc' is not served; it must be a whole number"),
        ("INPUT: {MAX_SIZE_TEST: [800, 900]}", r"MAX_SIZE_TEST \[800, 900\]"),
        ("TEST: {DETECTIONS_PER_IMAGE: many}", "DETECTIONS_PER_IMAGE 'many'"),
        ("MODEL: {PIXEL_MEAN: '103.5'}", "PIXEL_MEAN '103.5' is not served; it must be a list of numbers"),
        ("MODEL: {PIXEL_STD: [a, b, c]}", "PIXEL_STD"),
        ("MODEL: {ROI_HEADS: {SCORE_THRESH_TEST: high}}", "SCORE_THRESH_TEST 'high' is not served; it must be a num"),
        ("[1, 2]", "no configuration of detectron2"),
        ("a: [", "config.yaml"),
    ],
)
def test_what_is_not_served_is_refused_by_its_name(tmp_path: Path, config: str, words: str) -> None:
    with pytest.raises(BadSpec, match=words):
        read(node(tmp_path, config))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"PORT": 50051}, "unknown: PORT"),
        ({"MODEL_WEIGHT": None}, "missing: MODEL_WEIGHT"),
        ({"DETECTION_TYPE": "thermal"}, "DETECTION_TYPE 'thermal'"),
        ({"MIN_SIZE": "large"}, "MIN_SIZE must be a number"),
        ({"DEPTH_MIN": 1000}, "unknown: DEPTH_MIN"),
        (DEPTH | {"DEPTH_MAX": "far"}, "DEPTH_MAX must be a number"),
        (ENGINE, "RGBDMaskRCNNTensorRTServicer has an engine of TensorRT"),
    ],
)
def test_a_faulty_node_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(BadSpec, match=words):
        read(node(tmp_path, **changes))


def test_more_objects_than_are_ever_answered_are_refused(tmp_path: Path) -> None:
    request = request_of(node(tmp_path, FOUR.replace("IMAGE: 50", "IMAGE: 300")))
    with pytest.raises(BadSpec, match="max_detections 300 must be at most 100: --max-detections 100"):
        models.find(request.detect.model).override(**request.detect.settings)


def test_categories_are_for_models_of_objects(tmp_path: Path) -> None:
    (tmp_path / "names").write_text("a\n")
    with pytest.raises(BadSpec, match="centerface has no categories"):
        command.request(command.parse(["fd1", "--categories", str(tmp_path / "names")]))
