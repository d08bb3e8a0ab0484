import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detserve.text import ctc

ALPHABET = tuple("abc xyz")


def path(classes: list[int], certainty: float = 0.8) -> np.ndarray:
    """Probabilities [1, t, classes] in which each step says that class with that certainty."""
    count = len(ALPHABET) + 1
    steps = np.full((1, len(classes), count), (1 - certainty) / (count - 1), np.float32)
    steps[0, np.arange(len(classes)), classes] = certainty
    return steps


def read(classes: list[int]) -> ctc.Line:
    (line,) = ctc.decode(path(classes), ALPHABET, logits=False, confidence="mean")
    return line


def golden(shared) -> tuple[dict, np.ndarray]:
    facts = json.loads((shared / "golden/post/ctc.json").read_text())
    return facts, np.load(shared / "golden/post/ctc.npz")["logits"]


def test_texts_and_products_are_those_of_the_benchmark(shared) -> None:
    facts, logits = golden(shared)
    lines = ctc.decode(logits, facts["alphabet"], logits=True, confidence="product")
    assert [line.text for line in lines] == facts["text"]
    assert [line.confidence for line in lines] == pytest.approx(facts["confidence"], rel=1e-6)


@pytest.mark.parametrize("logits", [True, False])
def test_texts_and_means_are_those_of_pp_ocr(shared, logits: bool) -> None:
    facts, values = golden(shared)
    if not logits:
        exponential = np.exp(values)
        values = exponential / exponential.sum(axis=2, keepdims=True)
    lines = ctc.decode(values, facts["alphabet"][:-1] + " ", logits=logits, confidence="mean")
    assert [line.text for line in lines] == facts["ppocr"]["text"]
    assert [line.confidence for line in lines] == pytest.approx(facts["ppocr"]["score"], abs=1e-5)


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(1, 4)), max_size=20))
def test_repeats_and_blanks_are_left_out(runs: list[tuple[int, int]]) -> None:
    # Two runs of one class are one run: keep the first of them.
    runs = [run for i, run in enumerate(runs) if i == 0 or run[0] != runs[i - 1][0]]
    line = read([k for k, length in runs for _ in range(length)])
    assert line.text == "".join(ALPHABET[k - 1] for k, _ in runs if k)
    ends = np.cumsum([length for _, length in runs], dtype=int)
    expected = [[end - length, end] for (k, length), end in zip(runs, ends.tolist(), strict=True) if k]
    assert line.spans.tolist() == expected
    assert line.probabilities == pytest.approx([0.8] * len(expected))
    assert line.confidence == pytest.approx(0.8 if expected else 0)


def test_the_same_character_twice_needs_a_blank_between() -> None:
    assert read([1, 1, 1]).text == "a"
    assert read([1, 0, 1]).text == "aa"


def test_the_two_confidences_count_different_steps() -> None:
    steps = path([1, 1, 0, 2])
    steps[0, 0] = np.eye(8)[1] * 0.5
    steps[0, 2] = np.eye(8)[0] * 0.1
    (mean,) = ctc.decode(steps, ALPHABET, logits=False, confidence="mean")
    (product,) = ctc.decode(steps, ALPHABET, logits=False, confidence="product")
    assert mean.confidence == pytest.approx((0.5 + 0.8) / 2)
    assert product.confidence == pytest.approx(0.5 * 0.8 * 0.1 * 0.8)


def test_characters_may_be_longer_than_one_letter() -> None:
    steps = np.eye(3, dtype=np.float32)[[1, 2]][None]
    (line,) = ctc.decode(steps, ["ff", "i"], logits=False, confidence="mean")
    assert line.text == "ffi"
    assert len(line.spans) == len(line.characters) == 2
    assert [word.text for word in ctc.words(line, 2)] == ["ffi"]


def test_an_alphabet_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="8 classes do not fit an alphabet of 6"):
        ctc.decode(path([1]), ALPHABET[:-1], logits=False, confidence="mean")


@given(st.lists(st.integers(0, 7), max_size=40), st.floats(0.2, 1.5))
def test_words_are_those_of_the_text_one_after_the_other(classes: list[int], part: float) -> None:
    line = read(classes)
    found = ctc.words(line, max(1, part * len(classes)))
    assert [word.text for word in found] == line.text.split()
    edges = [edge for word in found for edge in (word.start, word.end)]
    assert edges == sorted(edges)
    assert all(0 <= edge <= 1 for edge in edges)
    if found and not line.text[0].isspace():
        assert edges[0] == 0
    if found and not line.text[-1].isspace():
        assert edges[-1] == 1


def test_words_are_cut_half_way_between_characters() -> None:
    # a . . b . space . . c, each in the middle of its step; eight of ten steps are text.
    line = read([1, 0, 0, 2, 0, 4, 0, 3, 0, 0])
    first, second = ctc.words(line, 8)
    assert (first.text, first.start, first.end) == ("ab", 0, (3.5 + 5.5) / 2 / 8)
    assert (second.text, second.start, second.end) == ("c", (5.5 + 7.5) / 2 / 8, 1)


def test_the_ends_of_a_text_are_near_its_first_and_last_character() -> None:
    # Characters at steps 2, 4, 6, 8 and 12, the last but one a space: two steps apart, usually.
    line = read([0, 0, 1, 0, 2, 0, 3, 0, 4, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0, 0])
    start, end = ctc.ends(line, 20)
    assert start == pytest.approx((2.5 - ctc.REACH * 2) / 20)
    assert end == pytest.approx((12.5 + ctc.REACH * 2) / 20)
    first, second = ctc.words(line, 20, (start, end))
    assert (first.text, first.start) == ("abc", start)
    assert (second.text, second.end) == ("x", end)
    assert ctc.ends(read([1, 0, 2]), 3) == (0, 1)
    assert ctc.ends(read([0, 0]), 2) == (0, 1)
    assert ctc.ends(read([4, 0, 4, 0, 4]), 5) == (0, 1)


@given(st.lists(st.integers(0, 7), max_size=40))
def test_characters_are_those_of_the_words(classes: list[int]) -> None:
    line = read(classes)
    steps = max(1, len(classes))
    parts = ctc.characters(line, steps)
    assert [part.text for part in parts] == [c for c in line.text if not c.isspace()]
    edges = [edge for part in parts for edge in (part.start, part.end)]
    assert edges == sorted(edges)
    words = ctc.words(line, steps)
    assert {word.start for word in words} <= {part.start for part in parts}
    assert {word.end for word in words} <= {part.end for part in parts}


def test_a_word_is_as_sure_as_its_characters() -> None:
    steps = path([1, 2, 4, 3])
    steps[0, 3] = np.eye(8)[3] * 0.4
    (line,) = ctc.decode(steps, ALPHABET, logits=False, confidence="mean")
    assert [word.confidence for word in ctc.words(line, 4)] == pytest.approx([0.8, 0.4])
