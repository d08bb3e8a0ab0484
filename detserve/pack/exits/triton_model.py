"""The model that Triton's Python backend loads: pictures in, JSON of what is on them out. Written by detserve.

The folder that it lies in is an archive of detserve's, unpacked. `execute` is given the requests of a batch.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as triton

FOLDER = Path(__file__).resolve().parent
os.environ.setdefault("OMP_NUM_THREADS", "1")  # instances share the cores
# Before all others: another detserve may be installed.
sys.path.insert(0, str(FOLDER))

from detserve.worker.starting import starting  # noqa: E402

UNASKED_SECONDS = 20.0
"""Triton sends the warm-up as soon as an instance is loaded: one that gets none was given up, see `_given_up`."""


class TritonPythonModel:
    """One instance of the model."""

    def initialize(self, args: Mapping[str, str]) -> None:
        """Load the engines. Raises RuntimeError of one line."""
        with starting(args["model_name"]):
            if np.__version__.partition(".")[0] != "1":
                raise RuntimeError(
                    f"Triton's Python backend loses strings with numpy {np.__version__}; it wants 1.26: "
                    "pip install --no-deps -r requirements.txt"
                )
            import yaml

            from detserve.worker.predictor import Predictor

            document = yaml.safe_load((FOLDER / "model.yaml").read_text("utf-8"))
            model = args["model_name"], args["model_version"]
            gpu = int(args["model_instance_device_id"]) if args["model_instance_kind"] == "GPU" else None
            self.predictor = Predictor.load(FOLDER, document, model, gpu)
        self.unasked = threading.Timer(UNASKED_SECONDS, _given_up, [args["model_instance_name"]])
        self.unasked.daemon = True
        if json.loads(args["model_config"]).get("model_warmup"):
            self.unasked.start()

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """A response for each request, with JSON for each of its pictures: a list of objects, or an error's object."""
        self.unasked.cancel()
        return [_response(reply.body) for reply in self.predictor([_request(each) for each in requests])]


def _given_up(instance: str) -> None:
    """End this process, so that Triton says what is wrong, and ends.

    Triton looks each second whether an instance that is loading is alive. One that got no time on a processor in that
    second is given up: Triton waits for the end of its process, which nobody tells to end, and says nothing.
    """
    print(
        f"{instance} was given up by Triton while it was loading: its process got no time", file=sys.stderr, flush=True
    )
    os._exit(1)


def _request(request: Any) -> Any:
    """Triton puts the headers that it forwards among a request's parameters."""
    from detserve.worker.envelope import DEPTH, of_strings
    from detserve.worker.predictor import Request

    given = json.loads(request.parameters() or "{}")
    headers = {name: given.pop(name) for name in list(given) if name.lower().startswith("x-")}
    return Request(of_strings(_strings(request, "pictures") or [], given, _strings(request, DEPTH)), headers)


def _strings(request: Any, name: str) -> list[bytes] | None:
    tensor = triton.get_input_tensor_by_name(request, name)
    return None if tensor is None else list(tensor.as_numpy().ravel())


def _response(answers: Sequence[bytes]) -> Any:
    strings = np.array(answers, np.object_).reshape(-1, 1)
    return triton.InferenceResponse([triton.Tensor("detections", strings)])
