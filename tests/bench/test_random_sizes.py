"""Pictures of ever other sizes, and an archive that is asked for them."""

from pathlib import Path

import pytest

from benchmarks import random_sizes as sizes
from detserve.pack.weights import locate
from detserve.pictures.decode import decode
from tests.harness.archives import Shelf


def test_each_picture_has_a_size_of_its_own_and_the_same_words() -> None:
    page = locate("package:skimage/data/page.png").read_bytes()
    sheets = list(sizes.sheets([page], 12))
    assert sheets == list(sizes.sheets([page], 12))
    pictures = [decode(sheet) for sheet in sheets]
    assert len({picture.size for picture in pictures}) == 12
    for picture in pictures:
        assert all(sizes.SIDES[0] <= side <= sizes.SIDES[1] for side in picture.size)
        assert picture.rgb.min() < 60 < 200 < picture.rgb.max()


@pytest.mark.slow
def test_an_archive_is_asked_for_all(shelf: Shelf, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("ts.model_loader", reason="TorchServe is not installed")
    assert sizes.main([str(shelf.get("td1")), "--count", "100"]) == 0
    *_, after_one, after_all = capsys.readouterr().out.splitlines()
    assert after_one.split()[:2] == ["after", "1"]
    assert after_all.split()[:3] == ["1", "to", "100"]
    assert int(after_all.split()[-1]) > 100


def test_what_is_no_archive_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.mar").write_bytes(b"no zip")
    with pytest.raises(SystemExit):
        sizes.main([str(tmp_path / "a.mar")])
    assert "a.mar is no archive" in capsys.readouterr().err
