"""Categories: the names and numbers of a model's classes, from a file or COCO's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detserve.errors import BadSpec

MOST_CATEGORIES = 10_000
NO_NAME = "N/A"
"""What torchvision calls a column that no category has."""

_COCO = """
person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant _ stop_sign parking_meter
bench bird cat dog horse sheep cow elephant bear zebra giraffe _ backpack umbrella _ _ handbag tie suitcase frisbee
skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket bottle _ wine_glass
cup fork knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair couch
potted_plant bed _ dining_table _ _ toilet _ tv laptop mouse remote keyboard cell_phone microwave oven toaster sink
refrigerator _ book clock vase scissors teddy_bear hair_drier toothbrush
"""


@dataclass(frozen=True)
class Categories:
    """names and ids of the classes, in the order of the network's columns, the background's aside."""

    names: tuple[str, ...]
    ids: tuple[int, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.names) == len(self.ids) <= MOST_CATEGORIES:
            raise BadSpec(f"1 to {MOST_CATEGORIES} categories with an id each are needed, not {len(self.names)}")

    def settings(self) -> dict[str, Any]:
        """As fields of a spec."""
        return {"categories": self.names, "category_ids": self.ids}


def read(path: Path, gaps: bool) -> Categories:
    """The categories of a file, in any of the forms that such files have.

    Lines of text, a name each; JSON: a list of names, {"name": id}, {"id": "name"}, a list of {"id", "name"}, or that
    under "categories" as in COCO. gaps: where the file has ids, whether a network's column is the id, as torchvision
    has it, so that ids that no category has are columns too; else columns are the categories in the order of their ids.
    Without ids these are the columns, from 1 on with `gaps`, else from 0. Raises BadSpec for what is none of these.
    """
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSpec(f"{path}: no file of categories ({error})") from error
    try:
        document = json.loads(text)
    except ValueError:
        document = [line.strip() for line in text.splitlines() if line.strip() and not line.startswith("#")]
    if isinstance(document, Mapping) and "categories" in document:
        document = document["categories"]
    try:
        named = _pairs(document)
    except (KeyError, TypeError, ValueError):
        raise BadSpec(
            f"{path}: no categories: names, one a line, or JSON: a list of names, {{name: id}} or COCO's categories"
        ) from None
    if named is None:
        names = tuple(map(str, document))
        return Categories(names, tuple(range(int(gaps), int(gaps) + len(names))))
    if len(named) < 1 or min(named) < int(gaps) or max(named) > MOST_CATEGORIES:
        raise BadSpec(f"{path}: ids must lie between {int(gaps)} and {MOST_CATEGORIES}")
    ids = tuple(range(1, max(named) + 1)) if gaps else tuple(sorted(named))
    return Categories(tuple(named.get(i, NO_NAME) for i in ids), ids)


def coco(gaps: bool) -> Categories:
    """COCO's 80 categories, of ids 1 to 90; with the ten ids that none has, or without."""
    names = [NO_NAME if name == "_" else name.replace("_", " ") for name in _COCO.split()]
    pairs = [(name, i) for i, name in enumerate(names, 1) if gaps or name != NO_NAME]
    return Categories(tuple(name for name, _ in pairs), tuple(i for _, i in pairs))


def _pairs(document: Any) -> dict[int, str] | None:
    """Id → name; None for names alone."""
    if isinstance(document, Mapping):
        if all(isinstance(value, int) for value in document.values()):
            pairs = [(value, key) for key, value in document.items()]
        else:
            pairs = [(int(key), value) for key, value in document.items()]
    elif all(isinstance(each, str) for each in document):
        return None
    else:
        pairs = [(each["id"], each["name"]) for each in document]
    found = {}
    for number, name in pairs:
        if not isinstance(number, int) or not isinstance(name, str) or number in found:
            raise ValueError(name)
        found[number] = name
    return found
