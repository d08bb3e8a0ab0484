"""Results: an answer as a line of JSON, or as files."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from detserve.client import draft
from detserve.client.answer import Answer
from detserve.client.faces.wanted import Wanted


def line(picture: Path, answer: Answer) -> str:
    """One line of JSON: the picture's path and its detections."""
    return json.dumps({"picture": str(picture), "answer": answer.detections}, ensure_ascii=False)


@dataclass(frozen=True)
class Folder:
    """An existing folder to write results to.

    json, drawn: whether to write NAME.json and NAME.drawn.jpg; wanted: what to make of faces; ask: the answer to a
    picture's bytes, for what is covered.
    """

    path: Path
    json: bool
    drawn: bool
    wanted: Wanted
    ask: Callable[[bytes], Answer]

    def write(self, name: str, data: bytes, answer: Answer) -> None:
        """Write NAME.json, NAME.drawn.jpg, for each map of the answer NAME.map-MAP.jpg, and what is made of faces.

        data: the picture's bytes. Each file is there whole, or as it was. Raises OSError when one cannot be written, or
        the picture is too large for a JPEG; RequestError when the picture cannot be decoded here; FaceError where faces
        cannot be aligned or covered.
        """
        if self.json:
            # One detection on each line, easy to read, compare and search.
            rows = ",\n".join(json.dumps(each, ensure_ascii=False) for each in answer.detections)
            draft.write(self.path / f"{name}.json", (f"[\n{rows}\n]\n" if rows else "[]\n").encode())
        if self.wanted.anything:
            from detserve.client.faces.pictures import Faces

            Faces(self.path, self.wanted, self.ask).write(name, data, answer.detections)
        if not (self.drawn or answer.maps):
            return
        from detserve.client import drawing
        from detserve.pictures.decode import decode

        rgb = decode(data).rgb
        if self.drawn:
            drawing.save(drawing.draw(rgb, answer.detections), self.path / f"{name}.drawn.jpg")
        for map_name, png in answer.maps.items():
            drawing.save(drawing.heat(rgb, decode(png).rgb[..., 0]), self.path / f"{name}.map-{map_name}.jpg")


def names(pictures: Sequence[Path]) -> list[str]:
    """A name for each picture's results: its own without the suffix, and a number where two would be the same."""
    taken: set[str] = set()
    chosen = []
    for picture in pictures:
        name, number = picture.stem, 1
        while name.casefold() in taken:  # some file systems take a and A for the same
            number += 1
            name = f"{picture.stem}-{number}"
        taken.add(name.casefold())
        chosen.append(name)
    return chosen
