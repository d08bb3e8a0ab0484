"""One real server for all end-to-end tests: packed by repack.py's code, started by serve.py, spoken to over HTTP."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from benchmarks.exits import Exit, NoPackages, litserve_server, triton_server
from tests.harness.archives import MODELS, Shelf
from tests.harness.page import demo, ready
from tests.harness.server import Server, serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FLAGS = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")


@pytest.fixture(scope="session")
def store(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model store with all real archives."""
    return shelf.store(tmp_path_factory.mktemp("store"), *MODELS)


@pytest.fixture(scope="session")
def server(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The server, its models ready; ended by SIGTERM, which must leave status 0."""
    with serving(store, tmp_path_factory.mktemp("run"), "--workers", "1") as server:
        yield server


@pytest.fixture(scope="module")
def litserve(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exit]:
    """LitServe with fd1. The first run makes an environment of its packages, which takes a minute."""
    try:
        with litserve_server(shelf.get("fd1"), tmp_path_factory.mktemp("litserve")) as server:
            yield server
    except NoPackages as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def triton(shelf: Shelf, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exit]:
    """Triton with three models; its environment likewise."""
    try:
        archives = [shelf.get(name) for name in ("fd1", "td1", "ocr1")]
        with triton_server(archives[0], tmp_path_factory.mktemp("triton"), *archives[1:]) as server:
            yield server
    except NoPackages as error:
        pytest.skip(str(error))


@pytest.fixture(scope="session")
def page_url(server: Server) -> Iterator[str]:
    """`detserve demo` in front of the server."""
    with demo("--url", server.url, "--management", server.management) as url:
        yield url


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Debian's chromium, with a camera that shows a test picture and is allowed without a question.

    Not for longer than a module: Playwright keeps an event loop running, beside which nothing else may start one.
    """
    from playwright.sync_api import sync_playwright

    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium: apt-get install chromium")
    with sync_playwright() as playwright, playwright.chromium.launch(executable_path=path, args=FLAGS) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, page_url: str) -> Iterator[Page]:
    """The page, its sample answered. Whatever it asks for is at its own address, and its console stays empty."""
    with browser.new_context(viewport={"width": 1280, "height": 800}, base_url=page_url) as context:
        page = context.new_page()
        asked: list[str] = []
        said: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.on("websocket", lambda socket: asked.append(socket.url))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("console", lambda message: said.append(message.text))
        page.goto("/")
        ready(page)
        yield page
        assert [each for each in asked if not each.startswith((f"{page_url}/", f"blob:{page_url}/"))] == []
        # The browser's own words for a status that is shown to the visitor; a fault of the page's own is none of these.
        assert [
            each for each in said if not re.search(r"server responded with a status of (4\d\d|50[234])\b", each)
        ] == []


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.e2e)
