"""What TorchServe is started with: addresses, ports, tokens, folders."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
from pathlib import Path
from typing import Any, NamedTuple

from detserve.errors import BadSpec
from detserve.places import CONFIG_DIR
from detserve.serve.model_config import Registration

LOOPBACK = "127.0.0.1"
LOGS = "logs"
"""The folder of the log files, in that of the server."""
_SOCKET_PATH = 103
"""The longest path of a unix socket in bytes, on the strictest system."""


class Listener(NamedTuple):
    """One port of the server and the option of serve.py that sets it."""

    option: str
    address: str
    port: int


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One server: where it listens, what it serves from, and where its files go.

    address: IPv4 address of inference, REST and gRPC; metrics_address: of the metrics, which need no token; management
    stays on loopback. token_auth: None asks for tokens on every address but loopback; token_minutes: how long one is
    good for. stop_timeout: seconds from the signal that ends the server to its end; answers to accepted requests have
    all but ten of them. model_store: folder of the archives; run_dir: logs, keys, effective configuration and unpacked
    archives. preload: models that TorchServe loads at its start, with the API that registers and removes models off;
    None leaves that API on. Raises BadSpec for an address, port, duration or folder that a server cannot have.
    """

    model_store: Path
    run_dir: Path
    address: str = LOOPBACK
    port: int = 8080
    management_port: int = 8081
    metrics_port: int = 8082
    grpc_port: int = 7070
    grpc_management_port: int = 7071
    metrics_address: str = LOOPBACK
    token_auth: bool | None = None
    token_minutes: int = 60
    stop_timeout: int = 25
    preload: Mapping[str, Registration] | None = None
    config_dir: Path = CONFIG_DIR

    def __post_init__(self) -> None:
        for name in ("model_store", "run_dir", "config_dir"):
            object.__setattr__(self, name, getattr(self, name).resolve())  # Java runs in another folder
        for address in (self.address, self.metrics_address):
            try:
                IPv4Address(address)
            except AddressValueError:
                raise BadSpec(f"address {address!r} is no IPv4 address, and TorchServe takes no other") from None
        if self.token_minutes < 1:
            raise BadSpec(f"--token-minutes must be at least 1, not {self.token_minutes}")
        if self.stop_timeout < 1:
            raise BadSpec(f"--stop-timeout must be at least 1, not {self.stop_timeout}")
        options: dict[int, str] = {}
        for option, _, port in self.listeners:
            if not 1 <= port <= 65534:
                raise BadSpec(f"{option} must lie between 1 and 65534, not {port}")
            if port in options:
                raise BadSpec(f"{options[port]} and {option} are both {port}")
            options[port] = option
        if len(os.fsencode(self.tmp / ".ts.sock.65535")) > _SOCKET_PATH:
            raise BadSpec(f"the path of the run directory {self.run_dir} is too long for the workers' sockets")

    @property
    def listeners(self) -> tuple[Listener, ...]:
        """All ports of the server. Whoever reaches a management port can run code, so those stay on loopback."""
        return (
            Listener("--port", self.address, self.port),
            Listener("--management-port", LOOPBACK, self.management_port),
            Listener("--metrics-port", self.metrics_address, self.metrics_port),
            Listener("--grpc-port", self.address, self.grpc_port),
            Listener("--grpc-management-port", LOOPBACK, self.grpc_management_port),
        )

    @property
    def tokens(self) -> bool:
        """Whether requests need a token."""
        return self.token_auth if self.token_auth is not None else not IPv4Address(self.address).is_loopback

    @property
    def logs(self) -> Path:
        """The folder of the log files."""
        return self.run_dir / LOGS

    @property
    def tmp(self) -> Path:
        """The folder of unpacked archives and workers' sockets; a server empties it."""
        return self.run_dir / "tmp"

    @property
    def classes(self) -> Path:
        """The folder of what Java loads instead of TorchServe's own; see `detserve.serve.netty`."""
        return self.run_dir / "classes"

    @property
    def key_file(self) -> Path:
        """Where TorchServe writes its keys: its working directory."""
        return self.run_dir / "key_file.json"


def write(settings: Settings) -> Path:
    """Write the effective configuration into the run directory → its path.

    It is config/config.properties with these settings. Raises BadSpec when that template cannot be read.
    """
    properties = template(settings.config_dir) | _properties(settings)
    if settings.preload is not None:
        properties |= {"enable_model_api": "false", "model_snapshot": _snapshot(settings.preload, properties)}
    path = settings.run_dir / "config.properties"
    path.parent.mkdir(parents=True, exist_ok=True)
    if settings.tokens:
        settings.key_file.touch(mode=0o600)  # TorchServe shuts it to others only after it has written the keys
    path.write_text("".join(f"{key}={_escape(value)}\n" for key, value in sorted(properties.items())), "ascii")
    return path


def template(config_dir: Path) -> dict[str, str]:
    """The properties that are the same for every server. Raises BadSpec when their file cannot be read."""
    path = config_dir / "config.properties"
    try:
        lines = path.read_text("utf-8").splitlines()
    except OSError as error:
        raise BadSpec(f"cannot read {path}: {error.strerror}") from error
    pairs = (line.split("=", 1) for line in lines if "=" in line and not line.lstrip().startswith("#"))
    return {key.strip(): value.strip() for key, value in pairs}


def _properties(settings: Settings) -> dict[str, str]:
    return {
        "inference_address": f"http://{settings.address}:{settings.port}",
        "management_address": f"http://{LOOPBACK}:{settings.management_port}",
        "metrics_address": f"http://{settings.metrics_address}:{settings.metrics_port}",
        "grpc_inference_address": settings.address,
        "grpc_inference_port": str(settings.grpc_port),
        "grpc_management_address": LOOPBACK,
        "grpc_management_port": str(settings.grpc_management_port),
        "disable_token_authorization": str(not settings.tokens).lower(),
        "token_expiration_min": str(settings.token_minutes),
        "model_store": str(settings.model_store),
        "metrics_config": str(settings.config_dir / "metrics.yaml"),
    }


def _snapshot(models: Mapping[str, Registration], properties: Mapping[str, str]) -> str:
    """TorchServe's JSON of models to restore: of its two ways to load at the start, the one that takes a delay of 0."""
    # The version is a label here: what counts stands in the archive.
    entries = {name: {"1.0": model_state(name, m, m.worker_count, properties)} for name, m in models.items()}
    return json.dumps({"name": "serve", "modelCount": len(entries), "models": entries})


def model_state(name: str, serving: Registration, workers: int, properties: Mapping[str, str]) -> dict[str, Any]:
    """The entry of a model's one version in TorchServe's JSON. properties: those of every server, for the timeouts."""
    return {
        "defaultVersion": True,
        "marName": f"{name}.mar",
        "minWorkers": workers,
        "maxWorkers": workers,
        "batchSize": serving.batch_size,
        "maxBatchDelay": serving.max_batch_delay,
        "responseTimeout": int(properties["default_response_timeout"]),
        "startupTimeout": int(properties["default_startup_timeout"]),
    }


def _escape(value: str) -> str:
    """Java reads properties as Latin-1 where a backslash escapes: all but printable ASCII is written as \\uXXXX."""
    units = struct.iter_unpack(">H", value.replace("\\", "\\\\").encode("utf-16-be"))
    return "".join(chr(unit) if 32 <= unit < 127 else f"\\u{unit:04x}" for (unit,) in units)
