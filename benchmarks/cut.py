"""The labelled words of pictures as crops: what a recogniser reads where the detector is right about everything.

    .venv/bin/python -m benchmarks.cut DIR OUT
    .venv/bin/python -m benchmarks.icdar OUT --archive model_store/ocr1.mar --each

No better detector makes more of these weights than that. Ignored words are left out.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from benchmarks import words
from detserve.pictures.decode import decode
from detserve.text.crops import crop


def cut(folder: Path, out: Path) -> dict[str, str]:
    """Write each labelled word of the folder's pictures into `out` as NAME_I.png → what they say, by their names.

    A labels.json beside them says the same. Raises BadLabels.
    """
    labelled = words.load(folder)
    out.mkdir(parents=True, exist_ok=True)
    texts = {}
    for path, there in tqdm(labelled.pictures.items(), "pictures"):
        rgb = decode(path.read_bytes()).rgb
        for i, word in enumerate(there):
            if not word.ignored:
                name = f"{path.stem}_{i}.png"
                text, _ = crop(rgb, word.quad.astype(np.float32))
                cv2.imwrite(str(out / name), text[..., ::-1])
                texts[name] = word.text
    (out / "labels.json").write_text(json.dumps({"pictures": {}, "words": texts}, indent=1))
    return texts


def main() -> int:
    """Cut out and say how many → exit status."""
    try:
        count = len(cut(Path(sys.argv[1]), Path(sys.argv[2])))
    except words.BadLabels as error:
        print(f"cut: {error}", file=sys.stderr)
        return 1
    print(f"{count} words in {sys.argv[2]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
