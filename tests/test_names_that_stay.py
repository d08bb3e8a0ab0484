"""What a user's own model imports, and what users type, from before the rooms."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import detserve.core.detections
import detserve.detections
import detserve.models.spec
import detserve.spec
from detserve.models import centerface, yolov5face
from detserve.models.spec import import_spec

ROOT = Path(__file__).parents[1]


def test_specs_and_detections_have_their_names_of_old() -> None:
    for name in (
        "ModelSpec",
        "DetectorSpec",
        "TextSpec",
        "ReaderSpec",
        "NetworkSpec",
        "Weights",
        "Outputs",
        "import_spec",
    ):
        assert getattr(detserve.spec, name) is getattr(detserve.models.spec, name)
    for name in ("Detections", "Floats", "Pixels"):
        assert getattr(detserve.detections, name) is getattr(detserve.core.detections, name)


def test_families_have_their_names_of_old() -> None:
    assert centerface.CenterFace.__name__ == "CenterFace" and centerface.SPECS and centerface.STRIDE == 4
    assert yolov5face.Yolov5Face.__name__ == "Yolov5Face" and len(yolov5face.SPECS) == 5


def test_a_model_of_ones_own_is_found_by_them() -> None:
    """A module that knows none of the rooms; tests/e2e serves it."""
    source = (ROOT / "tests/e2e/own_model.py").read_text("utf-8")
    assert "from detserve.spec import" in source and "from detserve.models.centerface import" in source
    assert import_spec("tests.e2e.own_model:Spec").name == "centerface"


def test_versions_are_managed_by_their_command_of_old() -> None:
    command = [sys.executable, "-m", "detserve.serving.versions", "--help"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "--retire VERSION" in ended.stdout
