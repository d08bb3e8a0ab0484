"""client.py but for the real server: finding pictures, drawing, retries, what it prints and how it ends."""

from __future__ import annotations

import base64
import json
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from detserve.client import command as client
from detserve.client import drawing
from detserve.client.answer import Answer, Failure, Refused, parse
from detserve.client.command import results
from detserve.client.faces.wanted import Wanted
from detserve.client.protocol import Reply
from detserve.errors import SetupError
from detserve.pictures.decode import decode
from detserve.pictures.files import find
from tests.client.test_transport import GOOD, error, http_server

FACE = {"xywh_ratio": [0.5, 0.5, 0.4, 0.4], "conf": 0.9}
QUAD = [0.2, 0.4, 0.8, 0.4, 0.8, 0.6, 0.2, 0.6]


def touch(folder: Path, *names: str) -> list[Path]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return paths


# Finding pictures


def test_a_folder_stands_for_its_pictures_sorted_and_for_nothing_below(tmp_path: Path) -> None:
    touch(tmp_path, "b.jpg", "notes.txt", "deeper/d.jpg", "folder.jpg/e.txt", "._b.jpg")
    wanted = touch(tmp_path, "a.PNG", "c.webp", "d.tif", "e.gif", "f.jpeg", "g.bmp", "h.tiff")
    assert find([str(tmp_path)]) == sorted([*wanted, tmp_path / "b.jpg"])


def test_files_are_taken_whatever_their_names_and_each_once(tmp_path: Path) -> None:
    odd, one, two = touch(tmp_path, "[1] scan", "1.jpg", "2.jpg")
    assert find([str(odd), str(two), str(tmp_path / "*.jpg"), str(tmp_path)]) == [odd, two, one]


def test_what_holds_no_picture_is_said(tmp_path: Path) -> None:
    (tmp_path / "nowhere.jpg").symlink_to(tmp_path / "gone.jpg")
    (tmp_path / "empty").mkdir()
    for source in ("empty", "*.png", "absent.jpg", "nowhere.jpg", "*.jpg"):
        with pytest.raises(SetupError, match="no picture at"):
            find([str(tmp_path / source)])


def test_no_two_results_have_one_name() -> None:
    paths = [Path("a/1.jpg"), Path("b/1.jpg"), Path("b/1-2.png"), Path("A/1.png"), Path("X.jpg"), Path("x.jpg")]
    assert results.names(paths) == ["1", "1-2", "1-2-2", "1-3", "X", "x-2"]


@contextmanager
def no_room(most: int) -> Iterator[None]:
    """No file of this process takes more than so many bytes, as on a disk that is full."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


def test_a_full_disk_leaves_the_results_as_they_were(tmp_path: Path) -> None:
    photo = cv2.imencode(".jpg", np.zeros((40, 60, 3), np.uint8))[1].tobytes()
    for json_too, drawn in ((True, False), (False, True)):
        folder = results.Folder(tmp_path, json_too, drawn, Wanted(), Answer)
        folder.write("a", photo, Answer([FACE]))
        before = {path: path.read_bytes() for path in tmp_path.iterdir()}
        with pytest.raises(OSError, match="too large"), no_room(100):
            folder.write("a", photo, Answer([FACE] * 100))
        with pytest.raises(OSError, match="too large"), no_room(100):
            folder.write("b", photo, Answer([FACE] * 100))
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


# Answers


def test_answers_are_lists_objects_with_maps_or_errors() -> None:
    assert parse(Reply(200, b"[]")) == Answer([])
    png = base64.b64encode(b"png").decode()
    body = json.dumps({"detections": [FACE], "maps": {"text": png}}).encode()
    assert parse(Reply(200, body)) == Answer([FACE], {"text": b"png"})
    with pytest.raises(Failure, match=r"^422: too much$") as caught:
        parse(Reply(200, b'{"code": 422, "type": "invalid_option", "message": "too\\nmuch"}'))
    assert not caught.value.passes
    assert isinstance(caught.value, Refused)
    assert caught.value.type == "invalid_option"


@pytest.mark.parametrize("body", [b"<html>", b"", b"[1]", b'{"tabby": 0.9}', b"\xff"])
def test_what_is_no_answer_of_detserve_is_a_failure(body: bytes) -> None:
    with pytest.raises(Failure, match=r"^502: (not an answer of detserve|an empty answer)"):
        parse(Reply(502, body))


@pytest.mark.parametrize("name", ["../text", "a/b", ""])
def test_a_map_whose_name_leads_elsewhere_is_not_taken(name: str) -> None:
    with pytest.raises(Failure, match="not an answer"):
        parse(Reply(200, json.dumps({"detections": [], "maps": {name: ""}}).encode()))


# Drawing


def grey_picture(width: int = 200, height: int = 100) -> np.ndarray:
    return np.full((height, width, 3), 128, np.uint8)


def changed(drawn: np.ndarray) -> np.ndarray:
    return (drawn != 128).any(axis=2)


def test_a_box_and_its_landmarks_are_drawn_where_they_are() -> None:
    picture = grey_picture()
    found = {**FACE, "landmarks_ratio": [0.5, 0.5, -0.1, 1.2]}
    drawn = drawing.draw(picture, [found])
    assert not changed(picture).any()
    marks = changed(drawn)
    assert marks[30:71, 60].all()
    assert marks[70, 60:141].all()
    assert tuple(drawn[50, 100]) == drawing.ORANGE
    assert not marks[80:].any()
    assert not marks[:, :55].any()


def test_a_quad_takes_the_place_of_its_box_and_a_polygon_comes_with_it() -> None:
    quad = {**FACE, "quad_ratio": [0.5, 0.3, 0.7, 0.5, 0.5, 0.7, 0.3, 0.5], "text": " "}
    drawn = drawing.draw(grey_picture(200, 200), [{**quad, "polygon_ratio": [0.4, 0.5, 0.6, 0.5, 0.5, 0.55]}])
    assert changed(drawn)[100, 60]
    assert changed(drawn)[140, 100]
    assert not changed(drawn)[135:, :90].any(), "the box was drawn"
    assert drawn[100, 100].tolist() == pytest.approx(drawing.BLUE, abs=20)


def label_of(text: str) -> np.ndarray:
    """The pixels above the quad when that is all the text of a picture."""
    return drawing.draw(grey_picture(400, 200), [{**FACE, "quad_ratio": QUAD, "text": text}])[:79]


def test_letters_beyond_ascii_are_drawn_as_themselves() -> None:
    if len(drawing._fonts()) == 1:
        pytest.skip(f"this system has none of {', '.join(drawing.FONTS)}")
    drawn = [label_of(text) for text in ("Ü", "é", "Ж", "λ")]
    assert all(changed(each).any() for each in drawn)
    assert all((a != b).any() for i, a in enumerate(drawn) for b in drawn[:i]), "boxes in place of letters"


def test_letters_that_no_font_has_are_boxes_and_no_error() -> None:
    assert changed(label_of("\U00013000\ue000")).any()


def test_nothing_found_changes_nothing_and_shapes_at_the_edges_are_drawn() -> None:
    assert not changed(drawing.draw(grey_picture(), [])).any()
    corner = {"xywh_ratio": [0.99, 0.01, 0.02, 0.02], "conf": 0.5}
    assert changed(drawing.draw(grey_picture(), [corner]))[:20, 150:].any()
    assert drawing.draw(grey_picture(1, 1), [corner]).shape == (1, 1, 3)


def test_dots_on_landmarks_scale_with_the_face_and_not_with_the_picture() -> None:
    def dots(width: int, height: int, side: float) -> int:
        found = {**FACE, "xywh_ratio": [0.5, 0.5, side / width, side / height], "landmarks_ratio": [0.5, 0.5]}
        drawn = drawing.draw(grey_picture(width, height), [found])
        return int((drawn == drawing.ORANGE).all(axis=2).sum())

    assert dots(2000, 2000, 100) == dots(400, 400, 100)
    assert dots(2000, 2000, 600) > 10 * dots(2000, 2000, 100)
    assert 1 <= dots(2000, 2000, 20) <= 9


def test_labels_keep_off_other_faces() -> None:
    """Small faces in rows, which labels above them would hide: inside of each box nothing is changed."""
    size, step, side = 600, 50, 26
    faces = [
        {"xywh_ratio": [x / size, y / size, side / size, side / size], "conf": 0.8}
        for y in range(step, size - step, side + 4)
        for x in range(step, size - step, step)
    ]
    marks = changed(drawing.draw(grey_picture(size, size), faces))
    for face in faces:
        x, y = (int(value * size) for value in face["xywh_ratio"][:2])
        inside = marks[y - side // 2 + 3 : y + side // 2 - 2, x - side // 2 + 3 : x + side // 2 - 2]
        assert inside.mean() <= drawing.COVERED
    below = changed(drawing.draw(grey_picture(size, size), [{**FACE, "xywh_ratio": [0.5, 0.05, 0.1, 0.1]}]))
    assert not below[5:55, 275:325].any(), "a label of a face at the top would hide it"
    assert below[63:75, 275:290].all()


def test_a_heat_map_is_red_where_the_map_is_high_and_blue_where_it_is_low() -> None:
    grey = np.zeros((10, 20), np.uint8)
    grey[:, 10:] = 255
    heat = drawing.heat(grey_picture(), grey).astype(int)
    assert heat.shape == (100, 200, 3)
    assert heat[50, 10, 2] > heat[50, 10, 0]
    assert heat[50, 190, 0] > heat[50, 190, 2]


# The command


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of ten pictures of different greys, named by them."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for grey in range(100, 200, 10):
        cv2.imwrite(str(folder / f"{grey}.png"), np.full((60, 80, 3), grey, np.uint8))
    return folder


@pytest.mark.usefixtures("quick")
def test_pictures_are_answered_in_their_order_and_failures_on_a_line_each(
    photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def answer(_: int, request: Any) -> tuple[int, bytes]:
        grey = int(decode(request.body).rgb[0, 0, 0])
        return error(400) if grey == 150 else (200, json.dumps([{**FACE, "conf": grey / 1000}]).encode())

    with http_server(answer) as url:
        assert client.main([str(photos), "--url", url]) == 1
    out, err = capsys.readouterr()
    answered = [json.loads(line) for line in out.splitlines()]
    assert [Path(each["picture"]).stem for each in answered] == [str(g) for g in range(100, 200, 10) if g != 150]
    assert all(each["answer"][0]["conf"] == int(Path(each["picture"]).stem) / 1000 for each in answered)
    assert err == f"client: {photos / '150.png'}: 400: m\n"


@pytest.mark.parametrize(
    ("flags", "suffixes"),
    [
        ([], {".json", ".drawn.jpg"}),
        (["--json"], {".json"}),
        (["--draw"], {".drawn.jpg"}),
        (["--draw", "--json"], {".json", ".drawn.jpg"}),
        (["--json", "--maps"], {".json", ".map-text.jpg"}),
    ],
)
def test_out_takes_what_was_asked_for(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: list[str], suffixes: set[str]
) -> None:
    found = [{**FACE, "quad_ratio": QUAD, "text": "Straße 漢字", "text_conf": 0.5}]
    png = base64.b64encode(cv2.imencode(".png", np.full((4, 4), 255, np.uint8))[1]).decode()

    def answer(_: int, request: Any) -> tuple[int, bytes]:
        maps = request.headers.get("X-Maps") == "on"
        return 200, json.dumps({"detections": found, "maps": {"text": png}} if maps else found).encode()

    out = tmp_path / "new" / "result"
    with http_server(answer) as url:
        assert client.main([str(photos / "1[01]0.png"), "--url", url, "--out", str(out), *flags]) == 0
    assert {path.name for path in out.iterdir()} == {name + suffix for name in ("100", "110") for suffix in suffixes}
    assert capsys.readouterr() == ("", "")
    for path in out.glob("*.json"):
        assert json.loads(path.read_text("utf-8")) == found
        assert "漢字" in path.read_text("utf-8")
    for path in out.glob("*.jpg"):
        assert (abs(decode(path.read_bytes()).rgb.astype(int) - int(path.name[:3])) > 20).any()


def test_maps_that_a_model_has_not_are_told(photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = photos / "100.png"
    with http_server(lambda *_: GOOD) as url:
        assert client.main([str(picture), "--url", url, "--maps", "--out", str(tmp_path)]) == 1
    assert capsys.readouterr().err == f"client: {picture}: no maps in the answer: fd1 has none to show\n"
    assert (tmp_path / "100.json").is_file()


def test_a_picture_that_cannot_be_drawn_here_fails_alone(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "105.png").write_bytes(b"no picture")
    with http_server(lambda *_: GOOD) as url:
        assert client.main([str(photos), "--url", url, "--out", str(tmp_path / "out")]) == 1
    assert "105.png: the body is not a picture" in capsys.readouterr().err
    assert len(list((tmp_path / "out").glob("*.drawn.jpg"))) == 10


@pytest.mark.usefixtures("quick")
def test_what_cannot_start_is_one_line_and_status_1(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    picture = str(photos / "100.png")
    (tmp_path / "file").touch()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
    for arguments, said in (
        ([str(tmp_path)], "no picture at"),
        ([picture, "--out", str(tmp_path / "file")], "cannot write to"),
        ([picture, "--url", address], "100.png: no connection: http://"),
        ([picture, "--url", address, "--protocol", "grpc"], f"100.png: no connection: {address}: "),
        ([picture, "--url", "http://:x"], "100.png: no request: "),
    ):
        assert client.main(arguments) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert line.startswith("client: ")
        assert said in line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["a.jpg", "--json"],
        ["a.jpg", "--draw"],
        ["a.jpg", "--maps"],
        ["a.jpg", "--conf", "much"],
        ["a.jpg", "--detect", "maybe"],
        ["a.jpg", "--timeout", "0"],
        ["a.jpg", "--protocol", "ftp"],
        ["a.jpg", "--protocol", "grpc", "--url", "http://127.0.0.1:7070"],
    ],
)
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        client.main(arguments)
    assert caught.value.code == 2
    assert "client.py: error: " in capsys.readouterr().err
