import json
import os
import zipfile
from pathlib import Path

import pytest
import yaml

from detserve.archives import archive
from detserve.archives.checksums import sum_beside
from detserve.archives.recipe import PackedModel, Recipe
from detserve.engines.base import EnginePlan
from detserve.errors import BadArchive, BadSpec

PART = PackedModel(
    model="centerface",
    settings={"size": [64, 96], "conf": 0.25},
    backend="onnx",
    plan=EnginePlan(precision="fp32", max_batch=3),
    weights_sha256="0" * 64,
    parity={"raw": 0.0},
)
RECIPE = Recipe(detect=PART, options={})


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    (tmp_path / "in").mkdir()
    contents = {"face.py": b"class Handler: pass\n", "engine/a.bin": bytes(range(256)) * 50, "detserve/x.py": b""}
    found = {}
    for name, content in contents.items():
        found[name] = tmp_path / "in" / name.replace("/", "_")
        found[name].write_bytes(content)
    return found


def write(path: Path, files: dict[str, Path]) -> None:
    archive.write(path, "fd1", "2.0", "face.py", RECIPE, files)


def test_what_was_written_is_read(tmp_path: Path, files: dict[str, Path]) -> None:
    write(tmp_path / "new" / "fd1.mar", files)
    found = archive.read(tmp_path / "new" / "fd1.mar")
    assert (found.name, found.version, found.handler, found.recipe) == ("fd1", "2.0", "face.py", RECIPE)
    assert found.files["engine/a.bin"] == 12800
    assert found.recipe.detect.spec().size == (64, 96)
    with zipfile.ZipFile(tmp_path / "new" / "fd1.mar") as mar:
        assert mar.testzip() is None
        assert mar.read("engine/a.bin") == files["engine/a.bin"].read_bytes()


def test_the_same_input_gives_the_same_bytes_at_any_time(tmp_path: Path, files: dict[str, Path]) -> None:
    write(tmp_path / "a.mar", files)
    for path in files.values():
        os.utime(path, (1, 1))
    write(tmp_path / "b.mar", dict(reversed(files.items())))
    assert (tmp_path / "a.mar").read_bytes() == (tmp_path / "b.mar").read_bytes()


def test_a_crash_leaves_the_old_archive_and_nothing_beside_it(
    tmp_path: Path, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "store" / "fd1.mar"
    write(target, files)
    before = target.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(BadArchive, match=r"^cannot write .*fd1\.mar: No space left on device; nothing was changed"):
            write(target, files)
    files["engine/a.bin"].unlink()
    with pytest.raises(BadArchive, match="No such file"):
        write(target, files)
    assert target.read_bytes() == before
    assert sorted(target.parent.iterdir()) == [target, sum_beside(target)]


def test_no_serving_key_stands_in_the_yaml(tmp_path: Path, files: dict[str, Path]) -> None:
    """TorchServe would let it win over what `POST /models?batch_size=...` says."""
    write(tmp_path / "fd1.mar", files)
    with zipfile.ZipFile(tmp_path / "fd1.mar") as mar:
        assert list(yaml.safe_load(mar.read("fd1.yaml"))) == ["detserve"]


def test_what_is_no_archive_is_named(tmp_path: Path) -> None:
    noise = tmp_path / "noise.mar"
    noise.write_bytes(b"PK not really")
    foreign = tmp_path / "foreign.mar"
    with zipfile.ZipFile(foreign, "w") as mar:
        model = {"modelName": "x", "modelVersion": "1", "handler": "x.py", "configFile": "x.yaml"}
        mar.writestr(archive.MANIFEST, json.dumps({"model": model}))
        mar.writestr("x.yaml", "minWorkers: 1\n")
    bare = tmp_path / "bare.mar"
    with zipfile.ZipFile(bare, "w") as mar:
        mar.writestr(archive.MANIFEST, '{"model": {"modelName": "x"}}')
    for path, message in [
        (noise, "noise.mar is no archive"),
        (bare, "bare.mar is no archive"),
        (foreign, "no section 'detserve'"),
        (tmp_path / "absent.mar", "no file .*absent.mar"),
    ]:
        with pytest.raises(BadArchive, match=message) as caught:
            archive.read(path)
        assert "repack.py" in str(caught.value)


def test_a_recipe_of_another_version_says_to_pack_anew() -> None:
    entry = yaml.safe_load(RECIPE.to_yaml())["detserve"]
    with pytest.raises(BadArchive, match=r"packed by detserve 9\.9 \(novelty\)"):
        Recipe.of_archive({"detserve": {**entry, "novelty": 1, "detserve": "9.9"}})
    del entry["detect"]["model"]
    with pytest.raises(BadArchive, match="pack it anew"):
        Recipe.of_archive({"detserve": entry})
    for other in (None, {}, {"detserve": 3}):
        with pytest.raises(BadArchive, match="no section"):
            Recipe.of_archive(other)


def test_settings_that_the_model_does_not_know_are_refused() -> None:
    entry = yaml.safe_load(RECIPE.to_yaml())["detserve"]
    entry["detect"]["settings"]["colour"] = "red"
    with pytest.raises(BadSpec, match="colour"):
        Recipe.of_archive({"detserve": entry}).detect.spec()


def test_an_archive_of_ocr_holds_two_parts(tmp_path: Path, files: dict[str, Path]) -> None:
    recipe = Recipe(detect=PART, read=PART, options={"split": "words"})
    archive.write(tmp_path / "ocr1.mar", "ocr1", "1.0", "face.py", recipe, files)
    assert archive.read(tmp_path / "ocr1.mar").recipe == recipe


def test_the_recipe_of_an_archive_from_before_the_rooms_is_read() -> None:
    """Its YAML as commit 0385645 wrote it; tests/e2e/test_archives_of_old.py packs with that commit's code."""
    recipe = Recipe.of_archive(yaml.safe_load((Path(__file__).parent / "recipe_of_old.yaml").read_text("utf-8")))
    spec = recipe.detect.spec()
    assert (spec.name, spec.size, spec.conf, spec.iou) == ("centerface", (320, 320), 0.5, 0.3)
    assert (recipe.detect.backend, recipe.detect.plan.precision, recipe.read) == ("openvino", "auto", None)
