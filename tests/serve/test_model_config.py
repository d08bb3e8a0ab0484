import os
from pathlib import Path

import pytest

from detserve.errors import BadSpec
from detserve.serve.model_config import ModelConfig, Registration

ROOT = Path(__file__).parents[2]


def load(tmp_path: Path, text: str) -> ModelConfig:
    (tmp_path / "m.yaml").write_text(text)
    return ModelConfig.load(tmp_path, "m")


def test_a_model_without_a_file_has_the_defaults(tmp_path: Path) -> None:
    assert ModelConfig.load(tmp_path, "m") == ModelConfig(
        serve=Registration(workers=0, batch_size=2, max_batch_delay=0)
    )


def test_fd1_is_packed_and_served_as_its_file_says() -> None:
    config = ModelConfig.load(ROOT / "config", "fd1")
    assert config.pack["model"] == "centerface"
    assert config.serve.workers == 0


def test_no_number_of_workers_means_one_a_core() -> None:
    assert 1 <= Registration().worker_count <= (os.cpu_count() or 1)
    assert Registration(workers=3).worker_count == 3


def test_both_sections_may_be_left_out(tmp_path: Path) -> None:
    assert load(tmp_path, "serve: {batch_size: 4}").serve.batch_size == 4
    assert load(tmp_path, "pack: {size: 640x384}\nserve:").pack == {"size": "640x384"}
    assert load(tmp_path, "") == ModelConfig()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("server: {}", "did you mean 'serve'"),
        ("serve: {batchsize: 2}", "did you mean 'batch_size'"),
        ("pack: {colour: red}", "unknown key 'colour'"),
        ("serve: {workers: -1}", "workers"),
        ("serve: {workers: true}", "workers"),
        ("serve: {batch_size: 0}", "batch_size"),
        ("serve: {max_batch_delay: -1}", "max_batch_delay"),
        ("pack: {detect: 3}", "detect must be a word, not 3"),
        ("pack: {rotate: null}", "rotate must be a word, not None"),
        ("pack: {conf: true}", "conf must be a number, not True"),
        ("pack: {size: [320]}", "size must be N or WxH, not"),
        ("pack: {max_batch: x}", "max_batch must be a whole number, not 'x'"),
        ("pack: {max_batch: true}", "max_batch must be a whole number, not True"),
        ("pack: {weights: 3}", "weights must be text or a list of texts, not 3"),
        ("pack: {calibration: [photos, 3]}", "calibration must be text or a list of texts, not"),
        ("pack: {model: 3}", "model must be text, not 3"),
        ("- serve", "expected the keys"),
        ("serve: [", "m.yaml"),
    ],
)
def test_a_faulty_file_is_refused_by_name(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(BadSpec, match=message) as caught:
        load(tmp_path, text)
    assert str(caught.value).startswith("m.yaml: ")
    assert "\n" not in str(caught.value)
