"""Options: what one request may change, from its headers or multipart fields."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from detserve.errors import InvalidOption
from detserve.models.spec import ModelSpec

MAX_DETECTIONS = 10_000


@dataclass(frozen=True, kw_only=True)
class Options:
    """The thresholds of one request.

    conf: least confidence, 0 to 1; iou: overlap above which NMS drops the weaker box, 0 to 1; max_detections: at
    most so many are answered, the best ones; min_size: least length of a box's shorter side, as a ratio of the
    picture's shorter side; detect: find text first, else the whole picture is one line of it; split_words: one
    detection a word and not a line; maps: answer the score maps too. Raises InvalidOption when a value is out of range.
    """

    conf: float
    iou: float
    max_detections: int
    min_size: float = 0.0
    detect: bool = True
    split_words: bool = False
    maps: bool = False

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("conf_threshold", self.conf, 0, 1),
            ("iou_threshold", self.iou, 0, 1),
            ("max_detections", self.max_detections, 1, MAX_DETECTIONS),
            ("min_size", self.min_size, 0, 1),
        ):
            if not low <= value <= high:
                raise InvalidOption(f"{name} must lie between {low} and {high}, not {value}")

    @classmethod
    def parse(cls, fields: Mapping[str, Any], spec: ModelSpec, defaults: Mapping[str, str] | None = None) -> Self:
        """The options among a request's headers and fields; what it does not name is as `defaults` or the spec say.

        `X-Conf-Threshold` and `conf_threshold` are the same option, and so on; names are matched in any case and
        other fields are passed over. Raises InvalidOption for a value that is no number or out of range.
        """
        given = dict(defaults or {}) | {
            key.lower().removeprefix("x-").replace("-", "_"): value for key, value in fields.items()
        }
        return cls(
            conf=_number(given, "conf_threshold", spec.conf),
            iou=_number(given, "iou_threshold", spec.iou),
            max_detections=_whole(given, "max_detections", spec.max_detections),
            min_size=_number(given, "min_size", 0.0),
            detect=_choice(given, "detect", ("on", "off")) == "on",
            split_words=_choice(given, "split", ("lines", "words")) == "words",
            maps=_choice(given, "maps", ("off", "on")) == "on",
        )


def _number(given: Mapping[str, Any], name: str, default: float) -> float:
    if name not in given:
        return default
    text = _text(given[name])
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InvalidOption(f"{name} must be a number, not {text!r}")
    return value


def _whole(given: Mapping[str, Any], name: str, default: int) -> int:
    value = _number(given, name, default)
    if value != int(value):
        raise InvalidOption(f"{name} must be a whole number, not {value}")
    return int(value)


def _choice(given: Mapping[str, Any], name: str, choices: tuple[str, ...]) -> str:
    """One of a few words; the first of them where nothing is given."""
    text = _text(given.get(name, choices[0])).lower()
    if text not in choices:
        raise InvalidOption(f"{name} must be {' or '.join(choices)}, not {text!r}")
    return text


def _text(value: Any) -> str:
    """The text of a header or of a multipart field, which may arrive as bytes; cut so that it fits a message."""
    text = value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
    return text.strip()[:40]
