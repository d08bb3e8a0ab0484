"""docs/client.md: its examples run as they stand, in a fresh environment with the extra `client` and nothing else."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks import exits
from detserve.pack.weights import locate
from tests.harness.server import Server
from tests.test_wheel import PARTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/client.md").read_text("utf-8")
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
INSTALL_SECONDS = 60
"""A quarter of it on two cores that are busy with other things, where the index is near."""
SUPERVISED = """
import numpy as np
import supervision as sv
from detserve.client import found
from detserve.client.answer import Answer

face = {"xywh_ratio": [0.5, 0.5, 0.4, 0.2], "conf": 0.9, "landmarks_ratio": [0.5] * 10}
text = {"xywh_ratio": [0.3, 0.3, 0.4, 0.2], "conf": 0.8, "quad_ratio": [0.1, 0.2, 0.5, 0.2, 0.5, 0.4, 0.1, 0.4],
        "text": "Straße", "text_conf": 0.5, "polygon_ratio": [0.1, 0.2, 0.5, 0.2, 0.5, 0.4]}
region = {key: text[key] for key in ("xywh_ratio", "conf", "quad_ratio")}
thing = {"xywh_ratio": [0.75, 0.5, 0.5, 1.0], "conf": 0.7, "label": "cat", "label_id": 17,
         "mask_rle": {"size": [3, 2], "counts": "33"}}
texts = found.texts(Answer([text, text]), (200, 100)).to_supervision()
assert texts.xyxy.tolist() == [[20, 20, 100, 40]] * 2 and texts.data["text"].tolist() == ["Straße"] * 2
assert texts.data["quad"].shape == (2, 4, 2) and texts.data["text_conf"].tolist() == [0.5, 0.5]
assert texts[1:].data["polygon"][0].tolist() == [[20, 20], [100, 20], [100, 40]]
assert np.isnan(found.texts(Answer([region]), (200, 100)).to_supervision().data["text_conf"]).all()
things = found.objects(Answer([thing, thing]), (2, 3)).to_supervision()
assert things.mask.tolist() == [[[False, True]] * 3] * 2 and things.class_id.tolist() == [17, 17]
assert things.data["class_name"].tolist() == ["cat", "cat"]
for kind, one in ((found.faces, face), (found.texts, text), (found.objects, thing)):
    some = kind(Answer([one]), (200, 100)).to_supervision()
    none = kind(Answer([]), (200, 100)).to_supervision()
    assert len(none) == 0 and none.is_empty() and some.data.keys() - none.data.keys() <= {"polygon"}
    assert len(sv.Detections.merge([some, some])) == 2
    for drawn in (some, none):
        picture = np.zeros((100, 200, 3), np.uint8)
        for annotator in (sv.BoxAnnotator(), sv.LabelAnnotator(), sv.BlurAnnotator()):
            picture = annotator.annotate(picture, drawn)
        assert picture.any() == bool(len(drawn))
assert found.faces(Answer([]), (2, 3)).to_supervision().data["landmarks"].shape == (0, 5, 2)
"""


@dataclass(frozen=True)
class Fresh:
    """An environment, and a folder with img.jpg and page.png to run in. seconds: what the installation took."""

    python: Path
    folder: Path
    seconds: float

    def install(self, *what: str) -> None:
        """Install, or skip the test where no index of packages answers."""
        pip = [str(self.python), *exits.PIP, "--retries", "1", *what]
        ended = subprocess.run(pip, capture_output=True, text=True, timeout=280, check=False)
        if ended.returncode and not exits.index_answers(self.python):
            pytest.skip("no index of packages answers: not even pip is there")
        assert ended.returncode == 0, ended.stderr

    def run(self, code: str, server: Server) -> str:
        """What an example prints. The server's address is the only thing that is changed in it."""
        code = code.replace("http://localhost:8080", server.url)
        command = [str(self.python), "-W", "error", "-c", code]
        ended = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=100, check=False)
        assert ended.returncode == 0, f"{code}\n{ended.stdout}{ended.stderr}"
        return ended.stdout


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory, astronaut: bytes) -> Fresh:
    base = tmp_path_factory.mktemp("fresh")
    source, folder = base / "source", base / "folder"
    source.mkdir()
    folder.mkdir()
    for part in PARTS:
        if (ROOT / part).is_dir():
            shutil.copytree(ROOT / part, source / part, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(ROOT / part, source)
    cv2.imwrite(str(folder / "img.jpg"), cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR))
    shutil.copy2(locate("package:skimage/data/page.png"), folder)
    subprocess.run([sys.executable, "-m", "venv", str(base / "venv")], check=True)
    environment = Fresh(base / "venv/bin/python", folder, 0)
    begin = time.monotonic()
    environment.install(f"{source}[client]")
    return Fresh(environment.python, folder, time.monotonic() - begin)


@pytest.mark.slow
def test_the_extra_is_there_in_seconds_and_without_torch(fresh: Fresh, server: Server) -> None:
    print(f"installed in {fresh.seconds:.1f} s")
    assert fresh.seconds < INSTALL_SECONDS
    there = fresh.run("import importlib.util as u; print([n for n in ('torch', 'ts') if u.find_spec(n)])", server)
    assert there == "[]\n"


@pytest.mark.slow
def test_every_example_runs(fresh: Fresh, server: Server) -> None:
    assert len(EXAMPLES) == 7
    printed = []
    for example in EXAMPLES:
        if "to_supervision" in example:
            assert "pip install supervision" in PAGE
            fresh.install("supervision")
        printed.append(fresh.run(example, server))
    fresh.run(SUPERVISED, server)
    first, page, many, tasks, errors, coco, supervision = printed
    assert re.match(r"0\.91\d* \(18\d\.", first) and "(512, 512) fd1/1.0 {'decode': " in first
    assert len(page.splitlines()) > 30 and page.splitlines()[-1].startswith("7 Box(")
    assert many.splitlines() == ["img.jpg 1", "page.png 0", "img.jpg 1"]
    assert tasks == "16\n"
    assert errors.startswith("400 bad_picture 400: the body is not a picture")
    (entry,) = json.loads(coco)
    assert entry["bbox"] == pytest.approx([184, 63, 84, 112], abs=6)
    assert supervision.startswith("[[18") and supervision.endswith("(1, 5, 2)\n")
