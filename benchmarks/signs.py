"""Drawn street scenes: signs on scikit-image's photographs, their words labelled, for benchmarks.icdar.

    .venv/bin/python -m benchmarks.signs OUT [N]
    .venv/bin/python -m benchmarks.icdar OUT --archive model_store/ocr1.mar

The same pictures each time, where the fonts are the same: DejaVu's (Debian: fonts-dejavu), or Pillow's own. They are
easier than photographs of streets and there are as many as one likes: what gains on the one should not lose on the
other.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from tqdm import tqdm

from detserve.pack.weights import locate

GROUNDS = ("coffee.png", "chelsea.png", "astronaut.png", "rocket.jpg", "brick.png", "grass.png", "gravel.png")
"""Photographs of the package scikit-image, without text but for the patches of the astronaut."""
SIZES = ((1280, 720), (1280, 720), (1024, 768), (960, 1280), (2000, 1500), (640, 480))
FONTS = ("Sans", "Sans-Bold", "SansCondensed-Bold", "Serif", "Serif-Bold", "SansMono", "Sans-Oblique", "SerifCondensed")
_WORDS = """
EXIT Exit Open CLOSED Sale 50% 70% OFF Bus Stop Platform B2 Level 3 Theatre Carpark Lobby Lift Stairs Toilet
Fire Hose Reel Danger KEEP CLEAR Bank ATM 24 Hours Coffee Tea Bakery Fresh Fruit $4.90 $12.50 Tower Street
Road Avenue North South East West Hotel Market Central Station Line Green Harbour Garden Museum Gallery
Library School College Clinic Pharmacy Dental Books Music Dance Sport Gym Pool PUSH PULL Mind the step No
Smoking Entry Way One Two 2009 1984 62-03 #04-12 tel: 6555 sushi noodle House rice Thai Indian Italian pizza
burger Chicken Rib Queen King Royal Orchard Raffles City Hall Bugis Kallang Jurong Yishun online.com www WiFi
free Gift shop
"""
WORDS = tuple(_WORDS.split())


def font(rng: np.random.Generator, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """A font of that size in pixels."""
    try:
        return ImageFont.truetype(f"DejaVu{rng.choice(FONTS)}.ttf", size)
    except OSError:
        return ImageFont.load_default(size)


def sign(rng: np.random.Generator, size: int) -> tuple[NDArray[np.uint8], list[tuple[str, list[float]]]]:
    """A board with one to three lines: uint8 [h, w, 3], and its words with their boxes left, top, right, bottom."""
    face = font(rng, size)
    lines = [[str(rng.choice(WORDS)) for _ in range(rng.integers(1, 4))] for _ in range(rng.integers(1, 4))]
    dark, bright = rng.integers(0, 90, 3), rng.integers(150, 256, 3)
    back, ink = (dark, bright) if rng.random() < 0.5 else (bright, dark)
    margin, leading = size // 2, float(rng.uniform(1.15, 1.7)) * size
    width = int(max(face.getlength(" ".join(line)) for line in lines)) + 2 * margin
    board = Image.new("RGB", (width, int(leading * len(lines)) + 2 * margin), tuple(int(v) for v in back))
    draw, words = ImageDraw.Draw(board), []
    for i, line in enumerate(lines):
        for k, word in enumerate(line):
            x = margin + face.getlength(" ".join([*line[:k], ""]) if k else "")
            draw.text((x, margin + i * leading), word, tuple(int(v) for v in ink), face)
            words.append((word, list(map(float, draw.textbbox((x, margin + i * leading), word, face)))))
    return np.asarray(board), words


def scene(rng: np.random.Generator, ground: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], list[dict[str, Any]]]:
    """A photograph with up to six signs that do not overlap, and their words as in labels.json."""
    width, height = SIZES[rng.integers(len(SIZES))]
    picture = cv2.resize(ground, (width, height), interpolation=cv2.INTER_CUBIC)
    taken, labels = np.zeros((height, width), np.uint8), []
    for _ in range(12):
        board, words = sign(rng, int(height / 720 * np.exp(rng.uniform(np.log(14), np.log(70)))))
        h, w = board.shape[:2]
        outline = np.array([[0, 0], [w, 0], [w, h], [0, h]], np.float32)
        skew = outline * rng.uniform(0.8, 1.0, (4, 2)) if rng.random() < 0.6 else outline
        turn = np.radians(rng.normal(0, 6))
        turned = skew @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
        turned -= turned.min(axis=0)
        room = np.array([width, height]) - turned.max(axis=0) - 2
        if (room < 2).any():
            continue
        there = (turned + rng.uniform(1, room)).astype(np.float32)
        mask = np.zeros((height, width), np.uint8)
        cv2.fillConvexPoly(mask, there.round().astype(np.int32), (1,))
        if (taken & mask).any():
            continue
        taken |= cv2.dilate(mask, np.ones((9, 9), np.uint8)).astype(np.uint8)
        matrix = cv2.getPerspectiveTransform(outline, there)
        drawn = cv2.warpPerspective(board, matrix, (width, height), flags=cv2.INTER_AREA)
        picture = np.where(mask[..., None] > 0, drawn, picture)
        for text, (left, top, right, bottom) in words:
            box = np.array([[[left, top], [right, top], [right, bottom], [left, bottom]]], np.float32)
            quad = cv2.perspectiveTransform(box, matrix)[0]
            small = bool(np.linalg.norm(quad[3] - quad[0]) < 8)
            labels.append({"quad": quad.round(1).tolist(), "text": text, "ignore": small})
    picture = cv2.GaussianBlur(picture, (0, 0), float(rng.uniform(0.3, 1.2)) * height / 720)
    noisy = picture + rng.normal(0, rng.uniform(1, 8), picture.shape)
    return np.clip(noisy, 0, 255).astype(np.uint8), labels


def main() -> None:
    """Write N scenes, and a crop of every third word, into the folder OUT."""
    out, count = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 30
    out.mkdir(parents=True, exist_ok=True)
    grounds = [cv2.imread(str(locate(f"package:skimage/data/{name}"))) for name in GROUNDS]
    rng = np.random.default_rng(0)
    pictures, crops = {}, {}
    for i in tqdm(range(count), "scenes"):
        picture, pictures[f"scene_{i}.jpg"] = scene(rng, np.asarray(grounds[i % len(grounds)], np.uint8))
        cv2.imwrite(str(out / f"scene_{i}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 85])
        for k, word in enumerate(pictures[f"scene_{i}.jpg"][::3]):
            (left, top), (right, bottom) = np.min(word["quad"], axis=0), np.max(word["quad"], axis=0)
            crops[f"word_{i}_{k}.png"] = word["text"]
            cv2.imwrite(str(out / f"word_{i}_{k}.png"), picture[int(top) : int(bottom) + 1, int(left) : int(right) + 1])
    (out / "labels.json").write_text(json.dumps({"pictures": pictures, "words": crops}, indent=1))


if __name__ == "__main__":
    main()
