"""How fast client.py makes the faces of a video unrecognisable, with a running server, and in how much memory.

    make serve
    .venv/bin/pip install -r requirements/video.txt
    .venv/bin/python -m benchmarks.video [--frames 300] [--url http://127.0.0.1:8080]

The video is a walk over the drawn portraits of docs/faces.jpg, in noise as cameras have it, 25 frames a second, with a
tone. The time is that of the whole command, its start included.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

ROOT = Path(__file__).parents[1]
SIZE = 1280, 720
RATE = 25
SAMPLES = 48000


@dataclass(frozen=True)
class Taken:
    """What the command took. seconds: in all; cpu: of a processor, in the client; memory: its most, in MB."""

    seconds: float
    cpu: float
    memory: float


def make(path: Path, frames: int, size: tuple[int, int] = SIZE) -> None:
    """Write the video."""
    width, height = size
    drawn = np.asarray(cv2.imread(str(ROOT / "docs/faces.jpg")))
    portraits = cv2.resize(drawn, (width * 3 // 2, height * 3 // 2))
    noise = np.random.default_rng(0)
    with av.open(str(path), "w") as out:
        video = out.add_stream("libx264", rate=RATE, options={"preset": "veryfast", "crf": "20"})
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        audio = out.add_stream("aac", rate=SAMPLES)
        sent = 0
        for number in range(frames):
            x, y = (int(side / 4 * (1 - np.cos(number / pace))) for side, pace in zip(size, (40, 55), strict=True))
            grain = noise.integers(-5, 6, (height, width, 1), np.int16)
            bgr = np.clip(portraits[y : y + height, x : x + width] + grain, 0, 255).astype(np.uint8)
            frame = av.VideoFrame.from_ndarray(bgr, "bgr24")
            frame.pts, frame.time_base = number, Fraction(1, RATE)
            out.mux(video.encode(frame))
            while sent / SAMPLES < number / RATE:
                tone = 0.2 * np.sin(2 * np.pi * 440 * np.arange(sent, sent + 1024) / SAMPLES)
                samples = av.AudioFrame.from_ndarray(tone.astype(np.float32)[None], "fltp", "mono")
                samples.sample_rate, samples.pts, samples.time_base = SAMPLES, sent, Fraction(1, SAMPLES)
                out.mux(audio.encode(samples))
                sent += 1024
        out.mux(video.encode(None))
        out.mux(audio.encode(None))


def blur(path: Path, out: Path, url: str) -> Taken:
    """Run client.py on it. Raises subprocess.CalledProcessError when that fails."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    command = [sys.executable, str(ROOT / "client.py"), str(path), "--url", url, "--blur", "--out", str(out)]
    subprocess.run(command, check=True, capture_output=True)
    seconds, after = time.monotonic() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Taken(seconds, cpu, after.ru_maxrss / 1024)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the video, run the command three times, print a line each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=300)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "party.mp4"
        make(path, options.frames)
        print(f"{options.frames} frames of {SIZE[0]}x{SIZE[1]}, {path.stat().st_size / 1e6:.1f} MB")
        for _ in range(3):
            taken = blur(path, Path(folder) / "result", options.url)
            rate = options.frames / taken.seconds
            client = f"in the client {taken.cpu:.1f} s of a processor and {taken.memory:.0f} MB"
            print(f"{rate:.1f} frames/s: {taken.seconds:.1f} s, {client}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
