from __future__ import annotations

import json
from pathlib import Path

import pytest

from detserve.archives import archive
from detserve.archives.recipe import PackedModel, Recipe
from detserve.engines.base import EnginePlan
from detserve.errors import BadArchive, BadSpec
from detserve.pack import command as repack
from detserve.places import CONFIG_DIR
from detserve.serve.kserve import lay_out


def write(store: Path, name: str, version: str = "1.0") -> None:
    plan = EnginePlan(precision="fp32", max_batch=1)
    part = PackedModel(model="centerface", settings={}, backend="onnx", plan=plan, weights_sha256="", parity={})
    archive.write(store / f"{name}.mar", name, version, "face.py", Recipe(detect=part, options={}), {})


@pytest.fixture
def store(tmp_path: Path) -> Path:
    write(tmp_path / "store", "fd1", "2.1")
    write(tmp_path / "store", "mine")
    return tmp_path / "store"


@pytest.fixture
def config_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "config"
    folder.mkdir()
    (folder / "config.properties").write_bytes((CONFIG_DIR / "config.properties").read_bytes())
    (folder / "fd1.yaml").write_text("serve:\n  workers: 3\n  batch_size: 4\n  max_batch_delay: 5\n")
    return folder


def properties(folder: Path) -> dict[str, str]:
    lines = (folder / "config" / "config.properties").read_text("ascii").splitlines()
    return dict(line.split("=", 1) for line in lines)


def test_the_snapshot_names_each_archive_with_its_version_and_workers(
    store: Path, config_dir: Path, tmp_path: Path
) -> None:
    assert lay_out(store, [], tmp_path / "out", config_dir) == ["fd1", "mine"]
    found = properties(tmp_path / "out")
    snapshot = json.loads(found["model_snapshot"])
    assert snapshot["modelCount"] == 2
    fd1, mine = snapshot["models"]["fd1"], snapshot["models"]["mine"]
    (state,) = fd1.values()
    assert list(fd1) == ["2.1"] and state["defaultVersion"] is True
    assert [state[key] for key in ("minWorkers", "maxWorkers", "batchSize", "maxBatchDelay")] == [3, 3, 4, 5]
    assert mine["1.0"]["minWorkers"] == 1, "no configuration says one a core, and a cluster adds pods"
    for models in (fd1, mine):
        (state,) = models.values()
        copy = tmp_path / "out" / "model-store" / state["marName"]
        assert copy.read_bytes() == (store / state["marName"]).read_bytes()
    assert found["model_store"] == "/mnt/models/model-store"
    assert "\\" not in "".join(found.values()), "KServe's wrapper reads the file without Java's escapes"


def test_only_what_is_named_is_laid_out_and_nobody_may_register_more(store: Path, tmp_path: Path) -> None:
    assert lay_out(store, ["mine"], tmp_path / "out") == ["mine"]
    assert [path.name for path in (tmp_path / "out" / "model-store").iterdir()] == ["mine.mar"]
    found = properties(tmp_path / "out")
    assert (found["enable_model_api"], found["enable_envvars_config"]) == ("false", "true")
    assert found["management_address"].startswith("http://127.0.0.1:")
    assert int(found["max_request_size"]) == 32 * 2**20


def test_what_does_not_hold_writes_nothing(store: Path, config_dir: Path, tmp_path: Path) -> None:
    (store / "broken.mar").write_bytes(b"PK")
    for names, message in ((["absent"], "no file .*absent.mar"), (["fd1", "broken"], "broken.mar is no archive")):
        with pytest.raises(BadArchive, match=message):
            lay_out(store, names, tmp_path / "out", config_dir)
    (config_dir / "fd1.yaml").write_text("serve:\n  worker: 3\n")
    with pytest.raises(BadSpec, match="did you mean 'workers'"):
        lay_out(store, ["fd1"], tmp_path / "out", config_dir)
    with pytest.raises(BadArchive, match="no archive in"):
        lay_out(tmp_path / "nowhere", [], tmp_path / "out", config_dir)
    assert not (tmp_path / "out").exists()


def test_the_command_says_what_it_did_or_why_not(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out")
    assert repack.main(["--kserve", out, "mine", "--out", str(store)]) == 0
    assert capsys.readouterr().out == f"{out} holds mine for KServe\n"
    assert repack.main(["--kserve", out, "absent", "--out", str(store)]) == 1
    assert capsys.readouterr().err.startswith("repack: no file ")
