"""The command of the page where it cannot serve, the limit of a body, and what the page weighs."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from detserve.demo.app import LIMIT, STATIC
from detserve.demo.command import TOKEN
from detserve.demo.guard import POLICY
from detserve.demo.upstream import Upstream
from detserve.errors import BadSpec
from detserve.serve.launch import free_ports
from docs.draw_sample import PICTURE, WARM_UP, draw_sample

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted(STATIC.glob("*.js"))
WEIGHT = 100_000
"""Bytes of all that the page is made of."""


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "detserve", "demo", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def free(count: int) -> Sequence[str]:
    return [str(port) for port in list(free_ports().values())[:count]]


def test_it_says_in_one_line_why_it_does_not_serve() -> None:
    page, absent = free(2)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for arguments, said in (
            (("--url", f"http://127.0.0.1:{absent}"), f"no server answers at http://127.0.0.1:{absent}"),
            (("--url", "fd1"), "--url wants http://HOST:PORT, not 'fd1'"),
            (("--url", "http://me:secret@host:8080"), "--url must hold no user and no password: the page shows it"),
            (
                ("--address", "0.0.0.0"),
                "0.0.0.0 stands for all addresses, and the page answers to one: --address names it",
            ),
            (("--address", "localhost"), "--address wants an IP address, not 'localhost'"),
            (("--port", port), f"cannot listen on 127.0.0.1:{port}: Address already in use; --port names another port"),
        ):
            ended = demo("--port", page, *arguments)
            assert (ended.returncode, ended.stderr) == (1, f"detserve demo: {said}\n"), arguments


def test_a_url_is_checked_when_it_is_made() -> None:
    for url in ("ftp://host", "http://", "http://host:port", "//host"):
        with pytest.raises(BadSpec, match="--url wants"):
            Upstream(url=url)
    assert Upstream(url="http://host:8080/", token="k").authorization == {"Authorization": "Bearer k"}
    assert Upstream(url="http://host/path/").prediction("fd1") == "http://host/path/predictions/fd1"


def test_the_limit_is_the_servers() -> None:
    assert LIMIT == 32 * 2**20


def test_the_page_is_light_and_fetches_nothing_from_elsewhere() -> None:
    sizes = {path.name: path.stat().st_size for path in STATIC.iterdir()}
    print(f"the page: {sum(sizes.values()) / 1000:.1f} kB")
    assert sum(sizes.values()) <= WEIGHT, sizes
    assert {Path(name).suffix for name in sizes} == {".html", ".css", ".js", ".svg", ".jpg", ".yaml"}
    for path in (*SCRIPTS, STATIC / "index.html", STATIC / "style.css"):
        addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.[a-z]+", path.read_text("utf-8")))
        assert addresses == set(), path.name


def test_there_is_no_inline_code_and_the_policy_allows_none() -> None:
    page = (STATIC / "index.html").read_text("utf-8")
    assert re.findall(r"<script(?![^>]*\bsrc=)|<style|\bstyle=|\son\w+=", page) == []
    assert POLICY["script-src"] == POLICY["style-src"] == "'self'"
    named = set(re.findall(r'\$\("([\w-]+)"\)', (STATIC / "main.js").read_text("utf-8")))
    assert named <= set(re.findall(r'id="([\w-]+)"', page))


@pytest.mark.slow
def test_the_sample_is_what_the_command_draws() -> None:
    import numpy as np
    import PIL.Image

    with PIL.Image.open(PICTURE) as held:
        difference = np.abs(np.asarray(held, float) - np.asarray(draw_sample(), float))
    assert difference.mean() < 4, "python -m docs.draw_sample makes it"
    assert WARM_UP.read_bytes() == PICTURE.read_bytes()


def test_the_token_is_read_from_the_environment_alone() -> None:
    assert TOKEN not in os.environ
    told = demo("--help").stdout
    assert TOKEN in told and "--token" not in told
