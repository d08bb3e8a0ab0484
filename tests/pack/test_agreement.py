"""The gate of int8: an engine that is a little off passes, one that is wrong in one way is refused for that."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detserve import models
from detserve.engines.calibration import Calibration
from detserve.engines.sources.network import Preprocessed
from detserve.errors import EngineRejected
from detserve.pack.agreement import Agreement, measure, table
from detserve.pack.weights import locate

SPEC = models.find("centerface").override(size=(256, 256))
Change = Callable[[dict[str, np.ndarray]], object]


class Remembered(Preprocessed):
    """Runs on each picture but once."""

    def __init__(self) -> None:
        super().__init__(SPEC.network(locate(SPEC.weights.origin)), SPEC)
        self.known: dict[bytes, dict[str, np.ndarray]] = {}

    def reference(self, pixels: np.ndarray) -> dict[str, np.ndarray]:
        key = pixels.tobytes()
        if key not in self.known:
            self.known[key] = dict(super().reference(pixels))
        return self.known[key]


@pytest.fixture(scope="module")
def network() -> Preprocessed:
    return Remembered()


def gate(network: Preprocessed, pictures: Path, change: Change) -> Agreement:
    """The figures of the network itself, its outputs changed on the way."""

    def engine(batch: np.ndarray) -> dict[str, np.ndarray]:
        outputs = {name: array.copy() for name, array in network.reference(batch).items()}
        change(outputs)
        return outputs

    return measure(network, {"it": engine}, Calibration.of([str(pictures)]))["it"]  # type: ignore[dict-item]


def test_the_network_agrees_with_itself(network: Preprocessed, portraits: Path) -> None:
    figures = gate(network, portraits, lambda outputs: None)
    assert figures == Agreement(12, 12, 1.0, 1.0, 1.0, 0.0, 0.0)
    figures.check("face")


def test_a_little_off_everywhere_passes_and_is_told(network: Preprocessed, portraits: Path) -> None:
    def a_little_off(outputs: dict[str, np.ndarray]) -> None:
        outputs["heatmap"] *= 0.95
        outputs["scale"] += 0.03

    figures = gate(network, portraits, a_little_off)
    figures.check("face")
    assert (figures.recall, figures.precision) == (1.0, 1.0)
    assert 0.02 < figures.conf < 0.06
    assert 0.9 < figures.iou < 0.99
    shown = table({"fp32": figures, "int8": figures})
    assert "12 detections of the network on 12 pictures" in shown
    assert len(shown.splitlines()) == 4


def blind(outputs: dict[str, np.ndarray]) -> None:
    outputs["heatmap"] *= 0


def seeing_things(outputs: dict[str, np.ndarray]) -> None:
    outputs["heatmap"][:, :, 5, 5] = 0.9


def not_a_number(outputs: dict[str, np.ndarray]) -> None:
    outputs["landmarks"][:] = np.nan


def larger(outputs: dict[str, np.ndarray]) -> None:
    outputs["scale"] += 0.1


def unsure(outputs: dict[str, np.ndarray]) -> None:
    outputs["heatmap"] *= 0.85


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (blind, "it finds 0% of the network's detections"),
        (seeing_things, "the network finds 50% of its detections"),
        (not_a_number, "keypoints lie nan"),
        (larger, "boxes overlap by IoU 0.8"),
        (unsure, "confidences differ by 0.1"),
    ],
)
def test_an_engine_that_is_wrong_is_refused(
    network: Preprocessed, portraits: Path, change: Change, message: str
) -> None:
    with pytest.raises(EngineRejected, match=message) as caught:
        gate(network, portraits, change).check("face")
    assert "nothing was written" in str(caught.value)


def test_pictures_without_anything_to_find_cannot_tell(network: Preprocessed) -> None:
    empty = locate("package:skimage/data/grass.png")
    calibration = Calibration((empty,) * 10)
    figures = measure(network, {"it": network.reference}, calibration)["it"]  # type: ignore[dict-item]
    with pytest.raises(EngineRejected, match=r"finds 0 detection\(s\) on the 10 pictures of --calibration, too few"):
        figures.check("face")


@pytest.mark.parametrize(("missing", "passes"), [(1, True), (2, False)])
def test_one_of_few_may_always_differ(missing: int, passes: bool) -> None:
    figures = Agreement(10, 10, 1 - missing / 10, 1.0, 0.95, 0.01, 0.01)
    if passes:
        figures.check("face")
    else:
        with pytest.raises(EngineRejected, match="80%"):
            figures.check("face")
