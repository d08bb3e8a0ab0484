"""Documents and answers made for tests."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from shutil import which
from typing import Any

import cv2
import numpy as np
import pikepdf
import pytest
from PIL import Image

from detserve.client.documents.output import Answered
from detserve.client.documents.page import Page

SIZE = (1000, 1400)
"""Pixels of a page, 360 by 504 points at 200 dpi."""


def said(
    text: str, x: float, y: float, width: float, height: float = 40, turn: float = 0, size: tuple[int, int] = SIZE
) -> dict[str, Any]:
    """An object of an answer: text from its top left corner in pixels, turned by degrees clockwise around it."""
    angle = np.radians(turn)
    right, down = np.array([np.cos(angle), np.sin(angle)]), np.array([-np.sin(angle), np.cos(angle)])
    corner = np.array([x, y])
    quad = np.stack([corner, corner + width * right, corner + width * right + height * down, corner + height * down])
    low, high = quad.min(axis=0) / size, quad.max(axis=0) / size
    box = [*((low + high) / 2), *(high - low)]
    return {
        "xywh_ratio": box, "conf": 0.9, "quad_ratio": (quad / size).ravel().tolist(), "text": text, "text_conf": 0.95,
    }  # fmt: skip


def rows(*texts: str) -> list[dict[str, Any]]:
    """Lines one below the other."""
    return [said(text, 100, 100 + 60 * i, 18 * len(text)) for i, text in enumerate(texts)]


def split(found: Mapping[str, Any], size: tuple[int, int] = SIZE) -> list[dict[str, Any]]:
    """An object for each word of a level one, as `X-Split: words` gives them."""
    x0, y0, x1, _, _, y1 = (v * size[i % 2] for i, v in enumerate(found["quad_ratio"][:6]))
    share, at, words = (x1 - x0) / len(found["text"]), 0, []
    for word in found["text"].split():
        at = found["text"].index(word, at)
        words.append(said(word, x0 + share * at, y0, share * len(word), y1 - y0, size=size))
        at += len(word)
    return words


def picture(grey: int = 255, size: tuple[int, int] = SIZE, suffix: str = ".jpg") -> bytes:
    """The bytes of a picture of one grey."""
    return cv2.imencode(suffix, np.full((size[1], size[0], 3), grey, np.uint8))[1].tobytes()


def page(number: int = 1, data: bytes | None = None, **more: Any) -> Page:
    """A page of SIZE at 200 dpi."""
    return Page(number, data or picture(), SIZE, (200, 200), **more)


def answered(detections: Sequence[Mapping[str, Any]], number: int = 1) -> Answered:
    """A page of SIZE and its answer."""
    return Answered(page(number), detections)


def pdf(path: Path, pages: int = 1, text: str = "", **keys: Any) -> Path:
    """A PDF of pages of 360 by 504 points, with text that they show 20 points high; keys: of each page."""
    with pikepdf.new() as made:
        font = pikepdf.Dictionary(Type=pikepdf.Name.Font, Subtype=pikepdf.Name.Type1, BaseFont=pikepdf.Name.Helvetica)
        for _ in range(pages):
            added = made.add_blank_page(page_size=(360, 504))
            added.Resources = pikepdf.Dictionary(Font=pikepdf.Dictionary(F=font))
            # A scale that is not taken back, as some programs leave it.
            content = f"0.5 0 0 0.5 0 0 cm BT /F 40 Tf 80 700 Td ({text}) Tj ET"
            added.Contents = pikepdf.Stream(made, content.encode())
            for key, value in keys.items():
                added[f"/{key}"] = value
        made.save(path)
    return path


def tiff(path: Path, sizes: Sequence[tuple[int, int]], mode: str = "RGB", **options: Any) -> Path:
    """A TIFF of pages of these sizes, each brighter than the one before."""
    pages = [Image.new("RGB", size, (10 * i, 10 * i, 10 * i)).convert(mode) for i, size in enumerate(sizes)]
    pages[0].save(path, "TIFF", save_all=True, append_images=pages[1:], **options)
    return path


def pdftotext(path: Path, *options: str) -> list[str]:
    """What `pdftotext` finds, page by page. Skips where there is none."""
    if not which("pdftotext"):
        pytest.skip("pdftotext is not installed: apt-get install poppler-utils")
    ended = subprocess.run(["pdftotext", *options, path, "-"], capture_output=True, text=True, check=True)
    assert ended.stderr == ""
    return ended.stdout.split("\f")[:-1]
