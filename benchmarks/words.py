"""Words: labelled pictures of words, in ICDAR's form and in a labels.json."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

IGNORED = "###"
"""What ICDAR writes for a word that nobody needs to find."""
SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".PNG")
_CROP = re.compile(r'\s*([^,]+?)\s*,\s*"(.*)"\s*')
"""A line of ICDAR's task 3: word_1.png, "Genaxis"."""


class BadLabels(ValueError):
    """A folder of labels that cannot be read; the message names the file and the line."""


@dataclass(frozen=True)
class Word:
    """A word of a picture. quad: float64 [4, 2] in pixels, clockwise; ignored: whether nobody needs to find it."""

    quad: NDArray[np.float64]
    text: str
    ignored: bool = False


@dataclass(frozen=True)
class Labelled:
    """Pictures with their words, and crops, pictures of one word, with what they say."""

    pictures: dict[Path, list[Word]]
    crops: dict[Path, str]


def load(folder: Path) -> Labelled:
    """The labels of a folder, at any depth: `labels.json`, or ICDAR's `gt_NAME.txt` beside or apart from NAME.jpg, and
    its `gt.txt` of crops. No two pictures have the same name.

    labels.json: {"pictures": {name: [{"quad": [[x, y] x 4], "text", "ignore"}]}, "words": {name: text}}. gt_NAME.txt: a
    word a line, eight numbers and the word, which may hold commas; `###` is ignored. Raises BadLabels.
    """
    json_file = folder / "labels.json"
    if json_file.is_file():
        return _of_json(json_file)
    names = _by_name(path for path in sorted(folder.rglob("*")) if path.suffix in SUFFIXES)
    pictures: dict[Path, list[Word]] = {}
    crops: dict[Path, str] = {}
    for file in sorted(folder.rglob("gt*.txt"), key=lambda path: (len(path.name), path.name)):
        if file.stem.startswith("gt_"):
            name = next((file.stem[3:] + suffix for suffix in SUFFIXES if file.stem[3:] + suffix in names), None)
            if name is None:
                raise BadLabels(f"{file}: there is no picture {file.stem[3:]}.jpg or .png in {folder}")
            if names[name] in pictures:
                raise BadLabels(f"{file}: {name} has words of another gt_NAME.txt already; give a folder of one set")
            pictures[names[name]] = list(icdar_words(file))
        elif file.stem == "gt":
            crops |= {names[name]: text for name, text in _crops(file) if name in names}
    if not pictures and not crops:
        raise BadLabels(f"{folder} has neither labels.json nor gt_NAME.txt; give a folder of labelled pictures")
    return Labelled(pictures, crops)


def _of_json(file: Path) -> Labelled:
    try:
        labels = json.loads(file.read_text("utf-8"))
        pictures = {file.parent / k: [_word(each) for each in words] for k, words in labels.get("pictures", {}).items()}
        crops = {file.parent / name: str(text) for name, text in labels.get("words", {}).items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        wanted = '{"pictures": {NAME: [{"quad", "text", "ignore"}]}, "words": {NAME: TEXT}} is wanted'
        raise BadLabels(f"{file}: {wanted} ({type(error).__name__}: {error})") from error
    if not pictures and not crops:
        raise BadLabels(f'{file} has neither "pictures" nor "words"')
    if missing := [path for path in [*pictures, *crops] if not path.is_file()]:
        raise BadLabels(f"{file}: there is no {missing[0]}")
    _by_name([*pictures, *crops])
    return Labelled(pictures, crops)


def _by_name(paths: Iterable[Path]) -> dict[str, Path]:
    """Pictures by their names alone, as ICDAR's lists name them. Raises BadLabels where two have one name."""
    names: dict[str, Path] = {}
    for path in paths:
        if path.name in names:
            raise BadLabels(f"{names[path.name]} and {path} have one name; give a folder of one set")
        names[path.name] = path
    return names


def icdar_words(file: Path) -> Iterator[Word]:
    """The words of a gt_NAME.txt. Raises BadLabels for a line of another form."""
    for number, line in enumerate(_rows(file), 1):
        if not line.strip():
            continue
        parts = line.split(",", 8)
        try:
            quad = np.array([float(part) for part in parts[:8]]).reshape(4, 2)
            text = parts[8].strip()
        except (ValueError, IndexError):
            raise BadLabels(f"{file}:{number}: eight numbers and a word are wanted, not {line[:80]!r}") from None
        yield Word(_clockwise(quad), text, text == IGNORED)


def _rows(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise BadLabels(f"{file} is not UTF-8; `iconv -f latin1 -t utf-8` may make it so") from error


def _word(entry: dict[str, Any]) -> Word:
    return Word(_clockwise(np.array(entry["quad"], np.float64)), entry["text"], entry["ignore"])


def _crops(file: Path) -> Iterator[tuple[str, str]]:
    for number, line in enumerate(_rows(file), 1):
        match = _CROP.fullmatch(line)
        if line.strip() and not match:
            raise BadLabels(f'{file}:{number}: NAME, "WORD" is wanted, not {line[:80]!r}')
        if match:
            yield match[1], match[2]


def _clockwise(quad: NDArray[np.float64]) -> NDArray[np.float64]:
    """The same corners clockwise (y down): some lists have one the other way round."""
    x, y = quad.T
    area = float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum())
    return quad if area >= 0 else quad[::-1]
