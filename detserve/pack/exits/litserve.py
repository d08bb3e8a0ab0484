"""LitServe: an archive as a folder with a server of LitServe's, which is started by `python server.py`."""

from __future__ import annotations

import json
from pathlib import Path

from detserve.pack.exits import folder, packages
from detserve.pack.exits.source import Source
from detserve.places import CONFIG_DIR
from detserve.serve.config import template
from detserve.serve.defaults import registration
from detserve.serve.model_config import ModelConfig, Registration

SERVER = Path(__file__).with_name("litserve_server.py")
PACKAGES = (
    "litserve==0.2.19",
    "fastapi==0.165.0",
    "starlette==1.10.0",
    "uvicorn==0.54.0",
    "httptools==0.9.0",
    "uvloop==0.23.0",
    "python-multipart==0.0.34",
)


def lay_out(path: Path, target: Path, config_dir: Path = CONFIG_DIR) -> None:
    """Write the archive as that folder, in the place of an older one.

    Workers, batches and their delay are as config_dir/NAME.yaml says. Raises BadArchive for an archive that cannot be
    laid out and for a folder of somebody else's, BadSpec for a faulty configuration; then nothing was written.
    """
    source = Source.of(path)
    serving = ModelConfig.load(config_dir, source.name, registration(path)).serve
    own = {
        "server.py": SERVER.read_bytes(),
        "serving.json": settings(source, serving, config_dir),
        "requirements.txt": packages.requirements(source),
        "requirements-server.txt": "".join(f"{package}\n" for package in PACKAGES).encode(),
        "README.md": readme(source).encode(),
    }
    if text := dockerfile(source):
        own["Dockerfile"] = text.encode()
    folder.write(target, {**source.files, **own}, target="LitServe")


def settings(source: Source, serving: Registration, config_dir: Path) -> bytes:
    """serving.json. workers: 0 for one a core of the machine that it runs on; queue: requests that may wait."""
    common = template(config_dir)
    found = {
        "name": source.name,
        "version": source.version,
        "workers": serving.workers,
        "batch_size": serving.batch_size,
        "max_batch_delay": serving.max_batch_delay,
        "queue": int(common["job_queue_size"]),
        "response_timeout": int(common["default_response_timeout"]),
        "max_body": int(common["max_request_size"]),
    }
    return json.dumps(found, indent=2).encode() + b"\n"


def dockerfile(source: Source) -> str:
    """A container of it; "" for a GPU, whose driver and TensorRT an image has to fit."""
    wanted = packages.by_hand(source)
    if {*wanted} - {packages.TORCH}:
        return ""
    install = "".join(f"RUN pip install --no-cache-dir {package}\n" for package in wanted)
    index = "# Names PyTorch's index of CPU builds: that for CUDA is larger by gigabytes.\nARG PIP_EXTRA_INDEX_URL\n"
    return f"""\
# docker build -t {source.name} . && docker run --rm -p 8080:8080 --init --stop-timeout 60 {source.name}
FROM python:3.11-slim-bookworm
WORKDIR /app
{index * bool(wanted)}{install}COPY requirements.txt requirements-server.txt ./
RUN pip install --no-cache-dir --no-deps -r requirements.txt && pip install --no-cache-dir -r requirements-server.txt
COPY . .
USER 65534
EXPOSE 8080
HEALTHCHECK --start-period=60s CMD ["python", "-c", \\
    "import urllib.request; urllib.request.urlopen('http://127.0.0.1:8080/health', timeout=5)"]
CMD ["python", "server.py", "--host", "0.0.0.0"]
"""


def readme(source: Source) -> str:
    """How to start it."""
    container = "`Dockerfile` makes a container of it.\n" if dockerfile(source) else ""
    return f"""\
# {source.name} on LitServe

Written by detserve from {source.name}.mar, version {source.version}. It wants Python 3.11 or later.
{packages.in_words(source)}
    pip install --no-deps -r requirements.txt && pip install -r requirements-server.txt
    python server.py --port 8080
    curl -T img.jpg localhost:8080/predictions/{source.name}

Bodies, multipart, KServe's JSON, options, headers and errors are those of detserve's TorchServe. `GET /health` is 200
when all workers have loaded. `serving.json` has the number of workers (0: one a core), the largest batch, the
milliseconds that it waits, and the limits of queue and body. Keys, TLS and limits of callers are a proxy's task.
{container}"""
