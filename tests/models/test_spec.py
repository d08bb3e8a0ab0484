import sys
from pathlib import Path

import pytest

from detserve import models
from detserve.errors import BadSpec
from detserve.models.spec import import_spec

SPEC = models.find("centerface")


def test_override_changes_fields_and_takes_lists_as_yaml_has_them() -> None:
    changed = SPEC.override(size=[640, 384], conf=0)
    assert changed.size == (640, 384)
    assert changed.conf == 0.0
    assert SPEC.size == (320, 320)


def test_settings_survive_the_way_through_yaml() -> None:
    changed = SPEC.override(size=(64, 96), iou=0.2)
    assert SPEC.override(**changed.settings()) == changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"sizes": [64, 64]}, "did you mean 'size'"),
        ({"size": [63, 64]}, "multiples of 16"),
        ({"size": [0, 64]}, "multiples of 16"),
        ({"size": 320}, "expected tuple"),
        ({"conf": 1.5}, "conf"),
        ({"conf": "high"}, "expected float"),
        ({"iou": -1}, "iou"),
        ({"fill": 256}, "fill"),
        ({"max_detections": 0}, "max_detections"),
        ({"max_detections": True}, "expected int"),
        ({"channels": "GBR"}, "channels"),
        ({"std": [0, 1, 1]}, "std"),
    ],
)
def test_what_does_not_hold_together_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(BadSpec, match=message):
        SPEC.override(**change)


def test_every_model_names_its_weights_licence_and_accuracy() -> None:
    for name, spec in models.catalogue().items():
        assert spec.name == name
        assert spec.weights.origin
        assert spec.weights.licence
        assert spec.weights.accuracy


def test_an_unknown_model_names_the_known_ones() -> None:
    with pytest.raises(BadSpec, match="centerface"):
        models.find("centreface")


def test_a_users_own_model_is_found_by_its_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_faces.py").write_text(
        "from detserve.models.centerface.spec import SPECS\nSpec = SPECS[0].override(conf=0.9)\nNothing = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert models.find("my_faces:Spec").conf == 0.9
    for path in ("my_faces:Nothing", "my_faces:Absent", "no_such_module:Spec"):
        with pytest.raises(BadSpec, match=path.partition(":")[2]):
            import_spec(path)
    sys.modules.pop("my_faces")
