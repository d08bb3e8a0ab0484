"""Found: what an answer says, typed: faces, texts or objects in pixels of the upright picture, or in its ratios."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar, overload

from detserve.client import coco
from detserve.client.answer import Answer, failure
from detserve.client.shapes import Box, Face, Landmarks, Mask, Object, Point, Text

if TYPE_CHECKING:
    import supervision

T = TypeVar("T", Face, Text, Object)
Scale = tuple[float, float]
"""(width, height) that ratios are multiplied by; of a picture, or (1, 1)."""


@dataclass(frozen=True)
class Found(Sequence[T], Generic[T]):
    """What was found in one picture, a sequence in the server's order, in pixels of the upright picture.

    kind: Face, Text or Object; ratios: the same in ratios of the picture; size: its (width, height); answer: the
    server's own words, with the model's name and the time of each stage.
    """

    kind: type[T] = field(repr=False)
    items: tuple[T, ...]
    ratios: tuple[T, ...] = field(repr=False)
    size: tuple[int, int]
    answer: Answer = field(repr=False)

    @overload
    def __getitem__(self, index: int) -> T: ...
    @overload
    def __getitem__(self, index: slice) -> tuple[T, ...]: ...
    def __getitem__(self, index: int | slice) -> T | tuple[T, ...]:
        return self.items[index]

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[T]:
        return iter(self.items)

    @property
    def model(self) -> str:
        """The model that answered, "fd1/1.0" for instance."""
        return self.answer.model

    @property
    def timings(self) -> Mapping[str, float]:
        """Milliseconds of each stage in the server: decode, infer, post."""
        return self.answer.timings

    def to_coco(self, image_id: int = 1) -> list[dict[str, Any]]:
        """COCO's results: image_id, category_id, bbox in pixels, score, and the segmentation of objects."""
        return coco.entries(image_id, self.size, self.answer.detections)

    def to_supervision(self) -> supervision.Detections:
        """supervision.Detections: boxes in pixels; class names, landmarks, quads and texts in `data`.

        Raises ImportError where the package supervision is not installed.
        """
        from detserve.client.supervised import detections

        return detections(self.kind, self.items)


def faces(answer: Answer, size: tuple[int, int]) -> Found[Face]:
    """The faces in an answer to a picture of that (width, height)."""

    def face(found: Mapping[str, Any], scale: Scale) -> Face:
        if found.keys() & {"quad_ratio", "label"}:
            raise KeyError("landmarks_ratio")
        marks = found.get("landmarks_ratio")
        return Face(_box(found, scale), found["conf"], Landmarks(*_points(marks, scale)) if marks else None)

    return _found(Face, face, answer, size)


def texts(answer: Answer, size: tuple[int, int]) -> Found[Text]:
    """The text regions in an answer, with what they say where the model reads."""

    def text(found: Mapping[str, Any], scale: Scale) -> Text:
        box, polygon = _box(found, scale), found.get("polygon_ratio")
        return Text(
            box,
            found["conf"],
            _points(found["quad_ratio"], scale),
            _points(polygon, scale) if polygon else None,
            found.get("text"),
            found.get("text_conf"),
        )

    return _found(Text, text, answer, size)


def objects(answer: Answer, size: tuple[int, int]) -> Found[Object]:
    """The objects in an answer."""

    def thing(found: Mapping[str, Any], scale: Scale) -> Object:
        mask = Mask(size, found) if found.keys() & {"mask_rle", "polygons_ratio"} else None
        return Object(_box(found, scale), found["conf"], found["label"], found["label_id"], mask)

    return _found(Object, thing, answer, size)


def _found(
    kind: type[T], make: Callable[[Mapping[str, Any], Scale], T], answer: Answer, size: tuple[int, int]
) -> Found[T]:
    """Raises Failure where the model answers with something else."""
    try:
        pixels, ratios = (tuple(make(each, scale) for each in answer.detections) for scale in (size, (1, 1)))
    except KeyError as error:
        model = answer.model or "the model"
        raise failure("200", f"{model} answers without {error.args[0]!r}: it finds something else") from None
    return Found(kind, pixels, ratios, size, answer)


def _box(found: Mapping[str, Any], scale: Scale) -> Box:
    cx, cy, w, h = found["xywh_ratio"]
    x, y = scale
    return Box((cx - w / 2) * x, (cy - h / 2) * y, (cx + w / 2) * x, (cy + h / 2) * y)


def _points(ratios: Sequence[float], scale: Scale) -> tuple[Point, ...]:
    return tuple(Point(x * scale[0], y * scale[1]) for x, y in zip(ratios[::2], ratios[1::2], strict=True))
