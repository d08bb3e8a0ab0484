"""The README and the pages beside it do what they say: their commands are run as they stand, in a copy of the project,
ports aside."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from benchmarks.video import make as make_video
from detserve.pack.weights import locate
from detserve.serve.launch import free_ports

ROOT = Path(__file__).parents[2]
PAGES = {
    path.relative_to(ROOT).as_posix(): path.read_text("utf-8")
    for path in (ROOT, ROOT / "docs")
    for path in sorted(path.glob("*.md"))
}
RUN = ("README.md", "docs/models.md", "docs/operating.md", "docs/documents.md", "docs/client.md")
"""The pages whose commands are run, in this order."""
PARTS = ("detserve", "handlers", "config", "requirements", "Makefile", "repack.py", "serve.py", "client.py")
VENV = Path(sys.prefix)


@dataclass(frozen=True)
class Copy:
    """A copy of the project with `make serve` running in it."""

    folder: Path
    ports: dict[str, int]

    def run(self, command: str) -> str:
        """A command of the README → what it prints. Its ports and virtual environment are those of the copy."""
        management = f"localhost:{self.ports['--management-port']}"
        command = command.replace("localhost:8080", f"localhost:{self.ports['--port']}")
        command = command.replace("localhost:8081", management).replace("--register", f"--register http://{management}")
        command = command.replace("--protocol grpc", f"--protocol grpc --url localhost:{self.ports['--grpc-port']}")
        command = re.sub(r"(client.py (?!.*grpc).*)", rf"\1 --url http://localhost:{self.ports['--port']}", command)
        command = command.replace(".venv/", f"{VENV}/").replace("curl ", "curl -sS --fail-with-body ")
        ended = subprocess.run(
            ["bash", "-euc", command], cwd=self.folder, capture_output=True, text=True, timeout=200, check=False
        )
        assert ended.returncode == 0, f"{command}\n{ended.stdout}{ended.stderr}"
        return ended.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory, shared: Path, astronaut: bytes) -> Iterator[Copy]:
    if not (VENV / ".serve").is_file():
        pytest.skip("this virtual environment was not made by `make`")
    if not shutil.which("curl"):
        pytest.skip("curl is not installed")
    folder = tmp_path_factory.mktemp("readme")
    for part in PARTS:
        source = ROOT / part
        copy_part = shutil.copytree if source.is_dir() else shutil.copy2
        copy_part(source, folder / part)
    shutil.copy2(shared / "weights/yolov5n-0.5.pt", folder)
    cv2.imwrite(str(folder / "img.jpg"), cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR))
    shutil.copy2(locate("package:skimage/data/page.png"), folder)
    with Image.open(folder / "page.png") as page:
        page.save(folder / "pages.tiff", save_all=True, append_images=[page])
        page.save(folder / "scan.pdf", save_all=True, append_images=[page], resolution=72)
    make_video(folder / "party.mp4", frames=25, size=(640, 360))
    ports = {f"--{name.replace('_', '-')}": port for name, port in free_ports().items()}
    arguments = " ".join(f"{option} {port}" for option, port in ports.items())
    process = subprocess.Popen(
        ["make", "serve", f"VENV={VENV}", f"ARGS={arguments}"], cwd=folder, stdout=subprocess.PIPE, text=True,
        process_group=0,
    )  # fmt: skip
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line.startswith("Try: curl"):
            break
    assert any(line.startswith("Ready in") for line in lines), lines
    yield Copy(folder, ports)
    # As Ctrl-C at a terminal: to make and serve.py alike.
    os.killpg(process.pid, signal.SIGINT)
    process.stdout.close()
    process.wait(60)


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN)
def test_every_command_works_in_the_order_of_the_page(copy: Copy, page: str) -> None:
    lines = [line for block in blocks(page, "sh") for line in block.splitlines() if not line.startswith("make ")]
    outputs = {command: copy.run(command) for command in lines}
    faces = [out for command, out in outputs.items() if "/predictions/fd" in command]
    assert all(len(json.loads(out)) == 1 for out in faces)
    if page == "README.md":
        assert len(outputs) >= 8
        assert len(json.loads(outputs["curl -T page.png localhost:8080/predictions/td1"])) == 7
        assert len(list((copy.folder / "result").iterdir())) >= 5
    elif page == "docs/models.md":
        assert all(name in outputs[".venv/bin/python repack.py --list"] for name in ("centerface", "craft-refined"))
    elif page == "docs/documents.md":
        suffixes = {path.name.partition(".")[2] for path in (copy.folder / "result").glob("scan.*")}
        assert suffixes == {"pdf", "txt", "md", "json", "hocr", "alto.xml"}
        assert (copy.folder / "result/pages.txt").read_text("utf-8").count("Region-based segmentation") == 2
    elif page == "docs/client.md":
        made = {path.name for path in (copy.folder / "result").iterdir()}
        assert {"img.face-1.png", "img.aligned-1.png", "img.blurred.jpg", "party.blurred.mp4", "party.jsonl"} <= made
        assert len((copy.folder / "result/party.jsonl").read_text("utf-8").splitlines()) == 25
    else:
        (described,) = [out for command, out in outputs.items() if command == "curl localhost:8081/models/fd3"]
        assert len(json.loads(described)[0]["workers"]) == 2


@pytest.mark.slow
@pytest.mark.parametrize("page", ["README.md", "docs/operating.md"])
def test_every_snippet_of_python_works(copy: Copy, page: str) -> None:
    (snippet,) = blocks(page, "python")
    (copy.folder / "snippet.py").write_text(snippet.replace("localhost:8080", f"localhost:{copy.ports['--port']}"))
    assert "0.91" in copy.run(".venv/bin/python snippet.py")


@pytest.mark.parametrize(("number", "request_"), [(0, "img.jpg fd1"), (1, "page.png ocr1")])
@pytest.mark.slow
def test_the_answers_on_the_page_are_the_answers(copy: Copy, number: int, request_: str) -> None:
    (shown,) = json.loads(blocks("README.md", "json")[number])
    picture, model = request_.split()
    first = json.loads(copy.run(f"curl -T {picture} localhost:8080/predictions/{model}"))[0]
    assert shown.keys() == first.keys()
    for key, value in shown.items():
        assert first[key] == (value if isinstance(value, str) else pytest.approx(value, abs=0.01)), key


def anchors(page: str) -> set[str]:
    """The names that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.*)$", PAGES[page], re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_the_readme_is_short() -> None:
    assert len(PAGES["README.md"].splitlines()) <= 135


@pytest.mark.parametrize("page", PAGES)
def test_links_and_make_targets_exist(page: str) -> None:
    text = re.sub(r"```.*?```", "", PAGES[page], flags=re.DOTALL)
    for link, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", text):
        target = ((ROOT / page).parent / link).resolve() if link else ROOT / page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target.relative_to(ROOT).as_posix()), f"{link}#{anchor}"
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in set(re.findall(r"\bmake (serve|demo|test-all|test|check|format|bench|chaos|audit)\b", PAGES[page])):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", ["README.md", "docs/docker.md"])
def test_no_two_containers_of_a_page_share_a_name_or_a_port(page: str) -> None:
    running: dict[str, str] = {}
    for words in re.findall(r"docker ((?:run|rm) .*)", PAGES[page]):
        name = re.search(r"(?:--name|rm -f) (\w+)", words)
        if name and words.startswith("rm"):
            running.pop(name[1], None)
        elif name and (port := re.search(r"-p \S*?(\d+):8080", words)):
            assert name[1] not in running, words
            assert port[1] not in running.values(), words
            running[name[1]] = port[1]
