"""What the client does with objects: masks, drawings, COCO's results, recordings with depth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve.client import coco, drawing
from detserve.client.masks import decode, mask_of
from detserve.client.objects import colour_of
from detserve.client.shots import Shot, shots_of
from detserve.core.masks import Cutout
from detserve.errors import SetupError
from detserve.pictures.depth import WithDepth
from detserve.worker import masks


@given(st.integers(1, 40), st.integers(1, 40), st.floats(0, 1), st.integers(0, 2**32))
def test_run_lengths_come_back_as_pixels(width: int, height: int, share: float, seed: int) -> None:
    bits = np.random.default_rng(seed).random((height, width)) < share
    counts = masks.rle(Cutout(0, 0, bits), (width, height))["counts"]
    assert (decode(counts, (width, height)) == bits).all()


@pytest.mark.parametrize("counts", ["", "o", "12", "ZZZ", "0" * 9])
def test_run_lengths_of_another_picture_are_refused(counts: str) -> None:
    with pytest.raises(ValueError, match="the run lengths are none of 20x10 pixels"):
        decode(counts, (20, 10))


def object_of(bits: np.ndarray, form: str, **more: Any) -> dict[str, Any]:
    cut, size = Cutout(0, 0, bits), (bits.shape[1], bits.shape[0])
    outlines = [(each / size).ravel().tolist() for each in masks.outlines(cut)]
    shown = {"mask_rle": masks.rle(cut, size)} if form == "rle" else {"polygons_ratio": outlines}
    return {"xywh_ratio": [0.5, 0.5, 0.5, 0.5], "conf": 0.9, "label": "bolt", "label_id": 3, **shown, **more}


@pytest.mark.parametrize("form", ["rle", "polygon"])
def test_a_mask_is_drawn_in_its_classes_colour_with_a_legend(form: str) -> None:
    bits = np.zeros((200, 300), bool)
    bits[60:140, 90:210] = True
    found = object_of(bits, form)
    assert (mask_of(found, (300, 200)) == bits).all()
    picture = np.full((200, 300, 3), 128, np.uint8)
    drawn = drawing.draw(picture, [found, {**found, "label": "nut", "label_id": 4, "conf": 0.5}])
    inside = drawn[100, 150].astype(int)
    assert (inside != 128).any()
    # The best lies on top: its colour over the other's.
    under = 128 * 0.55 + np.multiply(colour_of(4), 0.45)
    assert np.abs(inside - (under * 0.55 + np.multiply(colour_of(3), 0.45))).max() <= 2
    assert drawn[30, 20].tolist() == [128, 128, 128]
    assert (drawn[-3, 1] == 255).all(), "the legend's ground"
    assert colour_of(3) != colour_of(4)


def test_faces_have_no_legend() -> None:
    picture = np.full((200, 300, 3), 128, np.uint8)
    drawn = drawing.draw(picture, [{"xywh_ratio": [0.5, 0.5, 0.2, 0.2], "conf": 0.9}])
    assert drawn[-3, 1].tolist() == [128, 128, 128]


def test_cocos_results_are_in_pixels(tmp_path: Path) -> None:
    bits = np.zeros((100, 200), bool)
    bits[10:20, 30:50] = True
    bits[60, 90:92] = True  # an outline of two points, which COCO's tools refuse
    entries = coco.results(Path("a.jpg"), 139, (200, 100), [object_of(bits, "rle")])
    entries += coco.results(Path("b.jpg"), 7, (200, 100), [object_of(bits, "polygon")])
    assert [(each["image_id"], each["file_name"]) for each in entries] == [(139, "a.jpg"), (7, "b.jpg")]
    assert entries[0]["bbox"] == [50.0, 25.0, 100.0, 50.0]
    assert entries[0]["category_id"] == 3 and entries[0]["score"] == 0.9
    assert entries[0]["segmentation"]["size"] == [100, 200]
    assert entries[1]["segmentation"] == [[30.5, 10.5, 30.5, 19.5, 49.5, 19.5, 49.5, 10.5]]
    coco.write(tmp_path / "r.json", entries)
    assert json.loads((tmp_path / "r.json").read_text()) == entries


def test_an_image_id_is_the_number_that_all_names_are(tmp_path: Path) -> None:
    assert coco.image_ids([Path("000000000139.jpg"), Path("7.png")]) == [139, 7]
    assert coco.image_ids([Path("2.jpg"), Path("b.jpg")]) == [1, 2]
    assert coco.image_ids([Path("2.jpg"), Path("02.jpg")]) == [1, 2]
    speck = np.zeros((10, 10), bool)
    speck[5, 5] = True
    assert "segmentation" not in coco.results(Path("1.jpg"), 1, (10, 10), [object_of(speck, "polygon")])[0]


def recording(root: Path, colours: str, depths: str | None, kind: str = "image") -> Path:
    for folder, names in ((f"color_{kind}", colours), (f"depth_{kind}", depths)):
        if names is not None:
            (root / folder).mkdir(parents=True)
            for name in names.split():
                (root / folder / name).write_bytes(name.encode())
    return root


def test_a_recording_is_paired_by_name(tmp_path: Path) -> None:
    root = recording(tmp_path, "a.jpg b.png c.jpg", "a.png c.npy d.tiff readme.txt")
    found = shots_of([str(root)])
    assert [(shot.colour.name, shot.depth and shot.depth.name) for shot in found.shots] == [
        ("a.jpg", "a.png"), ("c.jpg", "c.npy")
    ]  # fmt: skip
    assert sorted(path.name for path in found.unpaired) == ["b.png", "d.tiff"]
    assert found.shots[0].read() == WithDepth(b"a.jpg", b"a.png")


def test_other_names_of_folders_and_files_are_known_and_a_second_map_is_reported(tmp_path: Path) -> None:
    root = recording(tmp_path, "color_1.jpg color_2.jpg", "depth_1.npy depth_1.png 2_depth.png", "img")
    found = shots_of([str(root)])
    assert [(shot.colour.name, shot.depth and shot.depth.name) for shot in found.shots] == [
        ("color_1.jpg", "depth_1.npy")
    ]
    assert [path.name for path in found.unpaired] == ["color_2.jpg", "2_depth.png", "depth_1.png"]


def test_without_depth_there_are_pictures_alone(tmp_path: Path) -> None:
    root = recording(tmp_path, "a.jpg b.jpg", None)
    assert [shot.depth for shot in shots_of([str(root)]).shots] == [None, None]
    plain = shots_of([str(root / "color_image"), str(root / "color_image" / "a.jpg")])
    assert [shot.colour.name for shot in plain.shots] == ["a.jpg", "b.jpg"]
    one = shots_of([str(root / "color_image" / "a.jpg")], Path("x.npy"))
    assert one.shots == [Shot(root / "color_image" / "a.jpg", Path("x.npy"))]
    with pytest.raises(SetupError, match="--depth is for one picture, not 2"):
        shots_of([str(root)], Path("x.npy"))
