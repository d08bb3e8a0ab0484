"""The gate: engines that are right pass, engines that are wrong in one way each are refused for that."""

from collections.abc import Callable

import numpy as np
import pytest

from detserve import models
from detserve.core.detections import Detections
from detserve.core.geometry import iou
from detserve.engines.base import EnginePlan
from detserve.engines.sources.network import Preprocessed
from detserve.errors import EngineRejected
from detserve.pack.parity import EXACT, REDUCED, Parity, _of_picture, batch_sizes, measure
from detserve.pack.weights import locate

SPEC = models.find("centerface").override(size=(256, 256))


@pytest.fixture(scope="module")
def network() -> Preprocessed:
    return Preprocessed(SPEC.network(locate(SPEC.weights.origin)), SPEC)


def gate(network: Preprocessed, picture: bytes, change: Callable[[dict[str, np.ndarray]], None]) -> Parity:
    """The figures of the network itself, its outputs changed on the way."""
    import torch

    def engine(batch: np.ndarray) -> dict[str, np.ndarray]:
        with torch.inference_mode():
            outputs = {k: v.numpy() for k, v in zip(SPEC.outputs, network(torch.from_numpy(batch)), strict=True)}
        change(outputs)
        return outputs

    return measure(network, engine, picture, EnginePlan(precision="fp32", max_batch=3))  # type: ignore[arg-type]


def test_the_network_agrees_with_itself(network: Preprocessed, astronaut: bytes) -> None:
    figures = gate(network, astronaut, lambda outputs: None)
    assert figures.detections == 1
    assert figures.raw < 1e-5
    figures.check(EXACT)


def moved_sizes(outputs: dict[str, np.ndarray]) -> None:
    outputs["scale"] += 0.1


def weaker(outputs: dict[str, np.ndarray]) -> None:
    outputs["heatmap"] *= 0.95


def blind(outputs: dict[str, np.ndarray]) -> None:
    outputs["heatmap"] *= 0


def seeing_things(outputs: dict[str, np.ndarray]) -> None:
    outputs["heatmap"][:, :, 5, 5] = 0.9


def broken(outputs: dict[str, np.ndarray]) -> None:
    outputs["landmarks"][:] = np.nan


def overflown(outputs: dict[str, np.ndarray]) -> None:
    """Where nothing is detected, so that only the numbers tell."""
    outputs["scale"][:, :, 0, 0] = np.inf


def eyes_elsewhere(outputs: dict[str, np.ndarray]) -> None:
    outputs["landmarks"] += 0.1


def second_is_wrong(outputs: dict[str, np.ndarray]) -> None:
    outputs["heatmap"][1:2] = 0


def unlike_in_the_mirror(outputs: dict[str, np.ndarray]) -> None:
    outputs["offset"][1::2, 1] += 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (moved_sizes, "IoU"),
        (weaker, "confidence differs"),
        (blind, "no counterpart"),
        (seeing_things, "no counterpart"),
        (broken, "not finite"),
        (overflown, "not finite"),
        (eyes_elsewhere, "keypoint"),
        (second_is_wrong, "no counterpart"),
        (unlike_in_the_mirror, "no counterpart|IoU"),
    ],
)
@pytest.mark.parametrize("bounds", [EXACT, REDUCED])
def test_an_engine_that_disagrees_is_refused(network, astronaut, change, message, bounds) -> None:
    figures = gate(network, astronaut, change)
    with pytest.raises(EngineRejected, match=message) as caught:
        figures.check(bounds)
    assert "nothing was written" in str(caught.value)


def test_a_small_error_everywhere_passes_where_16_bits_compute_and_only_there(network, astronaut) -> None:
    figures = gate(network, astronaut, lambda outputs: outputs["scale"].__iadd__(0.01))
    figures.check(REDUCED)
    with pytest.raises(EngineRejected, match="raw outputs differ by"):
        figures.check(EXACT)


def test_batches_are_one_the_best_the_largest_a_prime_between_and_one_to_be_split() -> None:
    def sizes(max_batch: int, opt_batch: int = 0) -> list[int]:
        return batch_sizes(EnginePlan(precision="fp32", max_batch=max_batch, opt_batch=opt_batch))

    assert sizes(1) == [1, 2]
    assert sizes(2) == [1, 2, 3]
    assert sizes(8) == [1, 7, 8, 9]
    assert sizes(32, 8) == [1, 8, 31, 32, 33]


def test_which_of_two_that_are_equally_sure_is_kept_makes_no_difference() -> None:
    """Rounding decides that, and the two overlap by less than the gate wants of one."""
    boxes = np.array([[0, 0, 100, 100], [6, 0, 106, 100]], np.float32)
    wanted = Detections(boxes, np.array([0.801, 0.8], np.float32))
    found = Detections(boxes, np.array([0.8, 0.801], np.float32))
    assert iou(boxes, boxes)[0, 1] < REDUCED.iou
    figures = _of_picture(0.0, 0.3, wanted, found)
    assert (figures.detections, figures.unmatched, figures.iou) == (1, 0, 1.0)
    assert figures.conf == pytest.approx(0.001, abs=1e-6)
    assert _of_picture(0.0, 0.3, wanted, found[found.scores > 0.8005]).iou < REDUCED.iou
