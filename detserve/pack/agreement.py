"""Agreement: what an engine finds on many pictures, compared with what its network finds. The gate of engines in int8.

Parity wants near equality on one photograph. An engine in int8 is a little off everywhere, and only many pictures tell
that from a broken one.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np

from detserve.core.detections import Detections, Floats
from detserve.engines.base import Engine
from detserve.engines.calibration import Calibration
from detserve.engines.sources.base import Source
from detserve.errors import EngineRejected
from detserve.models.spec import DetectorSpec
from detserve.pack.matching import CONF, detect, is_matched, match, reject

SAME_IOU = {"face": 0.8, "text": 0.5}
"""The least IoU of two boxes that are the same detection, by task. A line of text is a few pixels high, and its box is
drawn around pixels above a threshold: a single row of pixels may change half of it, in 16 bits too."""
SLACK = 0.2
"""How much less sure the other side may be: a detection just below the threshold still counts as found."""
MIN_DETECTIONS = 10
"""With fewer detections, one more or less says nothing about an engine."""

MIN_SHARE = {"face": 0.95, "text": 0.85}
"""The least recall and precision, by task. An engine in int8 keeps faces. It keeps true text, but not always what the
network only half takes for text, coins and cells for instance: 0.87 on pictures that are full of those. Engines
calibrated on pictures that are too dark, or of noise, came to 0.19 to 0.57."""
MIN_IOU, MAX_CONF, MAX_POINTS = 0.85, 0.1, 0.05
"""The other bounds, about twice as far off as well calibrated engines, which came to an IoU of 0.91 to 0.97, conf of
0.01 to 0.06 and points of 0.01 to 0.02."""


@dataclass(frozen=True)
class Agreement:
    """An engine against its network in fp32, over some pictures.

    pictures: how many; detections: how many the network finds on them, at least as sure as the model's `conf`; recall:
    the share of these that the engine finds; precision: the share of the engine's detections that the network finds.
    The others are means over the pairs of a detection: iou: their overlap; conf: the difference of their confidences;
    points: the largest distance between their keypoints, relative to the box's diagonal.
    """

    pictures: int
    detections: int
    recall: float
    precision: float
    iou: float
    conf: float
    points: float

    def to_dict(self) -> Mapping[str, Any]:
        """The figures as they are stored in an archive, rounded so that they read well."""
        return {key: round(value, 4) if isinstance(value, float) else value for key, value in asdict(self).items()}

    def check(self, task: str) -> None:
        """Raise EngineRejected when a figure is out of bounds, naming it, or when there are too few detections."""
        if self.detections < MIN_DETECTIONS:
            raise EngineRejected(
                f"the network finds {self.detections} detection(s) on the {self.pictures} pictures of --calibration, "
                f"too few to check an int8 engine by: {MIN_DETECTIONS} are needed; give pictures of what will be served"
            )
        faults = []
        share = min(MIN_SHARE[task], 1 - 1 / self.detections)  # one may always differ
        if not self.recall >= share:
            faults.append(f"it finds {self.recall:.0%} of the network's detections (wanted {share:.0%})")
        if not self.precision >= share:
            faults.append(f"the network finds {self.precision:.0%} of its detections (wanted {share:.0%})")
        if not self.iou >= MIN_IOU:
            faults.append(f"boxes overlap by IoU {self.iou:.2f} on average (wanted {MIN_IOU})")
        if not self.conf <= MAX_CONF:
            faults.append(f"confidences differ by {self.conf:.2f} on average (allowed {MAX_CONF})")
        if not self.points <= MAX_POINTS:
            faults.append(f"keypoints lie {self.points:.2f} of their box off on average (allowed {MAX_POINTS})")
        reject(faults, "more pictures for --calibration, or --precision auto")


def measure(source: Source, engines: Mapping[str, Engine], calibration: Calibration) -> dict[str, Agreement]:
    """Run the network and the engines on every picture → name → the figures of that engine."""
    spec = source.spec
    assert isinstance(spec, DetectorSpec), f"{spec.name} does not detect"
    sure = max(spec.conf, CONF)
    pairs: dict[str, list[tuple[Detections, Detections]]] = {name: [] for name in engines}
    for picture in calibration.pictures:
        canvas = calibration.canvas(picture, spec)
        (wanted,) = detect(spec, source.reference(canvas), 1, sure - SLACK)
        for name, engine in engines.items():
            (found,) = detect(spec, engine(canvas), 1, sure - SLACK)
            pairs[name].append((wanted, found))
    return {name: _compare(both, sure, SAME_IOU[spec.task]) for name, both in pairs.items()}


def table(figures: Mapping[str, Agreement]) -> str:
    """The figures of several engines on the same pictures, one line for each engine."""
    first = next(iter(figures.values()))
    counts, *names = [field.name for field in fields(Agreement)][1:]
    rows = [[name, *(f"{getattr(each, key):.4f}" for key in names)] for name, each in figures.items()]
    return "\n".join(
        [f"  {first.detections} {counts} of the network on {first.pictures} pictures:"]
        + ["  " + "".join(f"{cell:>11}" for cell in row) for row in [["", *names], *rows]]
    )


def _compare(pictures: list[tuple[Detections, Detections]], sure: float, same_iou: float) -> Agreement:
    """(network's, engine's) detections of each picture → the figures."""
    matched = [match(wanted, found, sure, same_iou) for wanted, found in pictures]
    back = [match(found, wanted, sure, same_iou) for wanted, found in pictures]
    rows = np.concatenate(matched)
    rows = rows[is_matched(rows)]
    means = [float(value) for value in rows.mean(axis=0)] if len(rows) else [0.0, 0.0, 0.0]
    return Agreement(len(pictures), sum(map(len, matched)), _share(matched), _share(back), *means)


def _share(matched: list[Floats]) -> float:
    rows = np.concatenate(matched)
    return float(is_matched(rows).mean()) if len(rows) else 0.0
