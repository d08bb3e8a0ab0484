"""A recogniser of another language: a made one, which tells the colours of bars apart."""

from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from benchmarks import asking
from detserve import engines, models
from detserve.engines import sources
from detserve.engines.base import Device, EnginePlan
from detserve.errors import BadSpec, BadWeights
from detserve.pack import command
from detserve.pack.packer import pack
from detserve.worker.reader import Reader

LETTERS = "жю한"
COLOURS = {"ж": (255, 0, 0), "ю": (0, 255, 0), "한": (0, 0, 255), " ": (0, 0, 0)}
"""Of each character, RGB; grey is the blank."""


def recogniser(path: Path, metadata: str | None = None, classes: int = 5, told: bool = True) -> Path:
    """Float [n, 3, 48, w] blue, green, red from -1 to 1 → probabilities [n, w / 8, classes].

    told: whether the file says how many classes there are.
    """
    weights = np.zeros((3, classes), np.float32)
    weights[:, 1:4] = [[-9, -9, 9], [-9, 9, -9], [9, -9, -9]]
    bias = np.full(classes, -9, np.float32)
    bias[0] = 3
    if classes > 4:
        weights[:, 4], bias[4] = -9, -9
    nodes = [
        helper.make_node("AveragePool", ["x"], ["pooled"], kernel_shape=[48, 8], strides=[48, 8]),
        helper.make_node("Squeeze", ["pooled", "axis"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["steps"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["steps", "weights"], ["scores"]),
        helper.make_node("Add", ["scores", "bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["y"], axis=2),
    ]
    constants = {"axis": np.array([2], np.int64), "weights": weights, "bias": bias}
    graph = helper.make_graph(
        nodes,
        "bars",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 48, "w"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", "t", classes if told else "c"])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    if metadata is not None:
        helper.set_model_props(model, {"character": metadata})
    onnx.save(model, path)
    return path


def bars(text: str) -> np.ndarray:
    """A line of bars, 16 pixels wide, grey between them: uint8 RGB [48, 32 n, 3]."""
    picture = np.full((48, 32 * len(text), 3), 127, np.uint8)
    for i, character in enumerate(text):
        picture[:, 32 * i + 8 : 32 * i + 24] = COLOURS[character]
    return picture


@pytest.mark.parametrize("by_file", [True, False])
def test_a_recogniser_of_another_alphabet_reads_its_letters(tmp_path: Path, by_file: bool) -> None:
    weights = recogniser(tmp_path / "rec.onnx", None if by_file else "\n".join(LETTERS))
    (tmp_path / "letters.txt").write_text("\n".join(LETTERS) + "\n", "utf-8")
    line = ["ocr9", "--model", "ppocrv6-small-det", "--reader", "ppocrv6-small-rec", "--reader-weights", str(weights)]
    request = command.request(command.parse([*line, *(["--alphabet", str(tmp_path / "letters.txt")] * by_file)]))
    assert request.read is not None
    spec = models.find("ppocrv6-small-rec").override(**request.read.settings).with_file_metadata(weights)
    adapter, plan = engines.find("onnx"), EnginePlan(precision="fp32", max_batch=1)
    (tmp_path / "engine").mkdir()
    adapter.build(sources.of(spec, weights), plan, tmp_path / "engine")
    reader = Reader(adapter(tmp_path / "engine", spec, plan, Device()))
    (read,) = reader.read([bars("юж 한한")])
    assert read.line.text == "юж 한한"
    assert read.line.confidence > 0.9


def test_a_space_is_added_where_the_network_has_a_class_for_it(tmp_path: Path) -> None:
    spec = models.find("ppocrv6-small-rec").override(alphabet=LETTERS)
    assert spec.with_file_metadata(recogniser(tmp_path / "a.onnx", classes=5)).settings()["alphabet"] == f"{LETTERS} "
    assert spec.with_file_metadata(recogniser(tmp_path / "b.onnx", classes=4)).settings()["alphabet"] == LETTERS


@pytest.mark.parametrize("told", [True, False])
def test_an_alphabet_of_another_network_is_refused(tmp_path: Path, told: bool) -> None:
    spec = models.find("ppocrv6-small-rec").override(alphabet=LETTERS)
    with pytest.raises(BadWeights, match="tells 6 characters apart, the alphabet has 3 and the space"):
        spec.with_file_metadata(recogniser(tmp_path / "c.onnx", classes=7, told=told))


def test_an_archive_of_another_recogniser_reads_its_letters(tmp_path: Path) -> None:
    weights = recogniser(tmp_path / "rec.onnx", "\n".join(LETTERS))
    line = ["ocr9", "--model", "ppocrv6-small-det", "--reader", "ppocrv6-small-rec", "--reader-weights", str(weights)]
    path = pack(command.request(command.parse([*line, "--backend", "onnx", "--out", str(tmp_path)])))
    picture = cv2.imencode(".png", bars("юж 한한")[..., ::-1])[1].tobytes()
    with asking.in_process(path) as asks:
        (found,) = asks({"X-Detect": "off"})(picture)
    assert found["text"] == "юж 한한"


def test_a_file_without_an_alphabet_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadWeights, match="give --alphabet FILE"):
        models.find("ppocrv6-small-rec").with_file_metadata(recogniser(tmp_path / "rec.onnx"))


@pytest.mark.parametrize("text", ["ab\nc\n", "a\n\nb\n"])
def test_a_file_of_another_form_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "letters.txt").write_text(text)
    with pytest.raises(BadSpec, match=r"letters\.txt:\d: one character is wanted"):
        command.alphabet(tmp_path / "letters.txt")
    with pytest.raises(BadSpec, match=r"none\.txt"):
        command.alphabet(tmp_path / "none.txt")


def test_lines_may_end_as_on_windows(tmp_path: Path) -> None:
    (tmp_path / "letters.txt").write_bytes("\ufeffa\r\n \r\nж\r\n".encode())
    assert command.alphabet(tmp_path / "letters.txt") == "a ж"
