"""How well words are found and read: ICDAR 2015's protocol, on a folder of labelled pictures.

    .venv/bin/python -m benchmarks.icdar DIR                                 # the server of `make serve`
    .venv/bin/python -m benchmarks.icdar DIR --archive model_store/ocr1.mar  # in process
    .venv/bin/python -m benchmarks.icdar DIR --answers rapid.json            # answers of benchmarks.rapid

DIR holds pictures and gt_NAME.txt as ICDAR 2015 publishes them, or a labels.json (see benchmarks/words.py); crops of
single words too, which are read with detection off. A match is an IoU of more than 0.5, one to one; what lies in a word
that is not cared for counts for nothing; a match is read right in any case, punctuation at its ends aside.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from benchmarks import asking, words
from benchmarks.asking import Answer
from benchmarks.matching import Tally, tally
from benchmarks.words import BadLabels, Labelled, Word
from detserve.errors import DetserveError, SetupError
from detserve.pictures.decode import read_header

Look = Callable[[Path], Answer]
"""A picture's path → what is on it."""


@dataclass(frozen=True)
class Score:
    """pictures: the count of each; crops: what was read in each, beside what it says."""

    pictures: dict[str, Tally] = field(default_factory=dict)
    crops: dict[str, tuple[str, str]] = field(default_factory=dict)

    @property
    def total(self) -> Tally:
        """The count of all pictures together."""
        return sum(self.pictures.values(), Tally())

    @property
    def crops_read(self) -> int:
        """How many crops are read right, letter by letter in any case."""
        return sum(true.lower() == read.lower() for true, read in self.crops.values())


def measure(labelled: Labelled, ask: Look, ask_for_line: Look) -> Score:
    """Ask for the words of every picture and for the line of every crop."""
    score = Score()
    for path, there in tqdm(labelled.pictures.items(), "pictures", disable=not labelled.pictures):
        score.pictures[path.name] = tally(found_words(ask(path), read_header(path.read_bytes()).size), there)
    for path, text in tqdm(labelled.crops.items(), "crops", disable=not labelled.crops):
        lines = ask_for_line(path)
        if any("text" not in line for line in lines):
            raise SetupError(f"{path}: the answer has no text: crops need a model that reads, ocr1 for instance")
        score.crops[path.name] = text, " ".join(line["text"] for line in lines)
    return score


def found_words(answer: Answer, size: tuple[int, int]) -> list[Word]:
    """The objects of an answer as words in pixels of a picture of that (width, height).

    Raises SetupError for an answer of a model that finds no text.
    """
    if any("quad_ratio" not in each for each in answer):
        raise SetupError("the answer has no quads: a model that finds text is needed, ocr1 for instance")
    quads = [np.array(each["quad_ratio"], np.float64).reshape(4, 2) * size for each in answer]
    return [Word(quad, each.get("text", "")) for quad, each in zip(quads, answer, strict=True)]


def table(score: Score, each: bool) -> str:
    """The figures; each: of every picture and crop as well."""
    lines = []
    if each:
        lines += [
            f"{name}: {t.matched} of {t.there} with {t.found}, {t.read} read" for name, t in score.pictures.items()
        ]
        lines += [
            f"{name}: {true} read as {read}"
            for name, (true, read) in score.crops.items()
            if true.lower() != read.lower()
        ]
    if score.pictures:
        t = score.total
        lines += [
            f"words        {t.matched} matched, {t.there} there, {t.found} found",
            f"precision    {t.precision:.3f}",
            f"recall       {t.recall:.3f}",
            f"hmean        {t.hmean:.3f}",
            f"read right   {t.right:.3f} of the matched ({t.read})",
            f"end to end   {t.end_to_end:.3f} hmean",
        ]
    if score.crops:
        lines.append(f"crops        {score.crops_read} of {len(score.crops)} read right")
    return "\n".join(lines)


def given_answers(file: Path, labelled: Labelled) -> dict[str, Answer]:
    """The answers of a file by the names of their pictures. Raises BadLabels where it lacks one, or is no such file."""
    try:
        answers: dict[str, Answer] = json.loads(file.read_text("utf-8"))
        missing = [path.name for path in [*labelled.pictures, *labelled.crops] if path.name not in answers]
    except (OSError, ValueError, TypeError) as error:
        raise BadLabels(f"{file} is no file of answers ({error}); benchmarks.rapid writes one") from error
    if missing:
        raise BadLabels(f"{file} has no answer for {missing[0]}; it is of other pictures")
    return answers


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures → exit status."""
    parser = argparse.ArgumentParser(
        prog="benchmarks.icdar", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    asking.add_arguments(parser, "ocr1")
    parser.add_argument("--answers", type=Path, metavar="FILE.json", help="score these: {picture: answer}")
    parser.add_argument("--lines", action="store_true", help="the labels are of lines: leave lines whole")
    parser.add_argument("--each", action="store_true", help="print every picture, and every crop that is misread")
    options = parser.parse_args(arguments)
    try:
        labelled = words.load(options.folder)
        if options.answers:
            answers = given_answers(options.answers, labelled)
            score = measure(labelled, lambda path: answers[path.name], lambda path: answers[path.name])
        else:
            with asking.opened(options) as asks:
                split = asks({"X-Split": "lines" if options.lines else "words"})
                line = asks({"X-Detect": "off"})
                score = measure(labelled, lambda path: split(path.read_bytes()), lambda path: line(path.read_bytes()))
    except (BadLabels, DetserveError) as error:
        print(f"icdar: {error}", file=sys.stderr)
        return 1
    print(table(score, options.each))
    return 0


if __name__ == "__main__":
    sys.exit(main())
