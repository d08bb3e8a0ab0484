"""Videos: what is covered, what stays, what goes wrong, against a server that takes what is white for a face."""

from __future__ import annotations

import json
import shutil
import threading
import time
from collections.abc import Callable, Collection
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from detserve.client import command as client
from detserve.pictures.decode import decode
from tests.client.test_transport import error, http_server

WIDTH, HEIGHT, SIDE = 320, 180, 32


def face_at(number: int) -> tuple[int, int]:
    """The left upper corner of the face in a frame."""
    return 20 + 4 * number, 40 + number


def make(
    path: Path, frames: int = 30, rotation: int = 0, sound: str | None = "aac", kind: str | None = None, **options: str
) -> Path:
    """A white square that moves over grey, with a tone. kind: of the container, where the suffix does not tell it."""
    with av.open(str(path), "w", format=kind, options=options) as out:
        video = out.add_stream("libx264", rate=25, options={"crf": "10", "preset": "ultrafast"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        if rotation:
            video.set_display_rotation(rotation)
        audio: Any = out.add_stream(sound, rate=48000) if sound else None
        if audio:
            audio.metadata["language"] = "cym"
        for number in range(frames):
            rgb = np.full((HEIGHT, WIDTH, 3), 90, np.uint8)
            x, y = face_at(number)
            rgb[y : y + SIDE, x : x + SIDE] = 255
            frame = av.VideoFrame.from_ndarray(rgb, "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio:
            for start in range(0, 48000 * frames // 25 - 1024, 1024):
                tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(start, start + 1024) / 48000)
                samples = av.AudioFrame.from_ndarray(tone.astype(np.float32)[None], "fltp", "mono")
                samples.sample_rate, samples.pts, samples.time_base = 48000, start, Fraction(1, 48000)
                out.mux(audio.encode(samples))
            out.mux(audio.encode(None))
    return path


def white(rgb: np.ndarray) -> list[float] | None:
    """The box [cx, cy, w, h] in ratios of what is white."""
    ys, xs = np.nonzero((rgb > 180).all(axis=2))
    if len(ys) < 10:
        return None
    height, width = rgb.shape[:2]
    x0, x1, y0, y1 = xs.min() / width, (xs.max() + 1) / width, ys.min() / height, (ys.max() + 1) / height
    return [(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0]


def finder(missing: Collection[int] = ()) -> Callable[[int, Any], tuple[int, bytes]]:
    """A server that misses the face in these frames, known by where it is."""

    def answer(_: int, request: Any) -> tuple[int, bytes]:
        box = white(decode(request.body).rgb)
        number = round(((box[0] * WIDTH) - SIDE / 2 - 20) / 4) if box else None
        found = [] if box is None or number in missing else [{"xywh_ratio": box, "conf": 0.9}]
        return 200, json.dumps(found).encode()

    return answer


def run(path: Path, *arguments: str, status: int = 0, server: Any = None) -> Path:
    out = path.parent / "out"
    with http_server(server or finder(), keep=True) as url:
        assert client.main([str(path), "--url", url, "--out", str(out), "--conf", "0.5", *arguments]) == status
    return out


def frames_of(path: Path) -> list[tuple[np.ndarray, float]]:
    """The frames as a player shows them, and their seconds."""
    with av.open(str(path)) as file:
        return [
            (np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90) % 4), frame.time)
            for frame in file.decode(video=0)
        ]


def sound_of(path: Path) -> list[tuple[int, bytes]]:
    """The packets of sound, and their times."""
    with av.open(str(path)) as file:
        return [(packet.pts, bytes(packet)) for packet in file.demux(audio=0) if packet.size]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_faces_are_covered_in_every_frame_and_all_else_stays(suffix: str, tmp_path: Path) -> None:
    path = make(tmp_path / f"party{suffix}")
    made = run(path, "--blur", "fill") / f"party.blurred{'.mp4' if suffix == '.mp4' else '.mkv'}"
    before, after = frames_of(path), frames_of(made)
    assert len(after) == len(before) == 30
    assert [time for _, time in after] == pytest.approx([time for _, time in before], abs=0.002)
    for number, (rgb, _) in enumerate(after):
        x, y = face_at(number)
        assert rgb[y : y + SIDE, x : x + SIDE].max() < 60, number
        assert abs(rgb[:30].astype(int) - 90).max() < 20, number
    assert [data for _, data in sound_of(made)] == [data for _, data in sound_of(path)]
    with av.open(str(made)) as file:
        assert suffix == ".avi" or file.streams.audio[0].language == "cym"
    assert [p.name for p in made.parent.iterdir()] == [made.name]


@pytest.mark.parametrize("rotation", [90, 180, -90])
def test_videos_that_lie_are_asked_about_upright_and_stay_as_they_are(rotation: int, tmp_path: Path) -> None:
    path = make(tmp_path / "phone.mov", frames=6, rotation=rotation)
    shown: list[tuple[int, ...]] = []

    def server(n: int, request: Any) -> tuple[int, bytes]:
        rgb = decode(request.body).rgb
        shown.append(rgb.shape)
        return 200, json.dumps([{"xywh_ratio": white(rgb), "conf": 0.9}]).encode()

    made = run(path, "--blur", "fill", server=server) / "phone.blurred.mov"
    before, after = frames_of(path), frames_of(made)
    assert {rgb.shape for rgb, _ in after} == {rgb.shape for rgb, _ in before} == set(shown)
    assert all(white(rgb) for rgb, _ in before)
    assert not any(white(rgb) for rgb, _ in after)
    assert [data for _, data in sound_of(made)] == [data for _, data in sound_of(path)]


def test_faces_that_are_missed_between_two_sightings_are_covered_and_lines_say_so(tmp_path: Path) -> None:
    missing = {3, 10, 11, 12, 13, 14, 20, 21, 22, 23, 24, 25}
    path = make(tmp_path / "party.mp4")
    out = run(path, "--blur", "fill", "--json", server=finder(missing))
    open_faces = {n for n, (rgb, _) in enumerate(frames_of(out / "party.blurred.mp4")) if white(rgb)}
    assert open_faces == {20, 21, 22, 23, 24, 25}, "six in a row are more than are bridged"
    lines = [json.loads(line) for line in (out / "party.jsonl").read_text("utf-8").splitlines()]
    assert [line["frame"] for line in lines] == list(range(30))
    assert [line["time"] for line in lines] == pytest.approx([n / 25 for n in range(30)])
    assert {line["frame"] for line in lines if not line["answer"]} == missing
    assert {line["frame"] for line in lines if "missed" in line} == {3, 10, 11, 12, 13, 14}


def test_lines_alone_can_be_asked_for_and_videos_among_pictures(tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    make(folder / "b.mp4", frames=3)
    make(folder / "a.mkv", frames=4, sound=None)
    rgb = np.full((60, 80, 3), 90, np.uint8)
    import cv2

    cv2.imwrite(str(folder / "c.png"), rgb)
    out = folder.parent / "out"
    with http_server(finder(), keep=True) as url:
        assert client.main([str(folder), "--url", url, "--out", str(out), "--json"]) == 0
    assert sorted(path.name for path in out.iterdir()) == ["a.jsonl", "b.jsonl", "c.json"]
    assert len((out / "a.jsonl").read_text().splitlines()) == 4


def test_frames_are_sent_several_at_a_time_and_never_far_ahead(tmp_path: Path) -> None:
    lock, now, most = threading.Lock(), 0, 0

    def server(n: int, request: Any) -> tuple[int, bytes]:
        nonlocal now, most
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0.02 * (n % 3))  # answers come in another order
        with lock:
            now -= 1
        return finder()(n, request)

    out = run(make(tmp_path / "party.mp4"), "--blur", "fill", "--at-once", "3", server=server)
    assert most == 3
    assert not any(white(rgb) for rgb, _ in frames_of(out / "party.blurred.mp4"))


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])


def no_video(path: Path) -> None:
    path.write_text("no video at all")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def almost_whole(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-60])


@pytest.mark.parametrize(
    ("harm", "suffix", "options"),
    [
        (no_video, ".mp4", {}),
        (empty, ".mkv", {}),
        (cut_short, ".mp4", {}),
        (cut_short, ".mp4", {"movflags": "faststart"}),
        (cut_short, ".avi", {}),
        (cut_short, ".flv", {}),
        (cut_short, ".mkv", {}),
        (almost_whole, ".mkv", {}),
        (cut_short, ".webm", {"kind": "matroska"}),
        (cut_short, ".wmv", {}),
    ],
)
def test_a_broken_file_is_one_line_and_leaves_nothing(
    harm: Callable[[Path], None],
    suffix: str,
    options: dict[str, str],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    path = make(tmp_path / f"party{suffix}", **options)  # type: ignore[arg-type]
    harm(path)
    out = run(path, "--blur", "--json", status=1)
    assert list(out.iterdir()) == []
    assert capfd.readouterr().err == f"client: {path}: the video cannot be read: it is broken or cut short\n"


def test_a_recording_that_left_its_length_open_is_taken(tmp_path: Path) -> None:
    path = make(tmp_path / "party.webm", frames=5, kind="matroska", live="1")
    assert len(frames_of(run(path, "--blur") / "party.blurred.mkv")) == 5


def test_sound_that_the_container_refuses_is_one_line_and_the_next_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = make(tmp_path / "good.mp4", frames=3)
    bad = make(tmp_path / "bad.avi", frames=3, sound="adpcm_ms")
    out = tmp_path / "out"
    with http_server(finder(), keep=True) as url:
        assert client.main([str(bad), str(good), "--url", url, "--out", str(out), "--blur", "--conf", "0.5"]) == 1
    assert [path.name for path in out.iterdir()] == ["good.blurred.mp4"]
    said = "mkv takes no sound as adpcm_ms: convert the sound to AAC first"
    assert capsys.readouterr().err == f"client: {bad}: .{said}\n"


@pytest.mark.usefixtures("quick")
def test_a_frame_without_an_answer_ends_the_video_and_the_next_is_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good, bad = make(tmp_path / "good.mp4", frames=8, sound=None), make(tmp_path / "bad.mp4", frames=8, sound=None)
    out = tmp_path / "out"
    with http_server(lambda n, r: error(400) if n == 5 else finder()(n, r), keep=True) as url:
        arguments = [str(bad), str(good), "--url", url, "--out", str(out), "--blur", "--conf", "0.5", "--at-once", "1"]
        assert client.main(arguments) == 1
    assert [path.name for path in out.iterdir()] == ["good.blurred.mp4"]
    assert capsys.readouterr().err == f"client: {bad}: 400: m\n"


def test_what_cannot_be_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = make(tmp_path / "party.mp4", frames=3)
    assert client.main([str(path)]) == 1
    assert "party.mp4 is a video: --blur or --json, with --out DIR, says what is made of it" in capsys.readouterr().err
    assert client.main([str(path), "--blur", "--coco", "a.json", "--out", str(tmp_path / "out")]) == 1
    assert "is a video: --coco is for pictures, which need a run of their own\n" in capsys.readouterr().err
    out = tmp_path / "out"
    out.mkdir()
    again = shutil.copy(path, out / "party.blurred.mp4")
    shutil.copy(path, out / "party.mp4")
    with http_server(finder()) as url:
        arguments = [str(out / "party.mp4"), "--url", url, "--out", str(out), "--blur", "--conf", "0.5"]
        assert client.main(arguments) == 0, "another file of that name is replaced, as with pictures"
    assert Path(again).read_bytes() != path.read_bytes()


@pytest.mark.parametrize(
    "kind", [("ffv1", "yuv420p"), ("ffv1", "yuv422p10le"), ("mjpeg", "yuvj420p"), ("ffv1", "bgr0")]
)
def test_odd_sizes_other_pixels_and_uneven_times_are_taken(kind: tuple[str, str], tmp_path: Path) -> None:
    path, times = tmp_path / "odd.mkv", (0, 1, 2, 5, 6, 20)
    with av.open(str(path), "w") as out:
        video = out.add_stream(kind[0], rate=30)
        video.width, video.height, video.pix_fmt = 101, 77, kind[1]
        for number in times:
            frame = av.VideoFrame.from_ndarray(np.full((77, 101, 3), 150, np.uint8), "rgb24")
            frame.pts, frame.time_base = number, Fraction(1, 30)
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
    frames = frames_of(run(path, "--blur") / "odd.blurred.mkv")
    assert [time for _, time in frames] == pytest.approx([number / 30 for number in times], abs=0.002)
    assert {rgb.shape for rgb, _ in frames} == {(76, 100, 3)}
    for (rgb, _), (original, _) in zip(frames, frames_of(path), strict=True):
        assert abs(rgb.mean() - original.mean()) < 2


def test_metadata_stays_or_goes(tmp_path: Path) -> None:
    path = make(tmp_path / "a.mkv", frames=3, sound=None)
    tagged = tmp_path / "party.mkv"
    with av.open(str(path)) as source, av.open(str(tagged), "w") as out:
        out.metadata["title"] = "Party"
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.size:
                packet.stream = stream
                out.mux(packet)

    def title(path: Path) -> str | None:
        with av.open(str(path)) as file:
            return file.metadata.get("title")

    assert title(run(tagged, "--blur") / "party.blurred.mkv") == "Party"
    assert title(run(tagged, "--blur", "--strip") / "party.blurred.mkv") is None
