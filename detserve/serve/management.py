"""Management: registering models with a running TorchServe, and waiting until they are served."""

from __future__ import annotations

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import quote

import requests

from detserve.errors import ServerFailed
from detserve.places import typed
from detserve.serve.config import LOGS
from detserve.serve.model_config import Registration

_MOST_WORKERS = 10_000
"""More than any model has."""
_CANNOT_UNPACK = "Failed to save model"
# What TorchServe raises on top of the handler's own exception.
_SECOND_HAND = re.compile(r"No module named 'ts\.torch_handler\.|RuntimeError: \d+ - (Unknown|System out of)")

Kind = Literal["inference", "management"]
"""The two kinds of token."""


def _keys(run_dir: Path) -> Any:
    try:
        return json.loads((run_dir / "key_file.json").read_text("utf-8"))
    except (FileNotFoundError, ValueError):  # none is asked for, or TorchServe has not written them yet
        return None


class Management:
    """The management API of a server.

    run_dir: the server's folder, for its keys and its workers' logs; timeout: seconds for one answer.
    """

    def __init__(self, url: str, run_dir: Path, timeout: float = 300.0) -> None:
        self.url = url.rstrip("/")
        self.run_dir = run_dir
        self.timeout = timeout
        self._registered: dict[str, str] = {}

    def register(self, archive: str, name: str, serving: Registration) -> None:
        """Register an archive of the model store, by its file name, and start its workers.

        Returns before the workers are ready. Raises ServerFailed with TorchServe's reason when it refuses.
        """
        self._registered[name] = datetime.now(UTC).isoformat(timespec="milliseconds")[:23]
        parameters: dict[str, str | int] = {
            "url": archive,
            "model_name": name,
            "initial_workers": serving.worker_count,
            "batch_size": serving.batch_size,
            "max_batch_delay": serving.max_batch_delay,
            "synchronous": "false",
        }
        try:
            self._call("POST", "/models", parameters)
        except ServerFailed as error:
            if _CANNOT_UNPACK not in str(error):
                raise
            raise ServerFailed(
                f"TorchServe cannot unpack {archive}: it is damaged, or the disk is full; "
                f"{typed('pack')} {name} makes it anew"
            ) from error

    def unregister(self, name: str) -> None:
        """Take a model out and end its workers. Raises ServerFailed when TorchServe refuses."""
        self._call("DELETE", f"/models/{quote(name, safe='')}")

    def describe(self, name: str, version: str = "") -> Mapping[str, Any]:
        """What TorchServe says of one version of a model, its default one if none is named.

        `minWorkers` is how many workers it should have, `workers` those that it has, each with a `status`. Raises
        ServerFailed when there is no such model.
        """
        (model,) = self._call("GET", f"/models/{quote(name, safe='')}/{quote(version, safe='')}".rstrip("/"))
        return cast("Mapping[str, Any]", model)

    def key(self, kind: Kind) -> str | None:
        """The token of that kind, renewed if it has expired; None when the server asks for no tokens."""
        keys = _keys(self.run_dir)
        if keys is None:
            return None
        if datetime.fromisoformat(keys[kind]["expiration time"]) <= datetime.now(UTC):
            self._request("GET", "/token", {"type": kind}, keys["API"]["key"])
            keys = _keys(self.run_dir)
        return str(keys[kind]["key"])

    def set_default(self, name: str, version: str) -> None:
        """Make this the version that answers requests which name none."""
        self._call("PUT", f"/models/{quote(name, safe='')}/{quote(version, safe='')}/set-default")

    def wait_ready(self, name: str, version: str = "", timeout: float = 300.0) -> int:
        """Wait until all workers of a model are READY → how many. Its default version if none is named.

        timeout: seconds. Raises ServerFailed when they are over, or as soon as a worker dies while loading, with the
        cause in one line.
        """
        deadline = time.monotonic() + timeout
        while True:
            model = self.describe(name, version)
            states = [worker["status"] for worker in model["workers"]]
            ready = states.count("READY")
            if ready == len(states) >= model["minWorkers"]:
                return ready
            if self._cause(name, model["modelVersion"]):
                time.sleep(0.3)  # the last line of a traceback says most
                cause = self._cause(name, model["modelVersion"])
                raise ServerFailed(f"{name}: a worker died while loading: {cause} (see {self._logs / 'model_log.log'})")
            if time.monotonic() > deadline:
                raise ServerFailed(
                    f"{name}: {ready} of {model['minWorkers']} workers ready after {timeout:.0f} s; see {self._logs}"
                )
            time.sleep(0.1)

    def versions(self, name: str) -> list[dict[str, Any]]:
        """What TorchServe says of each version of a model, the default one first."""
        place = f"/models/{quote(name, safe='')}"
        (default,) = self._call("GET", place)
        others = (each for each in self._call("GET", f"{place}/all") if each["modelVersion"] != default["modelVersion"])
        return [default, *others]

    def retire(self, name: str, version: str, timeout: float = 150.0) -> None:
        """Remove a version that is not the default, once it has answered every request that it was given.

        TorchServe's DELETE ends the workers at once: the requests that they work on and those in their queue are never
        answered. timeout: seconds. Raises ServerFailed when there is no such version, when it is the default, or when
        it is not done in time; then it stays.
        """
        versions = {each["modelVersion"]: each for each in self.versions(name)}
        if version == next(iter(versions)):
            raise ServerFailed(f"{name}/{version} is the default version: make another the default first")
        if version not in versions:
            raise ServerFailed(f"{name} has no version {version!r}: {', '.join(versions)}")
        self._wait_idle(name, version, timeout)
        self._call("DELETE", f"/models/{quote(name, safe='')}/{quote(version, safe='')}")

    def _wait_idle(self, name: str, version: str, timeout: float) -> None:
        """Wait until every worker of a version has answered a question that was sent after all its requests.

        The questions go into the same queue as the requests, first in, first out, and a worker takes the next item only
        when it has answered the one before. So a worker that answers has nothing left that came earlier.
        """
        place = f"/models/{quote(name, safe='')}/{quote(version, safe='')}"
        deadline = time.monotonic() + timeout
        time.sleep(0.5)  # a request may have looked up the version just now, and not be in its queue yet
        idle: set[int] = set()
        while True:
            (model,) = self._call("GET", place)
            if {worker["pid"] for worker in model["workers"] if worker["status"] == "READY"} <= idle:
                return
            if time.monotonic() > deadline:
                waiting = model["jobQueueStatus"]["pendingRequests"]
                raise ServerFailed(f"{name}/{version} is not done after {timeout:.0f} s: {waiting} requests wait")
            try:
                (model,) = self._call("GET", place, {"customized": "true"})
                idle.add(model["customizedMetadata"]["pid"])
            except (ServerFailed, KeyError, TypeError) as error:
                raise ServerFailed(
                    f"{name}/{version} does not say when it is done, as archives of this detserve do ({error}): "
                    f"curl -X DELETE {self.url}{place} when nobody waits for it any more"
                ) from error

    def close(self) -> float:
        """Refuse every later request with 503, while the workers go on with those that wait.

        → the longest time, in seconds, that a worker waits to fill a batch.
        """
        models = self._models()
        for model in models:
            path = f"/models/{quote(model['modelName'], safe='')}/{quote(model['modelVersion'], safe='')}"
            # With a minimum of 0 TorchServe forgets the workers. It would end those above the maximum.
            self._call("PUT", path, {"min_worker": 0, "max_worker": _MOST_WORKERS})
        return max((model["maxBatchDelay"] / 1000 for model in models), default=0.0)

    def waiting(self) -> int:
        """How many requests wait in the queues of all models."""
        return sum(model["jobQueueStatus"]["pendingRequests"] for model in self._models())

    def _models(self) -> list[dict[str, Any]]:
        """What TorchServe says of every version of every model."""
        names = [model["modelName"] for model in self._call("GET", "/models", {"limit": 1000})["models"]]
        return [model for name in names for model in self._call("GET", f"/models/{quote(name, safe='')}/all")]

    def _call(self, method: str, path: str, parameters: dict[str, str | int] | None = None) -> Any:
        return self._request(method, path, parameters, self.key("management")).json()

    def _request(
        self, method: str, path: str, parameters: dict[str, str | int] | None, key: str | None
    ) -> requests.Response:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            with requests.Session() as session:
                session.trust_env = False  # no proxy on the way to loopback
                answer = session.request(
                    method, self.url + path, params=parameters, headers=headers, timeout=self.timeout
                )
        except requests.RequestException as error:
            raise ServerFailed(f"TorchServe does not answer at {self.url}; see {self._logs / 'ts_log.log'}") from error
        if answer.ok:
            return answer
        try:
            reason = answer.json()["message"]
        except (ValueError, KeyError, TypeError):
            reason = answer.reason
        raise ServerFailed(
            f"TorchServe refused {method} {path} ({answer.status_code}): {' '.join(str(reason).split())}"
        )

    @property
    def _logs(self) -> Path:
        return self.run_dir / LOGS

    def _cause(self, name: str, version: str) -> str | None:
        """Why a worker died while loading; None when none died, or it is not known yet.

        The API does not tell a dead worker from one that loads. A dying worker says so itself if it can. If it was
        killed, Java's thread for that worker logs a warning, which it does for nothing else while loading.
        """
        printed: dict[str, list[str]] = defaultdict(list)
        for thread, _, line in self._log("model_log.log", name, version):
            printed[thread].append(line)
        warnings = [line for _, level, line in self._log("ts_log.log", name, version) if level in ("WARN", "ERROR")]
        if not warnings and not any("Engine worker process died." in lines for lines in printed.values()):
            return None
        for lines in printed.values():
            if exception := last_exception(lines):
                return exception
        # TorchServe may lose what a dying worker printed: only a second death in silence counts.
        if "Auto recovery failed again" not in warnings:
            return None
        errors = [f"; its last line: {lines[-1]}" for thread, lines in printed.items() if thread.endswith("-stderr")]
        return f"it left no exception (killed, or out of memory?){''.join(errors[:1])}"

    def _log(self, file: str, name: str, version: str) -> Iterator[tuple[str, str, str]]:
        """(thread, level, message) of each line that a model's workers logged since it was registered."""
        worker = re.compile(rf"(\S+)Z \[(\w+) *\] (W-\d+-{re.escape(f'{name}_{version}')}(?:-std\w+)?) \S+ - (.*)")
        since = self._registered.get(name, "")
        try:
            lines = (self._logs / file).read_text("utf-8", "replace").splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            if (found := worker.match(line)) and found[1] >= since:
                yield found[3], found[2], found[4]


def last_exception(lines: list[str]) -> str | None:
    """The last line of the last traceback, TorchServe's own wrapping left out; None when there is no traceback."""
    found = None
    inside = False
    for line in lines:
        if line.startswith("Traceback (most recent call last)"):
            inside = True
        elif inside and line and not line[0].isspace():
            inside = False
            if not _SECOND_HAND.search(line):
                found = line
    return found
