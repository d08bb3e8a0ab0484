"""Make the pictures of docs/demo.md: the page in light, in dark and on a phone, its drawn sample answered.

make demo
.venv/bin/python -m docs.shoot_demo
"""

from __future__ import annotations

import io
import shutil
import sys
from pathlib import Path
from typing import Literal, NamedTuple

import PIL.Image
from playwright.sync_api import Browser, sync_playwright

URL = "http://127.0.0.1:8088"
FOLDER = Path(__file__).parent


class Shot(NamedTuple):
    """One picture: its file, the window's size in CSS pixels, the colours that the visitor prefers, and the model."""

    name: str
    width: int
    height: int
    scheme: Literal["light", "dark"]
    model: str


SHOTS = (
    Shot("demo-light", 1360, 820, "light", "fd1"),
    Shot("demo-dark", 1360, 820, "dark", "ocr1"),
    Shot("demo-phone", 390, 1000, "light", "fd1"),
)


def shoot(browser: Browser, url: str, shot: Shot) -> bytes:
    """A PNG of 256 colours."""
    page = browser.new_page(viewport={"width": shot.width, "height": shot.height}, color_scheme=shot.scheme)
    page.goto(url)
    page.locator(f"input[value={shot.model}]").check(force=True)
    page.locator("#summary[data-state=done]").get_by_text(f"by {shot.model}/").wait_for()
    page.mouse.move(0, 0)
    with PIL.Image.open(io.BytesIO(page.screenshot())) as whole:
        buffer = io.BytesIO()
        whole.convert("RGB").quantize(256, dither=PIL.Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    page.close()
    return buffer.getvalue()


def main(url: str = URL) -> None:
    """Open, ask, write."""
    with (
        sync_playwright() as playwright,
        playwright.chromium.launch(executable_path=shutil.which("chromium")) as browser,
    ):
        for shot in SHOTS:
            path = FOLDER / f"{shot.name}.png"
            path.write_bytes(shoot(browser, url, shot))
            print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main(*sys.argv[1:])
