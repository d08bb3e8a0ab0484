"""The package rapidocr's answers for a folder of labelled pictures, for benchmarks.icdar to score beside ours.

    RAPID/bin/pip install -r requirements/compare.txt && RAPID/bin/pip install --no-deps rapidocr==3.10.0
    RAPID/bin/python -m benchmarks.rapid DIR rapid.json

RAPID: an environment with numpy, opencv-python-headless, pillow, tqdm and onnxruntime as in requirements/serve.txt.
Word boxes of pictures; crops by the recogniser alone.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from benchmarks import words


def main() -> None:
    """Read all and write the file."""
    from rapidocr import RapidOCR

    folder, out = map(Path, sys.argv[1:3])
    logging.disable(logging.CRITICAL)
    engine = RapidOCR()
    labelled = words.load(folder)
    answers: dict[str, list[dict[str, Any]]] = {}
    for path in tqdm(labelled.pictures, "pictures"):
        read = engine(path.read_bytes(), return_word_box=True)
        with Image.open(path) as picture:
            size = picture.size
        lines = read.word_results if read.boxes is not None else ()  # else it holds a word of no place
        answers[path.name] = [
            {"quad_ratio": (np.array(quad, float) / size).ravel().tolist(), "text": text}
            for line in lines
            for text, _, quad in line
        ]
    for path in tqdm(labelled.crops, "crops"):
        read = engine(path.read_bytes(), use_det=False, use_cls=False, use_rec=True)
        answers[path.name] = [{"text": text} for text in read.txts or ()]
    out.write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
