"""Options: what one request may change. Each is declared once, in OPTIONS, and everything else follows from there.

That is: its header and multipart field, its range and the error for other values, its key in config/NAME.yaml, its flag
on the command lines with its help, and its row in the README's table.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self

from detserve.errors import InvalidOption


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option of a request: a number from `low` to `high`, or one of `choices`, the first of which is the default.

    name: of the multipart field, and of the attribute of `Options`; means: what it is, for help texts and the README;
    whole: whether the number has no fraction; setting: the field of a model's spec that holds its default, None where
    the default is a constant; packed: whether an archive can have a default of its own.
    """

    name: str
    means: str
    low: float = 0
    high: float = 1
    whole: bool = False
    choices: tuple[str, ...] = ()
    setting: str | None = None
    packed: bool = False

    @property
    def header(self) -> str:
        """`conf_threshold` → `X-Conf-Threshold`."""
        return f"X-{self.name.replace('_', '-').title()}".replace("Iou", "IoU")

    @property
    def key(self) -> str:
        """Its name in the section `pack` of config/NAME.yaml, and in its flag."""
        return self.setting if self.packed and self.setting else self.name

    @property
    def flag(self) -> str:
        """`--conf`, `--max-detections`."""
        return f"--{self.key.replace('_', '-')}"

    @property
    def range(self) -> str:
        """`0–1`, or `on, off`."""
        return ", ".join(self.choices) or f"{self.low}–{self.high}"

    def argument(self, prefix: str = "") -> dict[str, Any]:
        """The arguments of argparse's `add_argument` for it, without the flag. prefix: put before its help text."""
        text = prefix + self.means.replace("`", "")
        if self.choices:
            return {"choices": self.choices, "help": text}
        kind = int if self.whole else float
        return {"type": kind, "metavar": "N" if self.whole else "P", "help": f"{text}, {self.low} to {self.high}"}

    def parse(self, value: Any) -> Any:
        """The value of a header or a field, text or bytes. Raises InvalidOption for text that is no such number."""
        text = value.decode("utf-8", "replace") if isinstance(value, bytes | bytearray) else str(value)
        text = text.strip()[:40]  # so that it fits a message
        if self.choices:
            return text.lower()
        try:
            number = float(text)
        except ValueError:
            number = math.nan
        if not math.isfinite(number):
            raise InvalidOption(f"{self.name} must be a number, not {text!r}")
        if self.whole and number != int(number):
            raise InvalidOption(f"{self.name} must be a whole number, not {number}")
        return int(number) if self.whole else number

    def check(self, value: Any) -> None:
        """Raise InvalidOption when a value is out of range or not one of the choices."""
        if self.choices and value not in self.choices:
            raise InvalidOption(f"{self.name} must be {' or '.join(self.choices)}, not {value!r}")
        if not self.choices and not self.low <= value <= self.high:
            raise InvalidOption(f"{self.name} must lie between {self.low} and {self.high}, not {value}")


OPTIONS = (
    Option(name="conf_threshold", means="least confidence", setting="conf", packed=True),
    Option(
        name="iou_threshold",
        means="overlap above which the weaker of two boxes goes",
        setting="iou",
        packed=True,
    ),
    Option(
        name="max_detections",
        means="at most so many, the best; ocr1: so many lines, also where words are asked for",
        low=1,
        high=10_000,
        whole=True,
        setting="max_detections",
    ),
    Option(name="min_size", means="least shorter side of a box, in ratios of the picture's shorter side"),
    Option(
        name="detect",
        means="ocr1: `off` takes the whole picture for one line of text",
        choices=("on", "off"),
        packed=True,
    ),
    Option(
        name="split",
        means="ocr1: an object and a quad for each line, word or character",
        choices=("lines", "words", "characters"),
        packed=True,
    ),
    Option(
        name="rotate",
        means="ocr1: `auto` finds out whether the page lies on a side or on its head",
        choices=("off", "auto"),
        packed=True,
    ),
    Option(
        name="masks",
        means="md1: masks as COCO's `rle`, as `polygon` in ratios, or `none`, which is faster",
        choices=("rle", "polygon", "none"),
        packed=True,
    ),
    Option(
        name="maps",
        means="for debugging: an object of `detections` and `maps`, the score maps as PNG in base64",
        choices=("off", "on"),
    ),
)


class Thresholds(Protocol):
    """The part of a model's spec that holds the defaults of a request."""

    @property
    def conf(self) -> float:
        """Least confidence."""

    @property
    def iou(self) -> float:
        """Overlap above which NMS drops the weaker box."""

    @property
    def max_detections(self) -> int:
        """The most detections of a picture."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """The options of one request, by the names of OPTIONS. Raises InvalidOption when a value is out of range."""

    conf_threshold: float
    iou_threshold: float
    max_detections: int
    min_size: float = 0.0
    detect: str = "on"
    split: str = "lines"
    rotate: str = "off"
    masks: str = "rle"
    maps: str = "off"

    def __post_init__(self) -> None:
        for option in OPTIONS:
            option.check(getattr(self, option.name))

    @classmethod
    def parse(cls, given: Mapping[str, Any], spec: Thresholds, defaults: Mapping[str, str] | None = None) -> Self:
        """The options among a request's headers and fields. Those that it lacks are as `defaults` or the spec say.

        `X-Conf-Threshold` and `conf_threshold` are the same option, and so on. The case of names does not matter, and
        other fields are ignored. Raises InvalidOption for a value that is no number, no choice, or out of range.
        """
        named = dict(defaults or {}) | {
            key.lower().removeprefix("x-").replace("-", "_"): value for key, value in given.items()
        }
        values = {option.name: getattr(spec, option.setting) for option in OPTIONS if option.setting}
        values |= {option.name: option.parse(named[option.name]) for option in OPTIONS if option.name in named}
        return cls(**values)


assert [option.name for option in OPTIONS] == [field.name for field in fields(Options)], "each option has its attribute"
