"""The page in a real browser, Debian's chromium: what a visitor does and sees."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, Route, expect

from tests.harness.page import BOX, SAMPLE, edges, give, jpeg, pixel, ready, slide
from tests.harness.server import Server

PLAYS = "async (video) => { while (!video.videoWidth) await new Promise(requestAnimationFrame); }"


def test_it_opens_with_the_sample_answered_and_boxes_where_the_faces_are(page: Page, server: Server) -> None:
    ready(page, "4 faces")
    found = server.predict("fd1", SAMPLE).json()
    for (x, y), each in zip(edges(found), found, strict=True):
        assert pixel(page, x, y)[:3] == pytest.approx(BOX, abs=24)
        eye = each["landmarks_ratio"][:2]
        assert pixel(page, *eye)[0] > 200 and pixel(page, *eye)[2] < 90, "a dot"
        assert pixel(page, each["xywh_ratio"][0] + each["xywh_ratio"][2] / 4, each["xywh_ratio"][1])[3] == 0
    assert page.locator("#times dt").all_inner_texts() == ["decode", "network", "boxes", "transfer"]


def test_a_dropped_picture_is_answered(page: Page, server: Server) -> None:
    turned = cv2.imencode(".jpg", cv2.imdecode(np.frombuffer(SAMPLE, np.uint8), 1)[:, ::-1])[1].tobytes()
    give(page, ("turned.jpg", turned))
    ready(page, "turned.jpg, by fd1/1.0")
    found = server.predict("fd1", turned).json()
    assert len(found) == 4
    for x, y in edges(found):
        assert pixel(page, x, y)[:3] == pytest.approx(BOX, abs=24)


def test_the_slider_filters_without_asking_again(page: Page, server: Server) -> None:
    found = server.predict("fd1", SAMPLE).json()
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    between = (found[1]["conf"] + found[2]["conf"]) / 2
    slide(page, round(between, 2))
    ready(page, "2 faces")
    assert page.locator("#found li:visible").count() == 2
    drawn = [pixel(page, x, y)[3] > 0 for x, y in edges(found)]
    assert drawn == [True, True, False, False]
    slide(page, 0.1)
    ready(page, f"{len(server.predict('fd1', SAMPLE, X_Conf_Threshold='0.1').json())} faces")
    page.locator("#threshold").press("End")
    ready(page, "0 faces")
    assert asked == []


def test_an_error_is_worded_by_the_server(page: Page, server: Server) -> None:
    for name, data, status in (("a.pdf", b"%PDF-1.7\n", 415), ("cut.jpg", SAMPLE[:9000], 400)):
        give(page, (name, data))
        said = server.predict("fd1", data).json()
        expect(page.get_by_role("alert")).to_contain_text(f"{status} {said['type']}")
        expect(page.get_by_role("alert")).to_contain_text(said["message"])
        ready(page, "No answer")
        assert page.locator("#found li").count() == 0
    page.locator("#strip button").first.click()
    ready(page, "4 faces")
    expect(page.locator("#error")).to_be_hidden()


def failing(status: int, kind: str) -> Callable[[Route], None]:
    """A server, or the page's own, in trouble."""
    return lambda route: route.fulfill(status=status, json={"code": status, "type": kind, "message": "later"})


def test_an_error_that_passes_is_asked_about_again(page: Page) -> None:
    again = page.get_by_role("button", name="Ask again")
    for given, (status, passes) in enumerate(((503, True), (504, True), (422, False)), 1):
        page.route("**/predictions/*", failing(status, "trouble"))
        give(page, ("a.jpg", SAMPLE), (f"{status}.jpg", SAMPLE))
        expect(page.get_by_role("alert")).to_contain_text(f"{status} trouble")
        expect(page.locator("#strip .failed")).to_have_count(2)
        expect(again).to_be_visible(visible=passes)
        page.unroute_all()
        if passes:
            again.click()
            ready(page, "4 faces")
            expect(page.locator("#error")).to_be_hidden()
            expect(page.locator("#strip span")).to_have_text(["4"] * (1 + 2 * given))  # none is still being asked about


@pytest.mark.parametrize("facts", [None, {"models": [], "server": "http://there", "token": False, "limit": 9}])
def test_a_page_that_began_without_a_server_or_a_model_says_so_until_there_is_one(
    browser: Browser, page_url: str, facts: Any
) -> None:
    with browser.new_context(base_url=page_url) as context:
        page = context.new_page()
        page.route("**/models", lambda route: route.fulfill(json=facts) if facts else failing(502, "gone")(route))
        page.goto("/")
        for _ in range(2):
            ready(page, "No answer")
            expect(page.get_by_role("alert")).to_contain_text("No model" if facts else "502 gone")
            give(page, ("a.jpg", SAMPLE))
        page.unroute_all()
        page.get_by_role("button", name="Ask again").click()
        ready(page, "4 faces")
        expect(page.locator("#error")).to_be_hidden()
        assert page.get_by_role("radio").count() == 4


def test_a_finger_marks_what_it_taps_once_and_again(browser: Browser, page_url: str) -> None:
    with browser.new_context(base_url=page_url, has_touch=True) as context:
        page = context.new_page()
        page.goto("/")
        ready(page, "4 faces")
        for place in ("#found li:nth-child(2) button", "#found li:nth-child(2) button", "#canvas", "#canvas"):
            page.locator(place).tap(position={"x": 9, "y": 9} if place != "#canvas" else None)
            expect(page.locator(".marked")).to_have_count(1 if place != "#canvas" else 0)


def test_what_is_found_is_spoken_where_the_slider_stops(page: Page) -> None:
    spoken = page.locator("[role=status]")
    expect(spoken).to_have_text("4 faces sample.jpg, by fd1/1.0")
    for value in (0.9, 0.95, 1):
        slide(page, value)
    expect(spoken).to_have_text("4 faces sample.jpg, by fd1/1.0")
    expect(spoken).to_have_text("0 faces sample.jpg, by fd1/1.0")


@pytest.mark.slow
def test_several_pictures_are_a_strip(page: Page) -> None:
    plain = cv2.imencode(".png", np.full((60, 80, 3), 128, np.uint8))[1].tobytes()
    expect(page.locator("#strip")).to_be_hidden()
    give(page, ("plain.png", plain), ("small.jpg", jpeg(480, 270)), ("broken.jpg", b"broken"))
    ready(page, "0 detections")
    expect(page.locator("#strip li")).to_have_text(["4", "0", "4", "broken.jpg!"])
    page.get_by_role("button", name="small.jpg").click()
    ready(page, "small.jpg, by fd1/1.0")
    assert page.locator("#strip [aria-current]").get_attribute("title") == "small.jpg"


@pytest.mark.slow
def test_boxes_of_a_format_that_no_browser_shows_stand_alone(page: Page, server: Server) -> None:
    tiff = cv2.imencode(".tiff", cv2.imdecode(np.frombuffer(SAMPLE, np.uint8), cv2.IMREAD_COLOR))[1].tobytes()
    give(page, ("scan.tiff", tiff))
    ready(page, "scan.tiff, by fd1/1.0")
    found = server.predict("fd1", tiff).json()
    assert len(found) == 4
    for x, y in edges(found):
        assert pixel(page, x, y)[:3] == pytest.approx(BOX, abs=24)
    expect(page.locator("#strip li").nth(1)).to_contain_text("scan.tiff")


@pytest.mark.slow
def test_pictures_are_pasted_chosen_and_photographed(page: Page, tmp_path: Path) -> None:
    give(page, ("pasted.jpg", SAMPLE), kind="paste")
    ready(page, "pasted.jpg, by")
    (tmp_path / "chosen.jpg").write_bytes(jpeg(640, 360))
    page.locator("#file").set_input_files(tmp_path / "chosen.jpg")
    ready(page, "chosen.jpg, by")
    page.get_by_role("button", name="Camera").click()
    page.locator("video").evaluate(PLAYS)
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_role("dialog")).to_be_hidden()
    page.get_by_role("button", name="Camera").click()
    page.locator("video").evaluate(PLAYS)
    page.get_by_role("button", name="Take the picture").click()
    ready(page, "camera.jpg, by")
    assert page.evaluate("document.querySelector('video').srcObject") is None
    assert page.locator("#strip li").count() == 4


def test_what_is_pointed_at_is_marked_in_the_list_and_on_the_picture(page: Page, server: Server) -> None:
    found = server.predict("fd1", SAMPLE).json()
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    for i, each in enumerate(found):
        x, y = each["xywh_ratio"][:2]
        page.mouse.move(box["x"] + x * box["width"], box["y"] + y * box["height"])
        expect(page.locator("#found li").nth(i)).to_have_class("marked")
        assert page.locator(".marked").count() == 1
    page.mouse.move(0, 0)
    assert page.locator(".marked").count() == 0
    page.locator("#found button").nth(2).focus()
    x, y = edges(found)[2]
    assert pixel(page, x, y)[:3] == (255, 255, 255)
    page.locator("#found button").nth(1).hover()
    assert pixel(page, *edges(found)[1])[:3] == (255, 255, 255)
    assert pixel(page, x, y)[:3] == pytest.approx(BOX, abs=24)


@pytest.mark.slow
def test_texts_are_listed_in_reading_order_and_drawn_in_their_place(page: Page, server: Server) -> None:
    page.get_by_role("radio", name="Faces fd1").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    ready(page, "by ocr1/1.0")
    found = server.predict("ocr1", SAMPLE, X_Conf_Threshold="0.5").json()
    texts = [each["text"] for each in found]
    assert texts[0].startswith("Gate 14") and {"ANNA", "KOFI", "LENA", "OMAR"} == set(texts[1:])
    assert page.locator("#found .name").all_inner_texts() == texts
    x, y = found[0]["quad_ratio"][:2]
    assert pixel(page, x + 0.01, y + 0.02)[3] > 200
    page.get_by_label("Labels on the picture").uncheck()
    assert pixel(page, x + 0.01, y + 0.02)[3] == 0


@pytest.mark.slow
def test_the_command_gives_the_json(page: Page, server: Server, tmp_path: Path) -> None:
    give(page, ("a [1-2]{b}'s.jpg", SAMPLE))
    slide(page, 0.8)
    ready(page, "2 faces")
    page.get_by_role("tab", name="List").focus()
    page.keyboard.press("ArrowRight")
    shown = json.loads(page.get_by_role("tabpanel").inner_text())
    page.keyboard.press("ArrowRight")
    command = page.get_by_role("tabpanel").inner_text()
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.get_by_role("button", name="Copy").click()
    expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert page.evaluate("navigator.clipboard.readText()") == command
    (tmp_path / "a [1-2]{b}'s.jpg").write_bytes(SAMPLE)
    said = subprocess.run(["bash", "-c", command.replace("curl", "curl -sS", 1)], cwd=tmp_path, capture_output=True)
    assert json.loads(said.stdout) == shown and len(shown) == 2


@pytest.mark.parametrize(
    ("scheme", "width"),
    [("light", 1280), *(pytest.param("dark", width, marks=pytest.mark.slow) for width in (1280, 360))],
)
def test_axe_finds_nothing(page: Page, scheme: Any, width: int) -> None:
    page.emulate_media(color_scheme=scheme)
    page.set_viewport_size({"width": width, "height": 740})
    give(page, ("a.pdf", b"%PDF-1.7\n"))
    expect(page.get_by_role("alert")).to_be_visible()
    check_with_axe(page)
    page.locator("#strip button").first.click()
    ready(page, "4 faces")
    page.get_by_role("tab", name="curl").click()
    check_with_axe(page)
    page.get_by_role("button", name="Camera").click()
    expect(page.get_by_role("dialog")).to_be_visible()
    check_with_axe(page)
    page.keyboard.press("Escape")
    assert page.evaluate("document.documentElement.scrollWidth") <= width, "it scrolls sideways"


def check_with_axe(page: Page) -> None:
    found = Axe().run(page)
    assert found.response["passes"]
    assert found.response["violations"] == [], found.generate_report()


@pytest.mark.slow
def test_the_keyboard_reaches_everything_in_the_order_of_the_page(page: Page) -> None:
    reached = []
    for _ in range(14):
        page.keyboard.press("Tab")
        reached.append(page.evaluate("document.activeElement.id || document.activeElement.innerText.split('\\n')[0]"))
    assert reached[:3] == ["Skip to the results", "", "API"]
    assert reached[3:9] == ["file", "camera", "threshold", "labels", "tab-list", "list"]
    assert [name.split(" ")[0] for name in reached[9:13]] == ["Face"] * 4
