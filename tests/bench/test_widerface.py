"""The evaluator of faces against figures made by hand."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import io

from benchmarks import asking, facelists, widerface
from benchmarks.facecurve import average_precision, normalised
from benchmarks.facelists import LEVELS, BadLists, Faces

FACES = [[0, 0, 99, 99], [200, 0, 99, 99], [400, 0, 49, 49]]


def faces(*boxes: list[int], counts: list[bool] | None = None) -> Faces:
    mask = np.array(counts if counts is not None else [True] * len(boxes), bool)
    return Faces(np.array(boxes, np.float64).reshape(-1, 4), dict.fromkeys(LEVELS, mask))


def ap(found: list[list[list[float]]], there: list[Faces]) -> float:
    rows = [np.array(each, np.float64).reshape(-1, 5) for each in found]
    return average_precision(normalised(rows), there, "easy")


def test_all_found_and_nothing_else_is_one() -> None:
    assert ap([[[*box, 0.9 - i / 10] for i, box in enumerate(FACES)]], [faces(*FACES)]) == pytest.approx(1)


def test_a_wrong_box_between_two_right_ones() -> None:
    # Right, wrong, right: precision 1 up to recall 1/2, then 2/3.
    found = [[0, 0, 99, 99, 0.9], [600, 0, 50, 50, 0.5], [200, 0, 99, 99, 0.1]]
    assert ap([found], [faces(*FACES[:2])]) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_a_face_that_does_not_count_takes_its_boxes_along() -> None:
    found = [[0, 0, 99, 99, 0.9], [200, 0, 99, 99, 0.5], [201, 0, 99, 99, 0.4]]
    assert ap([found], [faces(*FACES[:2], counts=[True, False])]) == pytest.approx(1)
    # The same where both count: the second box of the second face is wrong, but comes after all are found.
    assert ap([found], [faces(*FACES[:2])]) == pytest.approx(1)
    # And before: right, wrong, right.
    again = [[0, 0, 99, 99, 0.9], [1, 0, 99, 99, 0.8], [200, 0, 99, 99, 0.4]]
    assert ap([again], [faces(*FACES[:2])]) == pytest.approx(0.5 + 0.5 * 2 / 3)


def test_a_find_is_half_an_overlap_of_boxes_with_their_last_pixels() -> None:
    # 100 x 100 pixels and 100 x 50 of them: 5000 / 10000.
    assert ap([[[0, 0, 99, 49, 0.9]]], [faces([0, 0, 99, 99])]) == pytest.approx(1)
    assert ap([[[0, 0, 99, 48, 0.9]]], [faces([0, 0, 99, 99])]) == 0


def test_scores_are_spread_over_all_pictures() -> None:
    # The right one of the second picture comes after the wrong one of the first: precision 1/2 at recall 1.
    found = [[[600, 0, 50, 50, 0.9]], [[0, 0, 99, 99, 0.3]]]
    there = [faces(FACES[1]), faces(FACES[0])]
    assert ap(found, there) == pytest.approx(0.5 * 0.5)
    assert normalised([np.array([[0, 0, 1, 1, 0.2]]), np.array([[0, 0, 1, 1, 0.6], [0, 0, 1, 1, 0.4]])])[1][
        :, 4
    ] == pytest.approx([1, 0.5])


def test_wrong_boxes_on_a_picture_without_faces_are_passed_over() -> None:
    # As the published evaluation does: a picture without faces is not looked at.
    assert ap([[[0, 0, 99, 99, 0.9]], [[0, 0, 9, 9, 1.0]]], [faces(FACES[0]), faces()]) == pytest.approx(1)


def test_nothing_found_is_zero() -> None:
    assert ap([[]], [faces(*FACES)]) == 0
    assert ap([[[0, 0, 9, 9, 0.5]]], [faces()]) == 0


TEXT = """0--Parade/a.jpg
2
10 10 60 80 0 0 0 0 0 0
10 10 20 20 0 0 0 1 0 0
0--Parade/none.jpg
0
0 0 0 0 0 0 0 0 0 0
1--Other/b.jpg
1
5 5 30 35 2 0 0 0 0 0
"""


def test_lists_as_text(tmp_path: Path) -> None:
    (tmp_path / "wider_face_val_bbx_gt.txt").write_text(TEXT)
    lists = facelists.load(tmp_path)
    assert not lists.official
    assert {name: each.boxes.tolist() for name, each in lists.faces.items()} == {
        "0--Parade/a.jpg": [[10, 10, 60, 80], [10, 10, 20, 20]],
        "0--Parade/none.jpg": [],
        "1--Other/b.jpg": [[5, 5, 30, 35]],
    }
    first, _, last = lists.faces.values()
    assert [first.levels[level].tolist() for level in LEVELS] == [[True, False]] * 3
    assert [last.levels[level].tolist() for level in LEVELS] == [[False], [True], [True]]


@pytest.mark.parametrize("text", ["a.jpg\n", "a.jpg\ntwo\n", "a.jpg\n2\n1 2 3 4 0 0 0 0 0 0\n"])
def test_broken_lists_are_named(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "wider_face_val_bbx_gt.txt").write_text(text)
    assert widerface.main([str(tmp_path)]) == 1
    assert "wider_face_val_bbx_gt.txt:" in capsys.readouterr().err


def test_what_cannot_be_read_or_asked_is_told_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "0--Parade").mkdir()
    Image.new("RGB", (200, 100)).save(tmp_path / "0--Parade/a.jpg")
    (tmp_path / "wider_face_val_bbx_gt.txt").write_bytes("0--Parade/é.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n".encode("latin1"))
    assert widerface.main([str(tmp_path)]) == 1
    assert "wider_face_val_bbx_gt.txt:0:" in capsys.readouterr().err
    (tmp_path / "wider_face_val_bbx_gt.txt").write_text("0--Parade/a.jpg\n0\n0 0 0 0 0 0 0 0 0 0\n")
    assert widerface.main([str(tmp_path), "--url", "http://127.0.0.1:1/predictions/fd1"]) == 1
    assert "widerface: no answer of http://127.0.0.1:1/predictions/fd1" in capsys.readouterr().err.splitlines()[-1]
    assert widerface.main([str(tmp_path), "--archive", "/nope.mar"]) == 1
    assert "widerface: no file /nope.mar" in capsys.readouterr().err


def test_boxes_are_of_the_picture_as_it_is_seen(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (200, 100)).save(tmp_path / "a.jpg", exif=exif)
    (row,) = widerface.boxes([{"xywh_ratio": [0.5, 0.5, 0.2, 0.2], "conf": 0.9}], tmp_path / "a.jpg")
    assert row.tolist() == pytest.approx([40, 80, 20, 40, 0.9])


def test_a_folder_without_lists_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadLists, match="neither"):
        facelists.load(tmp_path)


def cells(rows: list) -> np.ndarray:
    """A column of cells, as MATLAB has them."""
    column = np.empty((len(rows), 1), object)
    for i, row in enumerate(rows):
        column[i, 0] = row
    return column


def save_mats(folder: Path, names: list[list[str]], boxes: list[list], easy: list[list], **others: list[list]) -> None:
    events = cells([f"{i}--Event" for i in range(len(names))])
    files = cells([cells(each) for each in names])
    truth = cells([cells([np.array(b, float).reshape(-1, 4) for b in each]) for each in boxes])
    io.savemat(folder / "wider_face_val.mat", {"event_list": events, "file_list": files, "face_bbx_list": truth})
    for level, chosen in ({"easy": easy} | others).items():
        lists = cells([cells([np.array(n, np.uint8).reshape(-1, 1) for n in each]) for each in chosen])
        io.savemat(folder / f"wider_{level}_val.mat", {"gt_list": lists, "file_list": files, "event_list": events})


def test_lists_as_matlab_files_through_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    boxes = [[[[0, 0, 99, 99], [100, 0, 49, 49]]], [[[0, 0, 9, 9]]]]
    save_mats(tmp_path, [["a"], ["b"]], boxes, [[[1]], [[]]], medium=[[[1, 2]], [[]]], hard=[[[1, 2]], [[1]]])
    for name in ("0--Event/a.jpg", "1--Event/b.jpg"):
        (tmp_path / "images" / name).parent.mkdir(parents=True)
        Image.new("RGB", (200, 100)).save(tmp_path / "images" / name)
    answers = iter([[[0.25, 0.5, 0.5, 1.0, 0.9], [0.625, 0.25, 0.25, 0.5, 0.5]], [[0.75, 0.75, 0.1, 0.1, 0.7]]])

    def ask(url: str, **_: object) -> asking.Answer:
        return [{"xywh_ratio": row[:4], "conf": row[4]} for row in next(answers)]

    monkeypatch.setattr(asking, "_over_http", lambda session, url, picture, headers: ask(url))
    assert widerface.main([str(tmp_path)]) == 0
    # Easy: right (0.9), wrong (0.7), ignored. Medium: right, wrong, right of 2. Hard: the same of 3.
    easy, medium, hard = (float(line.split()[1]) for line in capsys.readouterr().out.splitlines())
    assert easy == pytest.approx(1)
    assert medium == pytest.approx(0.5 + 0.5 * 2 / 3, abs=1e-4)
    assert hard == pytest.approx(1 / 3 + 1 / 3 * 2 / 3, abs=1e-4)
    (tmp_path / "images/1--Event/b.jpg").unlink()
    assert widerface.main([str(tmp_path)]) == 1
    assert "lacks 1 of 2 pictures, 1--Event/b.jpg" in capsys.readouterr().err
