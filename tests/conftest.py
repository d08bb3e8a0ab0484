"""What all tests share: the reference material, real photographs, packed archives; and which test runs where."""

from __future__ import annotations

import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from tests.harness.archives import Shelf

ROOT = Path(__file__).parents[1]

LONGEST = (
    "e2e", "serve", "docker/test_entrypoint.py", "pack/test_readme_table.py", "pack/test_repack.py",
    "pack/test_repack_int8.py", "e2e/test_readme.py", "e2e/test_kserve.py", "test_wheel.py", "serve/test_drain.py",
    "engines/test_no_pickles.py", "docker/test_healthcheck.py",
)  # fmt: skip
"""The rows of tests that come first where there are several processes, so that none ends long after the others."""
APART = (
    "e2e/test_kserve.py", "e2e/test_leaving.py", "e2e/test_readme.py", "e2e/test_own_model_page.py",
    "e2e/test_archives_of_old.py", "serve/test_drain.py", "serve/test_launch.py",
)  # fmt: skip
"""Files of these rooms that do not share the room's servers."""

# Threads that wait for each other spin, and take four times the processor where they do not have it for themselves.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# A shell lets what it runs in the background ignore Ctrl-C, and so would the commands that tests end by it.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
pytest.register_assert_rewrite("tests.harness")
hypothesis.settings.register_profile("suite", deadline=None)  # other processes may have the processor for seconds
hypothesis.settings.load_profile("suite")


def row(node: str) -> str:
    """Which tests run one after the other in one process: those of a room that shares a server, else of a file."""
    file = node.partition("::")[0].removeprefix("tests/")
    room = file.partition("/")[0]
    return room if room in ("e2e", "serve", "chaos") and file not in APART else file


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    ranks = {name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: ranks.get(row(item.nodeid), len(ranks)))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Hand out the tests by rows. Its own `--dist loadgroup` does not know this pytest's node ids."""
    from xdist.scheduler import LoadScopeScheduling

    class ByRow(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return row(nodeid)

    config.option.loadscopereorder = False
    return ByRow(config, log)


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


@pytest.fixture(scope="session")
def portraits(astronaut: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of twelve pictures with a face each: the photograph mirrored, in three sizes, in two brightnesses."""
    import cv2
    import numpy as np

    folder = tmp_path_factory.mktemp("portraits")
    whole = cv2.imdecode(np.frombuffer(astronaut, np.uint8), cv2.IMREAD_COLOR)
    for i, cut in enumerate((whole, whole[:300, 80:400], whole[20:240, 120:330])):
        for turned in (cut, cut[:, ::-1]):
            for share in (1.0, 0.8):
                name = f"{i}-{'mirrored' if turned is not cut else 'upright'}-{share}.png"
                cv2.imwrite(str(folder / name), (turned * share).astype(np.uint8))
    return folder


@pytest.fixture(scope="session")
def shelf(tmp_path_factory: pytest.TempPathFactory) -> Shelf:
    """fd1, fd640, td1 and ocr1, each packed once a run, also where the run has several processes."""
    from tests.harness.archives import Shelf

    own = tmp_path_factory.getbasetemp()
    return Shelf((own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shelf")


@pytest.fixture(scope="session")
def nncf() -> None:
    """Skips where there is no NNCF, which makes engines in int8."""
    if find_spec("nncf") is None:
        pytest.skip("pip install --no-deps -r requirements/int8.txt")
