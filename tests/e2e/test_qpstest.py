"""qpstest.py on the real server, over HTTP and over gRPC."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = {"--csv": "r.csv", "--json": "r.json", "--plot": "r.html"}


@pytest.mark.parametrize("protocol", ["http", pytest.param("grpc", marks=pytest.mark.slow)])
def test_the_server_is_measured(server, tmp_path: Path, protocol: str) -> None:
    url = server.url if protocol == "http" else f"127.0.0.1:{server.grpc_port}"
    command = [sys.executable, ROOT / "qpstest.py", "--mode", "3", "--protocol", protocol, "--url", url]
    command += ["--concurrency", "1,4", "--rate", "20", "--warmup", "0.5", "--duration", "1.5", "--pictures", "640x480"]
    command += [word for option, name in FILES.items() for word in (option, tmp_path / name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    loads = json.loads((tmp_path / "r.json").read_text())["loads"]
    assert [load["errors"] for load in loads] == [0, 0, 0], done.stdout
    for load in loads:
        assert 0 < load["p50_ms"] <= load["p90_ms"] <= load["p99_ms"] <= load["max_ms"]
        assert load["qps"] > 5
        if protocol == "http":
            assert load["infer_ms"] > 0
    assert done.stdout.count("wrote ") == 3
