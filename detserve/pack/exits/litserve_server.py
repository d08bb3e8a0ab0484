"""A server of one model on LitServe: python server.py [--port 8080]. Written by detserve.

It answers as detserve's TorchServe does: the same paths, bodies, options, headers and errors. The folder that it lies
in is an archive of detserve's, unpacked; serving.json beside it says how many workers there are, and how large a batch.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import time
import uuid
from collections.abc import Mapping, Sequence
from multiprocessing import parent_process
from pathlib import Path
from queue import Empty, Queue
from typing import Any

FOLDER = Path(__file__).resolve().parent
os.environ.setdefault("OMP_NUM_THREADS", "1")  # workers share the cores
# Before all others, and so in each worker: another detserve may be installed.
sys.path.insert(0, str(FOLDER))

from fastapi import Request, Response  # noqa: E402
from litserve import LitAPI, LitServer  # noqa: E402
from litserve.loops.base import LitLoop  # noqa: E402
from litserve.specs.base import LitSpec  # noqa: E402
from litserve.utils import LitAPIStatus, LoopResponseType, ResponseBufferItem  # noqa: E402
from starlette.datastructures import UploadFile  # noqa: E402
from starlette.exceptions import HTTPException  # noqa: E402

from detserve.worker.starting import starting  # noqa: E402

SETTINGS: Mapping[str, Any] = json.loads((FOLDER / "serving.json").read_text("utf-8"))
NAME, VERSION = SETTINGS["name"], SETTINGS["version"]
WORKERS = SETTINGS["workers"] or len(os.sched_getaffinity(0))
SERVERS = 1
"""Processes that speak HTTP. They hardly work, and two would each have their own queue."""
ASKING_SECONDS = 1.0
LOOKING_SECONDS = 1.0
JSON = {"content-type": "application/json"}
PATHS = (
    f"/predictions/{NAME}",
    f"/predictions/{NAME}/{VERSION}",
    f"/v1/models/{NAME}:predict",
    f"/v2/models/{NAME}/infer",
)

Row = Mapping[str, Any]
"""What a request holds: its body under "body", or its fields of multipart by their names."""


class Api(LitAPI):  # type: ignore[misc]
    """What each worker runs."""

    def setup(self, device: str) -> None:
        """Load the engines. Raises RuntimeError of one line."""
        with starting(NAME):
            import yaml

            from detserve.worker.predictor import Predictor

            document = yaml.safe_load((FOLDER / "model.yaml").read_text("utf-8"))
            gpu = int(device.partition(":")[2]) if device.startswith("cuda") else None
            self.predictor = Predictor.load(FOLDER, document, (NAME, VERSION), gpu)

    def predict(self, requests: Sequence[tuple[Row, Mapping[str, str]]]) -> list[tuple[int, Mapping[str, str], bytes]]:
        """Rows and headers of a batch → status, headers and body of each answer."""
        from detserve.worker import envelope
        from detserve.worker.predictor import Request

        replies = self.predictor([Request(envelope.of_row(row), headers) for row, headers in requests])
        return [(reply.status, reply.headers, reply.body) for reply in replies]


class Batches(LitLoop):  # type: ignore[misc]
    """Waits for a request and takes those that came meanwhile. LitServe's own loop asks for them without a rest."""

    def run(
        self,
        lit_api: Api,
        device: str,
        worker_id: int,
        request_queue: Queue[Any],
        transport: Any,
        workers_setup_status: Mapping[str, Any],
        callback_runner: Any,
    ) -> None:
        """One batch."""
        taken: list[Any] = []
        # A worker that dies while it asks takes along whatever comes next: so it asks for a moment at a time.
        wait, end = ASKING_SECONDS, 0.0
        while len(taken) < SETTINGS["batch_size"]:
            try:
                taken.append(request_queue.get(timeout=wait))
            except Empty:
                break
            queue, name, *_ = taken[-1]
            # Whose it is now: LitServe keeps this number with the request, and `Pictures.answer` asks whether it lives.
            transport.send((name, ((), LitAPIStatus.START, LoopResponseType.REGULAR, os.getpid())), queue)
            end = end or time.monotonic() + SETTINGS["max_batch_delay"] / 1000
            wait = max(0.0, end - time.monotonic())
        if not taken:
            return
        replies = lit_api.predict([request for _, _, _, request in taken])
        for (queue, name, _, _), reply in zip(taken, replies, strict=True):
            self.put_response(transport, queue, name, reply, LitAPIStatus.OK, LoopResponseType.REGULAR)


class Pictures(LitSpec):  # type: ignore[misc]
    """The paths of TorchServe's inference port."""

    def __init__(self) -> None:
        super().__init__()
        self.api_path = PATHS[0]  # by which LitServe names the queue of requests
        for path in PATHS:
            self.add_endpoint(path, self.answer, ["PUT", "POST"])

    async def answer(self, request: Request) -> Response:
        """Hand a request to a worker, and its answer back."""
        row = await _row(request)
        if len(self._server.response_buffer) >= SETTINGS["queue"] + WORKERS * SETTINGS["batch_size"]:
            message = f"the queue of {SETTINGS['queue']} requests is full: ask again later"
            raise HTTPException(503, message, {"retry-after": "1"})
        name, item = uuid.uuid4().hex, ResponseBufferItem(asyncio.Event())
        headers = {key: value for key, value in request.headers.items() if key.startswith("x-")}
        self._server.response_buffer[name] = item
        try:
            queue = self._server._get_request_queue(self.api_path)
            await _answered(item, queue, (self._server.app.response_queue_id, name, time.monotonic(), (row, headers)))
        finally:
            del self._server.response_buffer[name]
        (code, sent, body), _ = item.response
        return Response(body, code, sent)


async def _answered(item: ResponseBufferItem, queue: Queue[Any], entry: tuple[Any, ...]) -> None:
    """Put a request into the queue and wait for its answer. Raises HTTPException where there will be none.

    LitServe starts a worker that died anew, but tells nobody in this process whose requests are lost.
    """
    end, lost = time.monotonic() + SETTINGS["response_timeout"], False
    queue.put(entry)
    while not item.event.is_set():
        try:
            await asyncio.wait_for(item.event.wait(), LOOKING_SECONDS)
        except TimeoutError:
            if time.monotonic() > end:
                raise HTTPException(500, f"no answer within {SETTINGS['response_timeout']} s") from None
            before, lost = lost, not _lives(item.worker_id) if item.worker_id else queue.empty()
            if before and lost:  # seen twice, for what a worker sent last may be on its way
                if item.worker_id:
                    raise HTTPException(500, "the worker of this request ended; it is started anew") from None
                queue.put(entry)  # a worker that died while it asked has taken it along
                lost = False


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def _row(request: Request) -> Row:
    """The body, whatever it is declared as, or the fields of a multipart form; not more than is allowed."""
    left = SETTINGS["max_body"]

    async def receive() -> Any:
        nonlocal left
        message = await request.receive()
        left -= len(message.get("body", b""))
        if left < 0:
            raise HTTPException(413, f"a body of more than {SETTINGS['max_body']} bytes")
        return message

    kind = request.headers.get("content-type", "")
    if not kind.startswith("multipart/form-data"):
        return {"body": await Request(request.scope, receive).body()}
    # A field without a file's name is text to Starlette: in this charset all bytes are letters, and come back the same.
    headers = [each for each in request.scope["headers"] if each[0] != b"content-type"]
    headers.append((b"content-type", f"{kind}; charset=latin-1".encode("latin-1")))
    limited = Request({**request.scope, "headers": headers}, receive)
    form = await limited.form(max_files=16, max_fields=64, max_part_size=SETTINGS["max_body"])
    return {
        key: await value.read() if isinstance(value, UploadFile) else value.encode("latin-1")
        for key, value in form.items()
    }


async def failed(request: Request, error: Exception) -> Response:
    """An error that no worker has answered, in the form of those that it has."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    message = str(error.detail) if isinstance(error, HTTPException) else "the server failed; its log says why"
    kinds = {400: "bad_request", 404: "not_found", 405: "method_not_allowed", 413: "body_too_large", 503: "queue_full"}
    body = json.dumps({"code": status, "type": kinds.get(status, "server_error"), "message": message})
    return Response(body, status, {**JSON, **(getattr(error, "headers", None) or {})})


async def ping() -> Response:
    """GET /ping as TorchServe answers it; /health is LitServe's."""
    return Response(b'{"status": "Healthy"}', headers=JSON)


def end(*_: object) -> None:
    """End the server as Ctrl-C does. Its processes, which inherit this, have ended their work when they come here."""
    if parent_process() is None:
        raise KeyboardInterrupt


def main() -> None:
    """Read the command line, and serve until SIGTERM or Ctrl-C."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--host", choices=("127.0.0.1", "0.0.0.0", "::"), default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    options = parser.parse_args()
    api = Api(loop=Batches(), spec=Pictures(), max_batch_size=SETTINGS["batch_size"])
    server = LitServer(api, workers_per_device=WORKERS, timeout=False, restart_workers=True)
    server.app.add_api_route("/ping", ping)
    server.app.add_exception_handler(HTTPException, failed)
    server.app.add_exception_handler(Exception, failed)
    signal.signal(signal.SIGTERM, end)
    server.run(
        host=options.host, port=options.port, num_api_servers=SERVERS, log_level="warning", generate_client_file=False,
        access_log=False,
    )  # fmt: skip


if __name__ == "__main__":
    main()
