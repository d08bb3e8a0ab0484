"""The package rapidocr as a peer, with OpenVINO or ONNX Runtime on one thread; and its answers for a folder of labelled
pictures, for benchmarks.icdar to score beside ours.

    RAPID/bin/pip install -r requirements/compare.txt && RAPID/bin/pip install --no-deps rapidocr==3.10.0
    RAPID/bin/python -m benchmarks.rapid DIR rapid.json

RAPID: an environment with numpy, opencv-python-headless, pillow, tqdm and onnxruntime as in requirements/serve.txt; for
the peer this one, which lacks requirements/compare.txt alone. Word boxes of pictures; crops by the recogniser alone.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks import words

if TYPE_CHECKING:
    from detserve.bench.target import Attack, Outcome
    from detserve.pictures.depth import WithDepth

RUNTIMES = ("openvino", "onnxruntime")


def engine(runtime: str) -> Callable[..., Any]:
    """rapidocr with its defaults but for the runtime, one of RUNTIMES, and one thread.

    Raises ImportError where requirements/compare.txt is not installed.
    """
    import cv2
    from rapidocr import EngineType, RapidOCR

    logging.disable(logging.CRITICAL)
    cv2.setNumThreads(1)
    kind = {"openvino": EngineType.OPENVINO, "onnxruntime": EngineType.ONNXRUNTIME}[runtime]
    threads = {"openvino.inference_num_threads": 1, "onnxruntime.intra_op_num_threads": 1}
    found: Callable[..., Any] = RapidOCR(
        params={f"{part}.engine_type": kind for part in ("Det", "Cls", "Rec")}
        | {f"EngineConfig.{name}": number for name, number in threads.items()}
    )
    return found


@dataclass(frozen=True)
class RapidTarget:
    """rapidocr in the load process, a target of compare.py: one picture at a time, as `EngineTarget` runs ours."""

    runtime: str

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Attack]:
        """Load its engines."""
        from detserve.bench.target import Outcome

        read = engine(self.runtime)
        turn = asyncio.Lock()

        async def attack(picture: bytes | WithDepth) -> Outcome:
            async with turn:
                await asyncio.sleep(0)  # the next ones join the queue meanwhile
                try:
                    texts = read(picture).txts or ()
                except Exception as error:
                    return Outcome(type(error).__name__)
                return Outcome("200", json.dumps(list(texts)).encode())

        yield attack


def main() -> None:
    """Read all and write the file."""
    from PIL import Image
    from rapidocr import RapidOCR
    from tqdm import tqdm

    folder, out = map(Path, sys.argv[1:3])
    logging.disable(logging.CRITICAL)
    reader = RapidOCR()
    labelled = words.load(folder)
    answers: dict[str, list[dict[str, Any]]] = {}
    for path in tqdm(labelled.pictures, "pictures"):
        read = reader(path.read_bytes(), return_word_box=True)
        with Image.open(path) as picture:
            size = picture.size
        lines = read.word_results if read.boxes is not None else ()  # else it holds a word of no place
        answers[path.name] = [
            {"quad_ratio": (np.array(quad, float) / size).ravel().tolist(), "text": text}
            for line in lines
            for text, _, quad in line
        ]
    for path in tqdm(labelled.crops, "crops"):
        read = reader(path.read_bytes(), use_det=False, use_cls=False, use_rec=True)
        answers[path.name] = [{"text": text} for text in read.txts or ()]
    out.write_text(json.dumps(answers))


if __name__ == "__main__":
    main()
