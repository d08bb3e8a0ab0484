"""Globs: what they match, and which folders they walk."""

from __future__ import annotations

import pytest

from detserve.bulk.globs import Glob
from detserve.errors import SetupError


@pytest.mark.parametrize(
    ("pattern", "top", "matched", "others"),
    [
        ("/a/**/*.jpg", "/a", ["/a/x.jpg", "/a/b/c/x.jpg", "/a/b/\nc.jpg"], ["/b/x.jpg", "/a/x.png"]),
        ("/a/b*", "/a", ["/a/bcd", "/a/b/below/x.jpg"], ["/a/cb", "/a"]),
        ("/a.b/[!b]*.jpg", "/a.b", ["/a.b/c.jpg"], ["/a.b/b.jpg", "/a.b//.jpg", "/aab/c.jpg"]),
        ("/[]x].jpg", "/", ["/].jpg", "/x.jpg"], ["/y.jpg"]),
        ("/a/[a-c^]?", "/a", ["/a/b1", "/a/^1"], ["/a/d1", "/a/-1"]),
        ("/a/[b.jpg*", "/a", ["/a/[b.jpg"], ["/a/b.jpg"]),
        ("s3://p/**/b*.png", "s3://p", ["s3://p/b.png", "s3://p/x/b1.png"], ["s3://q/b.png"]),
        ("/a/**", "/a", ["/a/x", "/a/b/c"], ["/b"]),
    ],
)
def test_what_they_stand_for(pattern: str, top: str, matched: list[str], others: list[str]) -> None:
    glob = Glob(pattern)
    assert glob.top == top
    assert all(map(glob.matches, matched)) and not any(map(glob.matches, others))


def test_only_folders_on_the_way_are_walked() -> None:
    glob = Glob("/a/b*/c/**/d/*.jpg")
    for folder in ("/a/b1", "/a/b1/c", "/a/b1/c/x/y/z"):
        assert glob.leads_to(folder)
    for folder in ("/a/c", "/a/b1/d"):
        assert not glob.leads_to(folder)
    assert Glob("/a/b*").leads_to("/a/b1/whatever/is/below")


def test_what_is_no_glob_is_said() -> None:
    with pytest.raises(SetupError, match=r"/a/\[z-a\] is no glob: bad character range"):
        Glob("/a/[z-a]")
