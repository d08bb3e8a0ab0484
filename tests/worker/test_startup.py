"""What a worker's Python runs first: torch waits until something of it is used."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HANDLERS = Path(__file__).parents[2] / "handlers"


def said(code: str, *folders: Path) -> list[str]:
    """What a Python says that starts as a worker does, the archive's folder first."""
    path = os.pathsep.join(map(str, (HANDLERS, *folders)))
    ended = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stdout.splitlines()


PROTOCOL = "import ts.protocol.otf_message_handler as protocol, ts.service\n"


def test_the_protocol_of_torchserve_loads_no_torch() -> None:
    assert said(PROTOCOL + "print('torch' in sys.modules, len([n for n in sys.modules if n.startswith('torch')]))") == [
        "False 0"
    ]


def test_who_uses_torch_afterwards_gets_torch() -> None:
    lines = said(
        PROTOCOL + "import torch.nn.functional as f, torch\n"
        "print(f.relu(torch.tensor([-1.0, 2.0])).tolist(), protocol.torch.Tensor is torch.Tensor)\n"
        "print(protocol.create_predict_response([torch.tensor([1])], {0: 'a'}, 'm', 200)[-20:] != b'')"
    )
    assert lines == ["[0.0, 2.0] True", "True"]


@pytest.mark.parametrize("answer", ["[__import__('torch').tensor([1.0, 2.0])]", "[b'bytes']", "['text']", "[{'a': 1}]"])
def test_an_answer_is_sent_as_without_it(answer: str) -> None:
    code = f"{PROTOCOL}print(protocol.create_predict_response({answer}, {{0: 'a'}}, 'm', 200).hex())"
    without = "sys.meta_path = [f for f in sys.meta_path if f.__module__ != 'sitecustomize']\n"
    assert said(code) == said(without + code)


def test_what_the_machine_runs_at_a_start_is_still_run(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.argv.append('was here')\nprint(__name__)\n")
    assert said("print(sys.argv[-1])", tmp_path) == ["sitecustomize", "was here"]
