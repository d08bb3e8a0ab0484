"""docs/own-model.md does what it says: its model is saved, packed and asked as the page has it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detserve.bench.engine import packed

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-model.md").read_text("utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


def run(folder: Path, command: str) -> None:
    """A command of the page, in a folder that stands for the checkout."""
    command = command.replace(".venv/bin/python", sys.executable).replace("repack.py", f"{ROOT / 'repack.py'} --out .")
    places = os.environ | {"PYTHONPATH": f"{folder}{os.pathsep}{ROOT}"}
    ended = subprocess.run(command.split(), cwd=folder, env=places, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"


def ask(archive: Path, *pictures: bytes) -> list[Any]:
    """The answers that a worker of that archive gives to those pictures."""

    async def answers() -> list[Any]:
        with packed(archive) as target:
            async with target.open() as attack:
                return [json.loads((await attack(picture)).body) for picture in pictures]

    return asyncio.run(answers())


def jpeg(rgb: np.ndarray) -> bytes:
    return cv2.imencode(".jpg", rgb)[1].tobytes()


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the page's commands make of its model."""
    folder = tmp_path_factory.mktemp("own")
    (folder / "blob.py").write_text(blocks("python")[0], "utf-8")
    weights, pack, _ = blocks("sh")[0].splitlines()
    run(folder, weights)
    run(folder, pack.removesuffix(" --register"))
    return folder / "blob1.mar"


@pytest.mark.slow
def test_the_model_of_the_page_finds_what_it_says(archive: Path, astronaut: bytes) -> None:
    spots = np.zeros((480, 640, 3), np.uint8)
    centres = ((100, 100), (500, 150), (300, 400))
    for centre in centres:
        cv2.circle(spots, centre, 45, (255, 255, 255), -1)
    photograph = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)
    drawn, asked = ask(archive, jpeg(spots), jpeg(photograph))
    found = [np.multiply(each["xywh_ratio"][:2], (640, 480)) for each in drawn]
    assert len(found) == len(centres)
    for centre in centres:
        assert min(np.linalg.norm(place - centre) for place in found) < 20
    (shown,), first = json.loads(blocks("json")[0]), asked[0]
    assert shown == {key: pytest.approx(value, abs=0.01) for key, value in first.items()}


def test_the_sketch_of_an_onnx_model_is_python() -> None:
    names: dict[str, type] = {}
    exec(blocks("python")[1], names)
    assert names["Blob"].layout == "NCHW"
