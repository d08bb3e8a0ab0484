"""Depth maps: what is read, and what is refused and how."""

from __future__ import annotations

import io
import pickle

import numpy as np
import PIL.Image
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detserve.errors import BadPicture, RequestError, UnfitDepth, UnsupportedFormat
from detserve.pictures.depth import read

SIZE = (7, 5)
VALUES = np.arange(35, dtype=np.uint16).reshape(5, 7) * 1800


def picture(values: np.ndarray = VALUES, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    PIL.Image.fromarray(values).save(buffer, form, **options)
    return buffer.getvalue()


def npy(values: np.ndarray, version: tuple[int, int] = (1, 0), pickled: bool = False) -> bytes:
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, values, version, allow_pickle=pickled)
    return buffer.getvalue()


METRES = (VALUES / 1000).astype(np.float32)
GOOD = {
    "png": picture(),
    "tiff": picture(form="TIFF"),
    "deflated tiff": picture(form="TIFF", compression="tiff_deflate"),
    "npy": npy(METRES),
    "npy of columns": npy(np.asfortranarray(METRES)),
    "npy 2.0": npy(METRES, (2, 0)),
    "npy of one channel": npy(METRES[..., None]),
}


@pytest.mark.parametrize("name", GOOD)
def test_each_form_is_read(name: str) -> None:
    found = read(GOOD[name], SIZE)
    assert found.tolist() == (METRES if "npy" in name else VALUES).tolist()


class Hostile:
    def __reduce__(self) -> object:
        raise AssertionError("it was pickled to be unpickled")


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", BadPicture),
        (b"hello", BadPicture),
        (picture()[:60], BadPicture),
        (picture(form="TIFF")[:40], BadPicture),
        (npy(METRES)[:-4], BadPicture),
        (npy(METRES) + b"\0", BadPicture),
        (b"\x93NUMPY", BadPicture),
        (b"\x93NUMPY\x01\0\xff\xff{", BadPicture),
        (picture((VALUES >> 8).astype(np.uint8)), UnsupportedFormat),
        (picture(VALUES.astype(np.int32), "TIFF"), UnsupportedFormat),
        (picture(np.zeros((5, 7, 3), np.uint8)), UnsupportedFormat),
        (npy(METRES.astype(np.float64)), UnsupportedFormat),
        (npy(np.array([[None] * 7] * 5), pickled=True), UnsupportedFormat),
        (npy(METRES[..., None, None]), UnsupportedFormat),
        (picture(VALUES.T.copy()), UnfitDepth),
        (npy(METRES.T.copy()), UnfitDepth),
        (npy(METRES[:4]), UnfitDepth),
        (picture((VALUES >> 8).astype(np.uint8), "JPEG"), BadPicture),
        (pickle.dumps(METRES), BadPicture),
    ],
)
def test_what_is_none_is_refused(data: bytes, error: type[RequestError]) -> None:
    with pytest.raises(error):
        read(data, SIZE)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(GOOD)), st.data())
def test_a_changed_byte_is_an_answer_or_a_refusal(name: str, data: st.DataObject) -> None:
    changed = bytearray(GOOD[name])
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        assert read(changed, SIZE).shape == (5, 7)
    except RequestError as refused:
        assert refused.status in (400, 415, 422)
