"""ObjectParity: whether the engines of a model of several networks find the objects that its networks find."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detserve.core.detections import Detections, Pixels
from detserve.core.geometry import iou
from detserve.core.masks import Masks
from detserve.engines.parts import PartedEngines, PartedSource
from detserve.models.parts import PartedSpec, Wish
from detserve.pack.matching import Figures, reject
from detserve.pictures.decode import decode

SURE = (0.3, 0.05, 0.0)
"""Least confidence of what is compared: the first at which the network finds enough of it."""
LEAST_COMPARED, MOST_COMPARED = 5, 50
SLACK = 0.1
"""How much less sure the other side may be, relatively: what falls just below the threshold is found all the same."""
SAME_IOU = 0.5
"""IoU from which on two boxes of a class are taken for the same object."""
FEW_PIXELS = 2
"""So many pixels of a mask may differ whatever its size."""


@dataclass(frozen=True)
class Bounds:
    """How far engines may be off, see `ObjectParity`; share: of objects that may be without a counterpart; unsure: a
    pixel whose probability is nearer to a half than this counts for no mask: it may fall on either side."""

    share: float
    box: float
    conf: float
    mask: float
    unsure: float


EXACT = Bounds(share=0, box=0.05, conf=1e-3, mask=0.995, unsure=0)
REDUCED = Bounds(share=0.15, box=8.0, conf=0.1, mask=0.8, unsure=0.3)
"""For engines that compute in 16 bits. Proposals are ranked: a last digit may put one box in the place of another. Not
measured on trained weights, of which there are none here; made-up ones, whose masks are noise, do not pass."""


@dataclass(frozen=True)
class ObjectParity(Figures):
    """Engines against the networks in eager fp32, on a real picture and its mirror image.

    objects: how many the networks find; unmatched: of either side that the other lacks. Of pairs of the same object and
    class the worst in fp32, the mean in 16 bits: box: pixels of the input by which a corner is off; conf: difference of
    the confidences; mask: IoU of the masks.
    """

    objects: int
    unmatched: int
    box: float
    conf: float
    mask: float

    def check(self, bounds: Bounds) -> None:
        """Raise EngineRejected when a figure is out of bounds, naming it."""
        faults = []
        if self.unmatched > bounds.share * self.objects:
            faults.append(f"{self.unmatched} objects of {self.objects} have no counterpart")
        if not self.box <= bounds.box:
            faults.append(f"a box is {self.box:.2g} px off (allowed {bounds.box:g})")
        if not self.conf <= bounds.conf:
            faults.append(f"a confidence differs by {self.conf:.2g} (allowed {bounds.conf:g})")
        if not self.mask >= bounds.mask:
            faults.append(f"masks overlap by IoU {self.mask:.3f} only (wanted {bounds.mask:g})")
        reject(faults, "--precision fp32 or another --backend")


def measure(source: PartedSource, engines: PartedEngines, picture: bytes, bounds: Bounds) -> ObjectParity:
    """The figures on that picture, to be checked by these bounds."""
    exact = bounds is EXACT
    spec = source.spec
    rows, objects, unmatched = [np.zeros((0, 3))], 0, 0
    for canvas in canvases(spec, picture):
        for sure in SURE:
            wanted = spec.detect(source.run, canvas, Wish(conf=sure, iou=spec.iou, most=MOST_COMPARED))
            if len(wanted) >= LEAST_COMPARED:
                break
        loose = Wish(conf=sure * (1 - SLACK), iou=spec.iou, most=2 * MOST_COMPARED)
        found = spec.detect(engines.run, canvas, loose)
        pairs = match(wanted, found, canvas, bounds.unsure)
        rows.append(pairs)
        objects += len(wanted)
        unmatched += len(wanted) - len(pairs)
        # The other way round, of as many as the networks were asked for.
        surer = found[found.scores > sure * (1 + SLACK)][:MOST_COMPARED]
        floor = wanted.scores.min() * (1 + SLACK) if len(wanted) == MOST_COMPARED else 0.0
        surer = surer[surer.scores > floor]
        unmatched += len(surer) - len(match(surer, spec.detect(source.run, canvas, loose), canvas, bounds.unsure))
    of_all = np.concatenate(rows)
    if not len(of_all):
        return ObjectParity(objects, unmatched, 0.0, 0.0, 1.0)
    box, conf, mask = of_all.T
    figures = (box.max(), conf.max(), mask.min()) if exact else (box.mean(), conf.mean(), mask.mean())
    return ObjectParity(objects, unmatched, *map(float, figures))


def canvases(spec: PartedSpec, picture: bytes) -> list[Pixels]:
    """The picture and its mirror image as the model takes them, its greys being the depth where it wants any."""
    image = decode(picture)
    found = []
    for rgb in (image.rgb, np.ascontiguousarray(image.rgb[:, ::-1])):
        depth = rgb.mean(axis=2) / 255 * 2 / getattr(spec, "depth_scale", 1.0) if spec.has_depth else None
        letterbox = spec.letterbox(image.size)
        canvas = np.empty((letterbox.canvas[1], letterbox.canvas[0], spec.channels_of_canvas), np.uint8)
        spec.draw(spec.planes(rgb, depth), letterbox, canvas)
        found.append(canvas)
    return found


def match(mine: Detections, others: Detections, canvas: Pixels, unsure: float) -> np.ndarray:
    """For each object of one side that the other has: [k, 3], how far the box, the confidence and the mask agree."""
    size = canvas.shape[1], canvas.shape[0]
    rows = []
    for i in range(len(mine)):
        alike = np.flatnonzero(others.label_ids == mine.label_ids[i]) if mine.label_ids is not None else np.arange(0)
        if not len(alike):
            continue
        overlaps = iou(mine.boxes[i][None], others.boxes[alike])[0]
        k = int(alike[overlaps.argmax()])
        if overlaps.max() < SAME_IOU:
            continue
        box = np.abs(mine.boxes[i] - others.boxes[k]).max()
        rows.append(
            (box, abs(mine.scores[i] - others.scores[k]), _mask_iou(mine.masks, i, others.masks, k, size, unsure))
        )
    return np.array(rows, np.float64).reshape(-1, 3)


def _mask_iou(mine: Masks | None, i: int, others: Masks | None, k: int, size: tuple[int, int], unsure: float) -> float:
    """IoU of two masks over the pixels of which the first is sure."""
    if mine is None or others is None:
        return 1.0
    one, other = mine.pixels(i, size), others.pixels(k, size)
    if unsure:
        soft = mine.soft(i, size)
        height, width = soft.values.shape
        sure = np.ones_like(one)
        sure[soft.top : soft.top + height, soft.left : soft.left + width] = np.abs(soft.values - 0.5) >= unsure
        one, other = one & sure, other & sure
    different = int((one != other).sum())
    return 1.0 if different <= FEW_PIXELS else 1 - different / int((one | other).sum())
