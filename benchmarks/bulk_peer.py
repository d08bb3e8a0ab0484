"""The peer of benchmarks.bulk: faces in a folder of pictures with Ray Data, as its page on batch inference shows it.

.venv/bin/python -m benchmarks.bulk_peer PICTURES OUT ACTORS

`read_images` decodes and resizes, an actor runs ONNX Runtime as it comes, `write_parquet` writes. The network and the
decode of its maps are those of plain_handler.py.
"""

from __future__ import annotations

import json
import os
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import plain_archives

SIZE = 320
BATCH = 32


class FaceFinder:
    """The actor."""

    def __init__(self, network: bytes) -> None:
        import onnxruntime

        from benchmarks.plain_handler import PlainHandler

        self.session = onnxruntime.InferenceSession(network)
        handler: Any = PlainHandler
        self.faces = handler().faces
        self.began = time.time()

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        """Pixels, uint8 [n, 320, 320, 3] → a JSON list of faces for each, and when this actor began."""
        pictures = batch["image"].transpose(0, 3, 1, 2).astype(np.float32)
        outputs = self.session.run(None, {"input.1": pictures})
        found = [self.faces(*(each[i : i + 1] for each in outputs), SIZE, SIZE) for i in range(len(pictures))]
        began = [self.began] * len(found)
        return {"path": batch["path"], "faces": [json.dumps(each) for each in found], "began": began}


def main() -> int:
    """Run it, and print how many pictures a second there were from the first actor's start on."""
    folder, out, actors = sys.argv[1], sys.argv[2], int(sys.argv[3])
    os.environ["RAY_DATA_DISABLE_PROGRESS_BARS"] = "1"
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    with tempfile.TemporaryDirectory() as scratch:
        plain_archives.faces(Path(scratch) / "plain.mar")
        with zipfile.ZipFile(Path(scratch) / "plain.mar") as mar:
            network = mar.read("centerface.onnx")
    ray.init(address="local", logging_level="error", include_dashboard=False)
    pictures = ray.data.read_images(folder, size=(SIZE, SIZE), mode="RGB", include_paths=True)
    pool = ray.data.ActorPoolStrategy(size=actors)
    pictures.map_batches(FaceFinder, fn_constructor_args=(network,), batch_size=BATCH, compute=pool).write_parquet(out)
    ended = time.time()
    rows = ray.data.read_parquet(out).to_pandas()
    seconds = ended - rows["began"].min()
    faces = sum(len(json.loads(each)) for each in rows["faces"])
    print(f"{len(rows)} pictures, {faces} faces, {len(rows) / seconds:.1f} pictures a second")
    return 0


if __name__ == "__main__":
    sys.exit(main())
