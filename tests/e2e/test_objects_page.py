"""docs/objects.md: its commands are run, from the made-up checkpoint to the drawn picture."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.harness.server import serving

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "objects.md").read_text("utf-8")


@pytest.mark.slow
def test_the_pages_commands_lead_to_a_drawn_picture(astronaut: bytes, tmp_path: Path) -> None:
    blocks = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    install, make, pack, use = blocks
    assert "objects.txt" in install
    for name in ("detserve", "benchmarks", "requirements", "config", "handlers", "repack.py", "client.py", ".venv"):
        (tmp_path / name).symlink_to(ROOT / name)
    picture = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)[:300, :400]
    cv2.imwrite(str(tmp_path / "img.jpg"), picture)

    def run(commands: str) -> str:
        environment = os.environ | {"PYTHONPATH": str(tmp_path)}
        done = subprocess.run(
            ["bash", "-euc", commands], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=280,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "made-up weights for 2 classes" in run(make)
    run(pack)
    serve, *asked = use.strip().splitlines()
    assert serve.endswith("serve.py md1 --model-store run/store")
    with serving(tmp_path / "run" / "store", tmp_path / "logs", "--workers", "1") as server:
        port = str(server.port)
        asked[-1] += f" --url http://127.0.0.1:{port}"
        answer, _ = run("\n".join(asked).replace("8080", port)), None
    found = json.loads(answer.partition("]\n")[0] if answer.count("\n") > 1 else answer)
    assert found and {each["label"] for each in found} <= {"bolt", "nut"}
    assert all(each["mask_rle"]["size"] == [300, 400] for each in found)
    shown = json.loads(re.findall(r"^```json\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)[0])
    for wanted, got in zip(shown, found, strict=False):
        assert (got["label"], got["label_id"]) == (wanted["label"], wanted["label_id"])
        assert got["xywh_ratio"] == pytest.approx(wanted["xywh_ratio"], abs=0.01)
        assert got["conf"] == pytest.approx(wanted["conf"], abs=0.01)
    drawn = cv2.imread(str(tmp_path / "result" / "img.drawn.jpg"))
    assert drawn.shape == picture.shape
    assert len(json.loads((tmp_path / "result" / "coco.json").read_text())) == len(found)
