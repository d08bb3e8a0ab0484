"""What all tests share: where the reference material lies, and a real photograph of a face."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference outputs, weights and pictures beside the checkout."""
    folder = ROOT.parent / "shared"
    if not (folder / "golden").is_dir():
        pytest.skip("the reference material (../shared) is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def astronaut() -> bytes:
    """A photograph of one face, 512x512 PNG, from the package scikit-image."""
    package = find_spec("skimage")
    assert package is not None and package.submodule_search_locations, "pip install -r requirements/weights.txt"
    return (Path(package.submodule_search_locations[0]) / "data" / "astronaut.png").read_bytes()
