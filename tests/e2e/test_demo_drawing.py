"""The page's drawing in a real browser: masks, dots, and how long a visitor waits."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
import pytest
from playwright.sync_api import Page

from tests.harness.page import BOX, SAMPLE, give, instead, jpeg, pixel, ready

pytestmark = pytest.mark.slow
FIRST_ANSWER = 1.0
"""Seconds from a drop to the boxes."""
FRAME = 16.0
"""Milliseconds. In three of sixty frames some other process may have the core, in whichever part they are."""


def test_run_lengths_are_read_as_coco_writes_them(page: Page) -> None:
    from pycocotools import mask

    random = np.random.default_rng(3)
    for size in ((1, 1), (7, 5), (40, 60), (300, 200)):
        for share in (0.0, 0.5, 0.97, 1.0):
            wanted = random.random(size) < share
            if size == (300, 200):
                wanted = cv2.blur(wanted.astype(np.float32), (25, 25)) > share * 0.98
            counts = mask.encode(np.asfortranarray(wanted.astype(np.uint8)))["counts"].decode()
            code = "async ([counts, height]) => (await import('/rle.js')).strokes(counts, height)"
            read = np.zeros(size, bool)
            for x, start, end in page.evaluate(code, [counts, size[0]]):
                read[start:end, x] = True
            assert np.array_equal(read, wanted), (size, share)


def test_masks_are_painted_where_they_are(page: Page) -> None:
    from pycocotools import mask

    disc = np.zeros((540, 960), np.uint8)
    cv2.circle(disc, (300, 200), 90, 1, -1)
    rle = mask.encode(np.asfortranarray(disc))
    found = {
        "xywh_ratio": [0.3125, 0.37037, 0.1885, 0.335], "conf": 0.9, "label": "bolt", "label_id": 2,
        "mask_rle": {"size": [540, 960], "counts": rle["counts"].decode()},
    }  # fmt: skip
    instead(page, [found])
    with page.expect_request("**/predictions/*") as asked:
        give(page, ("bolt.jpg", SAMPLE))
    assert asked.value.headers["x-masks"] == "rle", "whatever the archive's own default is"
    ready(page, "1 object")
    red, green, blue, opacity = pixel(page, 0.3125, 0.37037)
    assert (red, green, blue) == pytest.approx((255, 209, 102), abs=4) and 90 < opacity < 130
    assert pixel(page, 0.3125 + 0.08, 0.37037 + 0.14)[3] == 0, "a corner of the box, outside of the disc"
    assert page.locator("#found .name").all_inner_texts() == ["bolt"]


def test_dots_scale_with_the_face(page: Page) -> None:
    heights = (10, 60, 120, 180, 900)
    dots = page.evaluate("async (heights) => heights.map((await import('/view.js')).dot)", list(heights))
    assert dots == sorted(dots) and dots[3:] == pytest.approx([3 * dots[1], 15 * dots[1]])
    assert dots[0] < 1


def test_a_label_hides_no_small_face_and_goes_below(page: Page) -> None:
    large = {"xywh_ratio": [0.5, 0.6, 0.4, 0.5], "conf": 0.9}
    small = {"xywh_ratio": [0.33, 0.325, 0.03, 0.04], "conf": 0.6}
    wide = {"xywh_ratio": [0.5, 0.2, 0.9, 0.35], "conf": 0.6}
    above, below = (0.305, 0.335), (0.305, 0.86)

    def labels(*found: dict[str, Any]) -> list[bool]:
        page.unroute_all()
        instead(page, found)
        give(page, ("two.jpg", SAMPLE))
        return [pixel(page, *place)[:3] == BOX for place in (above, below)]

    assert labels(large) == [True, False]
    assert labels(large, small) == [False, True]
    assert labels(large, wide) == [True, False], "a larger neighbour stays to be seen"
    lower = {"xywh_ratio": [0.33, 0.875, 0.03, 0.04], "conf": 0.6}
    assert labels(large, small, lower) == [False, False], "it stands in the box itself"
    assert pixel(page, 0.305, 0.36)[:3] == BOX


@pytest.mark.timed
def test_the_first_answer_comes_within_a_second_of_the_drop(page: Page) -> None:
    picture = jpeg(1920, 1440)
    give(page, ("warm.jpg", picture))
    waits = [give(page, (f"{i}.jpg", picture)) for i in range(5)]
    print(f"from the drop to the boxes, {len(picture) / 1e6:.1f} MB of JPEG: {[round(wait) for wait in waits]} ms")
    assert max(waits) < 1000 * FIRST_ANSWER


@pytest.mark.timed
def test_the_slider_redraws_a_thousand_boxes_within_a_frame(page: Page) -> None:
    random = np.random.default_rng(5)
    found = []
    for conf in sorted(random.uniform(0.1, 1, 1000).round(6), reverse=True):
        side = random.uniform(0.01, 0.12)
        x, y = random.uniform(side, 1 - side, 2)
        points = (np.array([x, y]) + random.uniform(-0.3, 0.3, (5, 2)) * side).round(6).ravel().tolist()
        found.append({"xywh_ratio": [x, y, side, side], "conf": conf, "landmarks_ratio": points})
    instead(page, found)
    give(page, ("crowd.jpg", SAMPLE))
    ready(page, " faces")
    # What the frame does is between two other callbacks of the same frame; reading a pixel waits for the canvas.
    code = """async () => {
      const slider = document.querySelector("#threshold");
      const canvas = document.querySelector("#canvas");
      const one = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
      const times = [];
      for (let i = 0; i < 70; i++) {
        const at = [];
        requestAnimationFrame(() => at.push(performance.now()));
        slider.value = i % 2 ? 0.1 + i / 400 : 0.1;
        slider.dispatchEvent(new Event("input"));
        await new Promise((done) => requestAnimationFrame(() => {
          at.push(performance.now());
          one.drawImage(canvas, 0, 0);
          one.getImageData(0, 0, 1, 1);
          at.push(performance.now());
          document.body.offsetHeight;
          at.push(performance.now());
          times.push([at[1] - at[0], at[2] - at[1], at[3] - at[2]]);
          done();
        }));
      }
      return times.slice(10); // the first run before the code is compiled
    }"""
    frames = page.evaluate(code)
    shown = page.locator("#summary b").inner_text()
    parts = dict(zip(("code", "canvas", "layout"), np.median(frames, axis=0).round(1).tolist(), strict=True))
    times = np.sum(frames, axis=1)
    slow = np.round(frames, 1)[times >= FRAME].tolist()
    print(f"redrawn: median {np.median(times):.1f} ms of {len(times)}, {parts}; over {FRAME:g} ms: {slow}; {shown}")
    assert re.match(r"[89]\d\d faces|1000 faces", shown)
    assert np.median(times) < FRAME and sorted(times)[-4] < FRAME
