"""Make the picture that the page starts with, and other servers warm up on.

It has the four portraits of docs/faces.jpg, with names and a sign to read::

    .venv/bin/python -m docs.draw_sample
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import PIL.Image
import PIL.ImageDraw
import PIL.ImageFont

from docs.draw_faces import PEOPLE, draw_people

DETSERVE = Path(__file__).parents[1] / "detserve"
PICTURE = DETSERVE / "demo" / "static" / "sample.jpg"
# Once more, for images hold no demo and a demo needs no packer.
WARM_UP = DETSERVE / "pack" / "exits" / "drawn.jpg"
NAMES = ("ANNA", "KOFI", "LENA", "OMAR")
SIGN = "Gate 14   Platform 3   09:30"
QUALITY = 55


def draw_sample() -> PIL.Image.Image:
    """The whole picture, 960x540 RGB."""
    picture = PIL.Image.fromarray(draw_people())
    pen = PIL.ImageDraw.Draw(picture)
    write(pen, SIGN, (480, 42), 30, "white", (32, 44, 60))
    for (x, y, size, *_), name in zip(PEOPLE, NAMES, strict=True):
        write(pen, name, (x, round(y + 1.78 * size)), round(size / 3.4), (30, 34, 40), (245, 245, 240))
    return picture


def write(
    pen: PIL.ImageDraw.ImageDraw,
    text: str,
    centre: tuple[int, int],
    size: int,
    ink: str | tuple[int, int, int],
    ground: tuple[int, int, int],
) -> None:
    """Letters of that height in pixels on a plate of their own."""
    font = PIL.ImageFont.load_default(size)
    half = np.array([pen.textlength(text, font) / 2 + size * 0.7, size * 0.85])
    corners = [tuple(np.array(centre) - half), tuple(np.array(centre) + half)]
    pen.rounded_rectangle(corners, size * 0.25, ground)
    pen.text(centre, text, ink, font, anchor="mm")


def main() -> None:
    """Draw, write."""
    for path in (PICTURE, WARM_UP):
        draw_sample().save(path, "JPEG", quality=QUALITY, optimize=True)
    print(f"{PICTURE.name}: {PICTURE.stat().st_size / 1000:.1f} kB")


if __name__ == "__main__":
    main()
