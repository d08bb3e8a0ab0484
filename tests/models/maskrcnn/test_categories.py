"""Files of categories in their several forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from detserve.errors import BadSpec
from detserve.models.maskrcnn.categories import coco, read


@pytest.mark.parametrize(
    ("text", "gaps", "names", "ids"),
    [
        ("cat\n\n# pets\n  # and more\n dog\n", False, ("cat", "dog"), (0, 1)),
        ("cat\ndog\n", True, ("cat", "dog"), (1, 2)),
        ('["cat", "dog"]', False, ("cat", "dog"), (0, 1)),
        ('{"dog": 1, "cat": 0}', False, ("cat", "dog"), (0, 1)),
        ('{"3": "dog", "1": "cat"}', True, ("cat", "N/A", "dog"), (1, 2, 3)),
        ('{"3": "dog", "1": "cat"}', False, ("cat", "dog"), (1, 3)),
        ('[{"id": 7, "name": "dog"}, {"id": 2, "name": "cat"}]', False, ("cat", "dog"), (2, 7)),
        ('{"categories": [{"id": 1, "name": "cat", "supercategory": "pet"}]}', True, ("cat",), (1,)),
    ],
)
def test_each_form_is_read(tmp_path: Path, text: str, gaps: bool, names: tuple[str, ...], ids: tuple[int, ...]) -> None:
    path = tmp_path / "categories"
    path.write_text(text)
    found = read(path, gaps)
    assert (found.names, found.ids) == (names, ids)


@pytest.mark.parametrize(
    "document",
    [3, [], {}, [3], [{"id": "a", "name": "b"}], {"a": "b"}, [{"id": 1, "name": "a"}, {"id": 1, "name": "b"}]]
    + [{"20000": "a"}, {"-1": "a"}],
)
def test_what_is_none_is_refused(tmp_path: Path, document: Any) -> None:
    path = tmp_path / "categories.json"
    path.write_text(json.dumps(document))
    with pytest.raises(BadSpec, match=r"categories|ids"):
        read(path, False)


def test_cocos_categories_are_those_of_its_columns() -> None:
    assert len(coco(gaps=True).names) == 90
    assert len(coco(gaps=False).names) == 80
    for known in (coco(gaps=True), coco(gaps=False)):
        named = dict(zip(known.ids, known.names, strict=True))
        assert [named[i] for i in (1, 13, 44, 90)] == ["person", "stop sign", "bottle", "toothbrush"]
