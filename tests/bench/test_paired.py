import zipfile
from pathlib import Path

import pytest

from benchmarks import paired
from tests.harness.archives import Shelf


class Clock:
    """A worker whose times are known: first those of the warm-up, then these."""

    def __init__(self, seconds: list[float]) -> None:
        self.seconds = iter([9.0] * paired.WARM_UP + seconds)

    def ask(self, picture: int) -> tuple[float, float]:
        seconds = next(self.seconds)
        return seconds, seconds / 2 + 0.5


def test_ratios_are_of_pairs_and_the_warm_up_is_left_out() -> None:
    old, new = Clock([1.0, 2.0, 4.0]), Clock([1.5, 2.0, 5.0])
    # On the clock 1.5, 1, 1.25; of the processor 1.25 / 1, 1.5 / 1.5, 3 / 2.5.
    assert paired.compare(old, new, 0, rounds=3) == pytest.approx((1.25, 1.2, 2000, 2000))


@pytest.mark.slow
def test_an_archive_beside_itself(
    shelf: Shelf, astronaut: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("ts.model_loader", reason="TorchServe is not installed")
    (tmp_path / "face.png").write_bytes(astronaut)
    archive = str(shelf.get("fd1"))
    assert paired.main([archive, archive, str(tmp_path / "face.png"), "--rounds", "5"]) == 0
    name, clock, processor, *_ = capsys.readouterr().out.splitlines()[1].split()
    assert name == "face.png"
    assert 0.3 < float(clock) < 3
    assert 0.3 < float(processor) < 3


@pytest.mark.slow
def test_what_is_no_archive_or_not_there_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    archive, picture = tmp_path / "a.mar", tmp_path / "a.png"
    archive.write_bytes(b"no zip")
    with pytest.raises(SystemExit):
        paired.main([str(archive), str(archive), str(picture)])
    assert "a.mar is no archive" in capsys.readouterr().err
    with zipfile.ZipFile(archive, "w"):
        pass
    with pytest.raises(SystemExit):
        paired.main([str(archive), str(archive), str(picture)])
    assert "a.png: there is no such picture" in capsys.readouterr().err
    picture.write_bytes(b"")
    assert paired.main([str(archive), str(archive), str(picture)]) == 1
    assert "paired: the worker ended" in capsys.readouterr().err
