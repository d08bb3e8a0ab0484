"""A running server as the tests speak to it."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests


@dataclass(frozen=True)
class Server:
    """A running server."""

    port: int
    management_port: int
    metrics_port: int
    grpc_port: int
    store: Path
    run_dir: Path

    def predict(self, name: str, data: bytes, **headers: str) -> requests.Response:
        """`curl -T` of a picture to a model; x_conf_threshold="0.1" is the header X-Conf-Threshold."""
        sent = {key.replace("_", "-"): value for key, value in headers.items()}
        return requests.put(f"{self.url}/predictions/{name}", data=data, headers=sent, timeout=30)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def management(self) -> str:
        return f"http://127.0.0.1:{self.management_port}"

    def workers(self, name: str) -> list[Mapping[str, Any]]:
        """What TorchServe says of a model's workers."""
        (model,) = requests.get(f"{self.management}/models/{name}", timeout=10).json()
        return model["workers"]

    def pids(self, name: str) -> list[int]:
        return [worker["pid"] for worker in self.workers(name)]

    def metrics(self) -> str:
        return requests.get(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=10).text


def free_ports(count: int) -> list[int]:
    """Ports that nothing listens on just now."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def port_options() -> dict[str, int]:
    """Free ports for every port option of serve.py."""
    options = ("--port", "--management-port", "--metrics-port", "--grpc-port", "--grpc-management-port")
    return dict(zip(options, free_ports(len(options)), strict=True))
