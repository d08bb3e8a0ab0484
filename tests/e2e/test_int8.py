"""An engine in int8, calibrated by repack.py's code, behind the real server."""

from pathlib import Path

import pytest
import requests

from detserve.pack.packer import ModelChoice, PackRequest, pack


@pytest.mark.usefixtures("nncf")
@pytest.mark.slow
def test_a_face_is_found_in_int8(server, portraits: Path, astronaut: bytes) -> None:
    order = PackRequest(
        name="fd8",
        detect=ModelChoice(model="centerface"),
        precision="int8",
        calibration=[str(portraits)],
        out=server.store,
    )
    pack(order)
    url = f"{server.management}/models"
    added = requests.post(f"{url}?url=fd8.mar&initial_workers=1&synchronous=true", timeout=60)
    assert added.status_code == 200, added.text
    try:
        (face,) = server.predict("fd8", astronaut).json()
        (wanted,) = server.predict("fd1", astronaut).json()
    finally:
        requests.delete(f"{url}/fd8", timeout=60)
    for key, tolerance in (("xywh_ratio", 0.02), ("conf", 0.1), ("landmarks_ratio", 0.02)):
        assert face[key] == pytest.approx(wanted[key], abs=tolerance), key
    assert face != wanted
