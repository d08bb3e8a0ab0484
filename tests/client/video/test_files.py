"""Which files are videos, and what is said where the package that reads them is missing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from detserve.client.video.files import videos_among

ROOT = Path(__file__).parents[3]


def test_videos_are_known_by_their_suffix_and_each_is_taken_once(tmp_path: Path) -> None:
    mixed, films, pictures = (tmp_path / name for name in ("mixed", "films", "pictures"))
    for folder, *names in ((mixed, "a.jpg", "b.MP4", "notes.txt"), (films, "c.mkv"), (pictures, "d.png", "e.gif")):
        folder.mkdir()
        for name in names:
            (folder / name).touch()
    assert videos_among([str(mixed)]) == ([mixed / "b.MP4"], [str(mixed / "a.jpg")])
    assert videos_among([str(films), str(films / "c.mkv")]) == ([films / "c.mkv"], [])
    assert videos_among([str(pictures)]) == ([], [str(pictures)])
    assert videos_among([str(tmp_path / "*/*.m*"), "absent.jpg"]) == ([films / "c.mkv"], ["absent.jpg"])
    (mixed / "b.mp4").touch()
    assert videos_among([str(tmp_path / "*/*.[jm]p*")]) == ([mixed / "b.mp4"], [str(mixed / "a.jpg")])


def test_without_the_package_one_line_says_what_brings_it(tmp_path: Path) -> None:
    (tmp_path / "party.mp4").touch()
    code = (
        "import sys; sys.modules['av'] = None; from detserve.client.command import main; sys.exit(main(sys.argv[1:]))"
    )
    arguments = [str(tmp_path / "party.mp4"), "--blur", "--conf", "0.3", "--out", str(tmp_path / "out")]
    ended = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    wanted = "client: the package 'av' is missing: pip install -r requirements/video.txt\n"
    assert (ended.returncode, ended.stderr) == (1, wanted)
