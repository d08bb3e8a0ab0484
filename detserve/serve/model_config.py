"""ModelConfig: config/NAME.yaml, which says how one model is packed and how it is served."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from detserve.core.machine import cores
from detserve.errors import BadSpec
from detserve.options import OPTIONS

PACK_KEYS: Mapping[str, tuple[type, ...]] = {
    **dict.fromkeys(("model", "reader", "alphabet", "categories", "backend", "precision"), (str,)),
    **dict.fromkeys(("weights", "reader_weights", "sha256", "calibration"), (str, list)),
    "size": (int, str),
    "max_batch": (int,),
    # `on` and `off` are truth values to YAML.
    **{each.key: (str, bool) if each.choices else (int, float) for each in OPTIONS if each.packed},
}
"""The options of repack.py that the section `pack` may set, and the types of their values."""
_TOLD: Mapping[tuple[type, ...], str] = {
    (str,): "text",
    (str, list): "text or a list of texts",
    (int, str): "N or WxH",
    (int,): "a whole number",
    (str, bool): "a word",
    (int, float): "a number",
}


@dataclass(frozen=True, kw_only=True)
class Registration:
    """The section `serve`: how a model is registered.

    workers: processes, 0 for one per core; batch_size: the most pictures that a worker is given at once;
    max_batch_delay: the most milliseconds that the first picture of a batch waits for others. Raises BadSpec for
    anything but whole numbers in their range.

    With a delay of 0 a worker takes what is waiting, two pictures at most, whatever the batch size. That is the
    default: a picture never waits for others, and where several wait, two are handed over at once.
    """

    workers: int = 0
    batch_size: int = 2
    max_batch_delay: int = 0

    def __post_init__(self) -> None:
        for name, least in (("workers", 0), ("batch_size", 1), ("max_batch_delay", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < least:
                raise BadSpec(f"{name} must be a whole number of at least {least}, not {value!r}")

    @property
    def worker_count(self) -> int:
        """The number of workers, 0 resolved to the cores that this process may use."""
        return self.workers or cores()


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """One model's YAML. serve: how it is registered; pack: option of repack.py → value."""

    serve: Registration = Registration()
    pack: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def load(cls, folder: Path, name: str, usual: Registration | None = None) -> Self:
        """Read NAME.yaml of that folder; the defaults where there is none. Raises BadSpec for a faulty one.

        usual: how the model is served where the file leaves that open.
        """
        import yaml

        usual = usual or Registration()
        path = folder / f"{name}.yaml"
        if not path.is_file():
            return cls(serve=usual)
        try:
            sections = _section(yaml.safe_load(path.read_text("utf-8")), [f.name for f in fields(cls)])
            serve = _section(sections.get("serve"), [f.name for f in fields(Registration)])
            pack = _section(sections.get("pack"), PACK_KEYS)
            for key, value in pack.items():
                _check(key, value, PACK_KEYS[key])
            return cls(serve=replace(usual, **serve), pack=pack)
        except (BadSpec, yaml.YAMLError, OSError, UnicodeDecodeError) as error:
            raise BadSpec(f"{path.name}: {' '.join(str(error).split())}") from error


def _check(key: str, value: Any, kinds: tuple[type, ...]) -> None:
    """Raise BadSpec for a value of another type; a truth value is no number, and a list is one of texts."""
    texts = all(isinstance(each, str) for each in value) if isinstance(value, list) else True
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds) or not texts:
        raise BadSpec(f"{key} must be {_TOLD[kinds]}, not {value!r}")


def _section(section: Any, known: Collection[str]) -> dict[str, Any]:
    """A section as a dict, empty where it is absent. Raises BadSpec for unknown keys."""
    if section is None:
        return {}
    if not isinstance(section, dict):
        raise BadSpec(f"expected the keys {', '.join(known)}, not {section!r}")
    for key in section:
        if key not in known:
            close = difflib.get_close_matches(str(key), known, 1)
            raise BadSpec(
                f"unknown key {key!r}; " + (f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}")
            )
    return section
