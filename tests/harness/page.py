"""The page to try the models: served by its command in a process, and what a test does with it in a browser."""

from __future__ import annotations

import base64
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from detserve.demo.app import STATIC
from detserve.serve.launch import free_ports

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

ROOT = Path(__file__).parents[2]
SAMPLE = (STATIC / "sample.jpg").read_bytes()
BOX = (46, 230, 168)
DROP = """async ([kind, files]) => {
  const data = new DataTransfer();
  for (const [name, text] of files) {
    const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    data.items.add(new File([bytes], name));
  }
  const event = kind === "paste"
    ? new ClipboardEvent("paste", { clipboardData: data, bubbles: true })
    : new DragEvent("drop", { dataTransfer: data, bubbles: true, cancelable: true });
  const summary = document.querySelector("#summary");
  const begun = performance.now();
  document.querySelector("#stage").dispatchEvent(event);
  while (summary.dataset.state !== "done") await new Promise(requestAnimationFrame);
  return performance.now() - begun;
}"""


@contextmanager
def demo(*arguments: str, environment: Mapping[str, str] | None = None, cwd: Path = ROOT) -> Iterator[str]:
    """`detserve demo` with these further arguments → its URL; ended by SIGTERM, which must leave status 0."""
    port = str(free_ports()["port"])
    command = [sys.executable, "-m", "detserve", "demo", "--port", port, *arguments]
    process = subprocess.Popen(
        command, cwd=cwd, env={**os.environ, **(environment or {})}, stdout=subprocess.PIPE, text=True, process_group=0
    )
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            if line.startswith("The page: "):
                break
        else:
            raise AssertionError(f"{command} ended with status {process.wait()}")
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
    assert status == 0, f"{command} ended with status {status}"


def ready(page: Page, says: str = "") -> None:
    """Wait until the picture is answered and the summary says this."""
    from playwright.sync_api import expect

    expect(page.locator("#summary[data-state=done]")).to_contain_text(says)


def give(page: Page, *files: tuple[str, bytes], kind: str = "drop") -> float:
    """Drop or paste files → milliseconds until the answer is drawn."""
    return page.evaluate(DROP, [kind, [[name, base64.b64encode(data).decode()] for name, data in files]])


def pixel(page: Page, x: float, y: float) -> tuple[int, ...]:
    """Red, green, blue, opacity of the canvas at ratios of the picture."""
    code = """([x, y]) => {
      const canvas = document.querySelector("#canvas");
      const one = new OffscreenCanvas(1, 1).getContext("2d");
      one.drawImage(canvas, -Math.floor(x * canvas.width), -Math.floor(y * canvas.height));
      return [...one.getImageData(0, 0, 1, 1).data];
    }"""
    return tuple(page.evaluate(code, [x, y]))


def edges(found: Sequence[dict[str, Any]]) -> list[tuple[float, float]]:
    """The middle of the right edge of each box."""
    return [(each["xywh_ratio"][0] + each["xywh_ratio"][2] / 2, each["xywh_ratio"][1]) for each in found]


def jpeg(width: int, height: int, data: bytes = SAMPLE) -> bytes:
    bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", cv2.resize(bgr, (width, height)))[1].tobytes()


def slide(page: Page, value: float) -> None:
    page.locator("#threshold").evaluate(
        "(slider, value) => { slider.value = value; slider.dispatchEvent(new Event('input')); }", value
    )


def instead(page: Page, found: Sequence[dict[str, Any]], size: tuple[int, int] = (960, 540)) -> None:
    """Answer the next pictures with these: no weights for objects come along, and no picture has a thousand faces."""

    def answer(route: Route) -> None:
        headers = {"X-Image-Size": f"{size[0]}x{size[1]}", "X-Model": "md1/1.0"}
        route.fulfill(json=list(found), headers=headers)

    page.route("**/predictions/*", answer)
