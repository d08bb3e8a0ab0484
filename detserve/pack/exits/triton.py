"""Triton: an archive as a model of its Python backend, which holds the whole pipeline.

::

    DIR/fd1/config.pbtxt            what Triton wants to be told, from config/fd1.yaml
    DIR/fd1/1/model.py              triton_model.py; beside it the archive unpacked
    DIR/fd1/warmup/pictures         the picture that each instance answers before the model is ready
    DIR/fd1/README.md               how to start it
    DIR/fd1/requirements.txt        what its Python needs
    DIR/fd1/.detserve               the names of all these, by which they are known as ours

One model and no ensemble: steps of Python cost more between them than the steps themselves.
"""

from __future__ import annotations

import struct
from pathlib import Path

from detserve.core.machine import gpus
from detserve.errors import BadArchive
from detserve.pack.exits import drawn, folder, packages
from detserve.pack.exits.source import Source
from detserve.places import CONFIG_DIR
from detserve.serve.config import template
from detserve.serve.defaults import ON_GPU, registration
from detserve.serve.model_config import ModelConfig, Registration
from detserve.worker.envelope import DEPTH, MAX_PICTURES

NUMPY = "numpy==1.26.4"
"""The last of numpy 1: what Triton's Python backend hands over as strings is broken under numpy 2."""
SERVER = "nvidia-pytriton==0.7.0"
"""The package that holds Triton's server, 2.51, for machines without containers."""
MODEL = Path(__file__).with_name("triton_model.py")


def lay_out(path: Path, repository: Path, config_dir: Path = CONFIG_DIR) -> Path:
    """Write the archive into a model repository → the folder of its version there; other versions stay.

    Workers, batches and their delay are as config_dir/NAME.yaml says. Raises BadArchive for an archive that Triton
    cannot serve and for a model of somebody else's, BadSpec for a faulty configuration; then nothing was written.
    """
    source = Source.of(path)
    version = version_number(source)
    serving = ModelConfig.load(config_dir, source.name, registration(path)).serve
    model = repository / source.name
    own = {
        "README.md": readme(source).encode(),
        "requirements.txt": packages.requirements(source, numpy=NUMPY),
        **{f"warmup/{name}": strings for name, strings in warmup(source).items()},
        "config.pbtxt": config(source, serving, int(template(config_dir)["job_queue_size"])).encode(),
    }
    of_version = {f"{version}/{name}": content for name, content in source.files.items()}
    of_version[f"{version}/model.py"] = MODEL.read_bytes()
    others = (path.name for path in model.glob("*") if path.name.isdecimal() and path.name != version)
    folder.write(model, {**own, **of_version}, target="Triton", keep=sorted(others))
    return model / version


def version_number(source: Source) -> str:
    """ "2.0" → "2". Raises BadArchive for a version that is no whole number, which is all that Triton knows."""
    whole, _, rest = source.version.partition(".")
    if not whole.isdecimal() or int(whole) < 1 or rest.strip("0."):
        raise BadArchive(
            f"{source.name} has the version {source.version}, and Triton's are whole numbers from 1: "
            "pack it with --version 2, for instance"
        )
    return str(int(whole))


def config(source: Source, serving: Registration, queue: int) -> str:
    """config.pbtxt. queue: requests that may wait; the next is answered 503."""
    inputs = ["pictures", *([DEPTH] if source.depth else [])]
    on_gpu = "tensorrt" in source.backends or (gpus() > 0 and bool(source.backends & ON_GPU))
    count = max(1, serving.worker_count // max(1, gpus())) if on_gpu else serving.worker_count
    tensor = "data_type: TYPE_STRING dims: [ 1 ]"
    # Optional, so that it is detserve that says what is missing.
    declared = ", ".join(f'{{ name: "{name}" {tensor}{" optional: true" * (name == DEPTH)} }}' for name in inputs)
    drawn_inputs = "\n".join(
        f'  inputs {{ key: "{name}" value {{ {tensor} input_data_file: "{name}" }} }}' for name in inputs
    )
    processes = "on each GPU" if on_gpu else "one a core of the machine that wrote this, unless the YAML says otherwise"
    return f"""\
# Written by detserve from config/{source.name}.yaml and {source.name}.mar.
name: "{source.name}"
backend: "python"
# Pictures of one request at most. Requests are joined to batches of the preferred size.
max_batch_size: {MAX_PICTURES}
dynamic_batching {{
  preferred_batch_size: [ {min(serving.batch_size, MAX_PICTURES)} ]
  max_queue_delay_microseconds: {1000 * serving.max_batch_delay}
  default_queue_policy {{ max_queue_size: {queue} }}
}}
input [ {declared} ]
output [ {{ name: "detections" {tensor} }} ]
# Processes: {processes}.
instance_group [ {{ count: {count} kind: {"KIND_GPU" if on_gpu else "KIND_CPU"} }} ]
# Every version that lies here is served; a request that names none is answered by the highest.
version_policy {{ all {{}} }}
# Two pictures are hardly ever the same.
response_cache {{ enable: false }}
# Each instance has answered a picture before the model is ready.
model_warmup [ {{
  name: "drawn"
  batch_size: 1
{drawn_inputs}
}} ]
"""


def warmup(source: Source) -> dict[str, bytes]:
    """Input → a file of it as Triton reads strings: their length, then their bytes."""
    files = {"pictures": drawn.picture()}
    if source.depth:
        files[DEPTH] = drawn.depth()
    return {name: struct.pack("<I", len(content)) + content for name, content in files.items()}


def readme(source: Source) -> str:
    """How to start Triton with this model."""
    name, depth = source.name, f" and their depth maps as `{DEPTH}`" if source.depth else ""
    return f"""\
# {name} for NVIDIA's Triton

Written by detserve from {name}.mar, version {source.version}. The whole pipeline is one model of the Python backend:
`pictures`{depth} in (BYTES, shape [n, 1]), `detections` out (BYTES, [n, 1]): for each picture the JSON that detserve
answers, or an object of `code`, `type` and `message` in the place of a picture that cannot be answered.

Start Triton in the folder that this model's folder lies in. Its Python must be 3.11 or 3.12, the one that Triton's
backend was built for, with the packages of each model's `requirements.txt`. They have numpy 1, which Triton's Python
backend needs.
{packages.in_words(source)}
In a container, of an image that has the Python backend and Python 3.12 (NVIDIA's `tritonserver`, 24.11 or later):

    docker run --rm -p 8000:8000 -p 8001:8001 --shm-size 1g --stop-timeout 60 -v "$PWD:/models" "$TRITON_IMAGE" sh -c '
        pip install --no-deps $(printf " -r %s" /models/*/requirements.txt) &&
        exec tritonserver --model-repository /models --http-header-forward-pattern "(?i)x-.*"'

Without a container, by the server in the package {SERVER.partition("=")[0]}. It wants x86-64, glibc 2.35 and the shared
library of Python 3.11:

    python3.11 -m venv ~/triton  # not here, where Triton takes each folder for a model
    ~/triton/bin/pip install --no-deps {SERVER} $(printf " -r %s" */requirements.txt)
    at=~/triton/lib/python3.11/site-packages/pytriton/tritonserver
    ln -sf ../../python_backend_stubs/3.11/triton_python_backend_stub "$at/backends/python/"
    PATH="$HOME/triton/bin:$PATH" "$at/bin/tritonserver" --model-repository "$PWD" \\
        --backend-directory "$at/backends" --http-header-forward-pattern '(?i)x-.*'

The first `python3` on the PATH is the environment that the model runs in. A start that ends with `Stub process … is not
healthy` found the machine too busy: start it again. Ask it; a picture stands in JSON as base64:

    curl localhost:8000/v2/health/ready
    echo '{{"inputs": [{{"name": "pictures", "shape": [1, 1], "datatype": "BYTES",
        "data": ["'$(base64 -w0 img.jpg)'"]}}]}}' | curl --data-binary @- localhost:8000/v2/models/{name}/infer

Options are `parameters` of the request, or headers where `--http-header-forward-pattern` lets them through. Bytes as
they are, without base64, go by gRPC or by Triton's binary extension of HTTP.
"""
