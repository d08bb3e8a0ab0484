"""Archives as targets, without a server."""

import asyncio
import json
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
import pytest

from detserve.bench.engine import EngineTarget, packed, rebuilt
from detserve.bench.pacer import Closed
from detserve.bench.runner import Runner, Timing
from detserve.bench.summary import Summary
from detserve.bench.target import Outcome
from detserve.core.machine import gpus
from detserve.errors import BadArchive, BadWeights
from detserve.pack.packer import ModelChoice, PackRequest, pack
from detserve.worker.detector import HostDetector


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    order = PackRequest(
        name="fd1", detect=ModelChoice(model="centerface"), out=tmp_path_factory.mktemp("store"), backend="eager"
    )
    return pack(order)


def answers(target: EngineTarget, *pictures: bytes) -> list[Outcome]:
    async def run() -> list[Outcome]:
        async with target.open() as attack:
            return await asyncio.gather(*map(attack, pictures))

    return asyncio.run(run())


def test_the_packed_engine_answers_as_the_handler_does(archive: Path, astronaut: bytes) -> None:
    with packed(archive) as target:
        assert target.engines == "eager fp32"
        good, bad = answers(target, astronaut, b"not a picture")
    (face,) = json.loads(good.body)
    assert face["xywh_ratio"] == pytest.approx([0.44, 0.23, 0.17, 0.23], abs=0.03)
    assert all(good.stages[name] > 0 for name in ("decode", "infer", "post"))
    assert (good.status, bad.status) == ("200", "400")
    assert json.loads(bad.body)["type"] == "bad_picture"


@pytest.mark.skipif(gpus() > 0, reason="on a GPU inputs are squares")
def test_a_lying_picture_gets_an_input_that_is_no_square(archive: Path) -> None:
    lying = cv2.imencode(".jpg", np.zeros((90, 160, 3), np.uint8))[1].tobytes()
    seen = []
    with packed(archive) as target, mock.patch.object(HostDetector, "canvases", autospec=True) as canvases:
        canvases.side_effect = lambda self, n, size: seen.append(size) or np.zeros((n, size[1], size[0], 3), np.uint8)
        answers(target, lying)
    assert seen == [(320, 192)]


def test_opencv_has_no_more_threads_than_the_engine(archive: Path) -> None:
    """Its own would take the other core from the other worker."""
    cv2.setNumThreads(2)
    with packed(archive) as target:
        answers(target)
    assert cv2.getNumThreads() == 1


def test_the_model_is_built_anew_for_another_backend(archive: Path, astronaut: bytes) -> None:
    with packed(archive) as target, rebuilt(archive, "torchscript") as other:
        assert other.engines == "torchscript fp32"
        (wanted,), (found,) = answers(target, astronaut), answers(other, astronaut)
    assert json.loads(found.body)[0]["xywh_ratio"] == pytest.approx(json.loads(wanted.body)[0]["xywh_ratio"], abs=1e-3)


@pytest.mark.slow
@pytest.mark.timed
def test_callers_beyond_the_one_engine_wait_their_turn(archive: Path, astronaut: bytes) -> None:
    with packed(archive) as target, Runner(target, [astronaut], 1) as runner:
        one, four = (Summary.of(runner.run(Closed(callers), Timing(0.2, 1.0))) for callers in (1, 4))
    assert one.errors == four.errors == {}
    assert four.p50 > 2 * one.p50
    assert four.rate < 2 * one.rate


def test_who_waits_too_long_times_out(archive: Path, astronaut: bytes) -> None:
    with packed(archive) as target:
        impatient = EngineTarget(target.folder, target.recipe, timeout=0.0)
        statuses = [answer.status for answer in answers(impatient, *[astronaut] * 3)]
    assert statuses.count("timeout") >= 2


def test_other_weights_and_no_archive_are_refused(archive: Path, tmp_path: Path) -> None:
    (tmp_path / "other.pt").write_bytes(b"other")
    with pytest.raises(BadWeights), rebuilt(archive, "eager", [str(tmp_path / "other.pt")]):
        pass
    with pytest.raises(BadArchive), packed(tmp_path / "none.mar"):
        pass
