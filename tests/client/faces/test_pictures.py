"""client.py --crops, --align and --blur, against a server that finds what is white in a picture."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pytest
from PIL.ExifTags import IFD, Base

from detserve.client import command as client
from detserve.client.faces import BLUR_CONF
from detserve.client.faces.align import ARCFACE
from detserve.pictures.decode import decode
from tests.client.test_transport import http_server

WHITE = 200


def white_in(body: bytes) -> list[dict[str, Any]]:
    """What a server says that takes what is white for a face."""
    rgb = decode(body).rgb
    ys, xs = np.nonzero((rgb > WHITE).all(axis=2))
    if len(ys) < 20:
        return []
    height, width = rgb.shape[:2]
    x0, x1, y0, y1 = xs.min() / width, (xs.max() + 1) / width, ys.min() / height, (ys.max() + 1) / height
    box = [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]
    marks = [(x0 + (x1 - x0) * x / 112, y0 + (y1 - y0) * y / 112) for x, y in ARCFACE]
    return [{"xywh_ratio": box, "conf": 0.9, "landmarks_ratio": [float(v) for mark in marks for v in mark]}]


def finding(_: int, request: Any) -> tuple[int, bytes]:
    return 200, json.dumps(white_in(request.body)).encode()


def face() -> PIL.Image.Image:
    """A grey picture of 200x120, with a white square of 40 at (100, 40)."""
    rgb = np.full((120, 200, 3), 90, np.uint8)
    rgb[40:80, 100:140] = 255
    return PIL.Image.fromarray(rgb)


def run(tmp_path: Path, *arguments: str | Path, status: int = 0, server: Any = finding) -> Path:
    out = tmp_path / "out"
    with http_server(server) as url:
        assert client.main([*map(str, arguments), "--url", url, "--out", str(out)]) == status
    return out


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """The face lying on a side, as a phone stores it, with metadata and previews."""
    exif = PIL.Image.Exif()
    exif[Base.Orientation] = 6
    exif[Base.Make] = "Camera"
    exif.get_ifd(IFD.Exif)[Base.DateTimeOriginal] = "2020:01:02 03:04:05"
    exif.get_ifd(IFD.Exif)[Base.MakerNote] = b"a preview of the face"
    exif.get_ifd(IFD.GPSInfo)[1] = "N"
    path = tmp_path / "photo.jpg"
    lying = face().transpose(PIL.Image.Transpose.ROTATE_90)
    lying.save(path, exif=exif, quality=95, comment=b"a comment", icc_profile=b"a profile")
    return path


def test_faces_are_cut_out_upright_with_their_margin(photo: Path, tmp_path: Path) -> None:
    out = run(tmp_path, photo, "--crops", "--margin", "0.5")
    assert [path.name for path in out.iterdir()] == ["photo.face-1.png"]
    crop = decode((out / "photo.face-1.png").read_bytes()).rgb
    assert crop.shape[0] == pytest.approx(60, abs=3) and crop.shape[1] == pytest.approx(60, abs=3)
    assert crop[30, 30].min() > 240 and crop[3, 3].max() < 120


def test_faces_are_aligned(photo: Path, tmp_path: Path) -> None:
    out = run(tmp_path, photo, "--align", "56")
    aligned = decode((out / "photo.aligned-1.png").read_bytes()).rgb
    assert aligned.shape == (56, 56, 3)
    assert aligned[4:-4, 4:-4].min() > 200, "the square fills the picture, as its landmarks say"


@pytest.mark.parametrize("style", ["mosaic", "gauss", "fill"])
def test_faces_are_covered_where_they_are_and_the_picture_is_upright(style: str, photo: Path, tmp_path: Path) -> None:
    out = run(tmp_path, photo, "--blur", style)
    (path,) = out.iterdir()
    assert path.name == "photo.blurred.jpg"
    rgb = decode(path.read_bytes()).rgb
    assert rgb.shape == (120, 200, 3)
    assert not white_in(path.read_bytes())
    assert abs(rgb[:20].astype(int) - 90).max() < 8


def test_what_a_file_says_of_itself_stays_without_previews_and_goes_where_it_is_asked(
    photo: Path, tmp_path: Path
) -> None:
    data = (run(tmp_path, photo, "--blur") / "photo.blurred.jpg").read_bytes()
    with PIL.Image.open(io.BytesIO(data)) as picture:
        exif = picture.getexif()
        assert (exif[Base.Make], exif.get(Base.Orientation, 1)) == ("Camera", 1)
        assert exif.get_ifd(IFD.Exif) == {Base.DateTimeOriginal: "2020:01:02 03:04:05"}
        assert exif.get_ifd(IFD.GPSInfo) == {1: "N"}
        assert picture.info["icc_profile"] == b"a profile"
    assert b"preview" not in data and b"comment" not in data
    data = (run(tmp_path, photo, "--blur", "--strip") / "photo.blurred.jpg").read_bytes()
    with PIL.Image.open(io.BytesIO(data)) as picture:
        assert dict(picture.getexif()) == {}
        assert picture.info["icc_profile"] == b"a profile"
    assert b"Camera" not in data and b"2020" not in data


def test_a_low_threshold_is_asked_for_and_told(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = []

    def server(n: int, request: Any) -> tuple[int, bytes]:
        asked.append(request.headers["X-Conf-Threshold"])
        return finding(n, request)

    run(tmp_path, photo, "--blur", server=server)
    told = f"--blur covers all that is found with a confidence of {BLUR_CONF} or more; --conf says otherwise"
    assert capsys.readouterr().err == f"client: {told}. The other results hold all of that too\n"
    run(tmp_path, photo, "--blur", "--conf", "0.5", server=server)
    assert capsys.readouterr().err == ""
    assert list(dict.fromkeys(asked)) == [str(BLUR_CONF), "0.5"]


def test_what_is_still_found_is_covered_too_and_what_cannot_be_is_not_written(
    photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere = [{"xywh_ratio": [0.1, 0.1, 0.1, 0.1], "conf": 0.5}]

    def late(n: int, request: Any) -> tuple[int, bytes]:
        return 200, json.dumps(white_in(request.body) if n == 0 else elsewhere if n == 1 else []).encode()

    rgb = decode((run(tmp_path, photo, "--blur", server=late) / "photo.blurred.jpg").read_bytes()).rgb
    assert rgb[8:16, 14:26].max() < 20, "it was found in the second round"
    (tmp_path / "out/photo.blurred.jpg").unlink()
    always = lambda *_: (200, json.dumps(elsewhere).encode())  # noqa: E731
    out = run(tmp_path, photo, "--blur", status=1, server=always)
    assert list(out.iterdir()) == []
    assert "photo.jpg: faces are found in it however they are covered" in capsys.readouterr().err


def test_pngs_stay_without_loss_and_faces_without_landmarks_are_not_aligned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    face().save(tmp_path / "face.png")
    out = run(tmp_path, tmp_path / "face.png", "--blur", "fill", "--margin", "0")
    rgb = decode((out / "face.blurred.png").read_bytes()).rgb
    wanted = np.array(face())
    wanted[40:80, 100:140] = 0
    assert (rgb == wanted).all()
    bare = lambda *_: (200, b'[{"xywh_ratio": [0.5, 0.5, 0.2, 0.2], "conf": 0.9}]')  # noqa: E731
    run(tmp_path, tmp_path / "face.png", "--align", "112", status=1, server=bare)
    assert "no landmarks in the answer" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--blur"], ["--crops"], ["--out", "x", "--blur", "smear"], ["--out", "x", "--align", "7"],
                  ["--out", "x", "--crops", "--margin", "-1"], ["--out", "x", "--format", "pdf", "--crops"]]
)  # fmt: skip
def test_wrong_usage_is_status_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        client.main(["a.jpg", *arguments])
    assert caught.value.code == 2
    assert "client.py: error: " in capsys.readouterr().err


def test_a_folder_behind_blur_is_no_style(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        client.main(["--out", "x", "--blur", "photos/"])
    assert "--blur: 'photos/' is none of mosaic, gauss, fill; name pictures before --blur" in capsys.readouterr().err
