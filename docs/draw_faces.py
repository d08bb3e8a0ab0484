"""Make docs/faces.jpg: draw four portraits, send them to a running server, draw its answer on them.

make serve
.venv/bin/python -m docs.draw_faces
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from detserve.client import Client, drawing

URL = "http://127.0.0.1:8080"
PICTURE = Path(__file__).with_name("faces.jpg")
WIDTH, HEIGHT = 960, 540
Floats = NDArray[np.float32]
Colour = tuple[int, int, int]

# Centre x, y and half height in pixels, tilt in degrees, skin, hair, shirt.
PEOPLE: tuple[tuple[int, int, int, int, Colour, Colour, Colour], ...] = (
    (170, 270, 95, -6, (225, 178, 150), (60, 40, 30), (60, 70, 120)),
    (420, 200, 75, 4, (150, 105, 80), (25, 20, 20), (100, 70, 90)),
    (640, 300, 105, 8, (238, 198, 172), (150, 110, 60), (140, 70, 60)),
    (850, 190, 62, -3, (195, 145, 115), (80, 50, 40), (180, 70, 30)),
)


class Portrait:
    """Layers of colour on a canvas, in coordinates around one face: its half height is one, y down."""

    def __init__(self, canvas: Floats, x: int, y: int, size: int, tilt: int) -> None:
        row, column = np.mgrid[0:HEIGHT, 0:WIDTH]
        cos, sin = np.cos(np.deg2rad(tilt)), np.sin(np.deg2rad(tilt))
        self.canvas = canvas
        self.x = ((column - x) * cos + (row - y) * sin) / size
        self.y = ((row - y) * cos - (column - x) * sin) / size

    def ellipse(self, x: float, y: float, a: float, b: float, power: float = 2) -> Floats:
        """Below one inside of the (super)ellipse around x, y with the half axes a, b."""
        inside: Floats = (np.abs(self.x - x) / a) ** power + (np.abs(self.y - y) / b) ** power
        return inside

    def lay(self, shape: Floats, colour: NDArray[np.float64] | Colour, opacity: float = 1, blur: float = 0.06) -> None:
        """Lay a colour over what is below one in `shape`, its edge softened."""
        mask = opacity * np.clip((1 - shape) / blur + 0.5, 0, 1)[..., None]
        self.canvas += mask * (np.asarray(colour) - self.canvas)


def draw_portrait(face: Portrait, skin_colour: Colour, hair_colour: Colour, shirt: Colour) -> None:
    """Shoulders, neck, hair, face, then what is in the face."""
    skin, hair = np.array(skin_colour, float), np.array(hair_colour, float)
    face.lay(face.ellipse(0, 2.6, 1.7, 1.3, 2.5), shirt)
    face.lay(face.ellipse(0, 1.05, 0.36, 0.75, 3), skin * 0.78)
    face.lay(face.ellipse(0, -0.18, 0.93, 1.08, 2.2), hair * 0.8)
    for side in (-1, 1):
        face.lay(face.ellipse(0.78 * side, 0.05, 0.12, 0.22), skin * 0.85)
    light = 1.06 - 0.25 * np.abs(face.x - 0.15) ** 1.6 - 0.12 * np.clip(face.y, 0, 2) ** 2
    face.lay(face.ellipse(0, 0.08, 0.76, 1.02, 2.25), np.clip(skin * light[..., None], 0, 255))
    fringe = np.maximum(face.ellipse(0, -0.55, 0.86, 0.62, 2.3), 1.6 - face.ellipse(0, 0.25, 0.8, 0.82, 2.2))
    for side in (-1, 1):
        face.lay(face.ellipse(0.42 * side, 0.36, 0.22, 0.18), (205, 110, 100), 0.25, 0.9)
    face.lay(fringe, hair, blur=0.12)
    for side in (-1, 1):
        eye = 0.33 * side
        face.lay(face.ellipse(eye, -0.08, 0.21, 0.13), skin * 0.55, 0.35, 0.7)
        face.lay(face.ellipse(eye, -0.06, 0.16, 0.075, 1.8), (240, 238, 235), blur=0.2)
        face.lay(face.ellipse(eye, -0.06, 0.075, 0.078), (70, 50, 35), blur=0.2)
        face.lay(face.ellipse(eye, -0.06, 0.035, 0.036), (10, 10, 10), blur=0.2)
        face.lay(face.ellipse(eye, -0.125, 0.175, 0.03), (45, 32, 28), blur=0.4)
        face.lay(face.ellipse(0.34 * side, -0.27, 0.22, 0.04), hair * 0.7, 0.9, 0.5)
    face.lay(face.ellipse(0.09, 0.16, 0.07, 0.28), skin * 0.6, 0.3, 0.9)
    face.lay(face.ellipse(-0.03, 0.15, 0.05, 0.26), np.minimum(skin * 1.2, 255), 0.35, 0.9)
    face.lay(face.ellipse(0, 0.33, 0.14, 0.07), skin * 0.65, 0.5, 0.8)
    for side in (-1, 1):
        face.lay(face.ellipse(0.075 * side, 0.36, 0.035, 0.022), skin * 0.35, 0.8, 0.5)
    face.lay(face.ellipse(0, 0.60, 0.27, 0.085, 1.7), (165, 75, 75), blur=0.3)
    face.lay(face.ellipse(0, 0.595, 0.25, 0.022, 1.7), (90, 35, 35), blur=0.4)
    face.lay(face.ellipse(0, 0.70, 0.2, 0.04), skin * 0.6, 0.3, 0.9)


def draw_people() -> NDArray[np.uint8]:
    """The whole picture, uint8 [540, 960, 3] RGB, the same at every call."""
    random = np.random.default_rng(1)
    down = np.linspace(0, 1, HEIGHT)[:, None, None]
    clouds = cv2.GaussianBlur(random.normal(0, 60, (HEIGHT, WIDTH, 3)), (0, 0), 25)
    canvas = ((150, 175, 200) + down * (40, 30, -30) + 4 * clouds).astype(np.float32)
    for x, y, size, tilt, skin, hair, shirt in PEOPLE:
        draw_portrait(Portrait(canvas, x, y, size, tilt), skin, hair, shirt)
    return np.clip(canvas + random.normal(0, 4, canvas.shape), 0, 255).astype(np.uint8)


def main() -> None:
    """Draw, ask, draw the answer, write."""
    rgb = draw_people()
    body = cv2.imencode(".png", rgb[..., ::-1])[1].tobytes()
    with Client(URL) as client:
        found = client.ask("fd1", body).detections
    drawing.save(drawing.draw(rgb, found), PICTURE)
    print(f"{len(found)} faces, {PICTURE.name} written")


if __name__ == "__main__":
    main()
