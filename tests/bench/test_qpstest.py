"""The command line, against a real HTTP server on loopback."""

import json
from pathlib import Path

import pytest

from detserve.bench import command as qpstest

QUICK = ["--warmup", "0", "--duration", "0.4", "--processes", "1", "--pictures"]


@pytest.fixture
def picture(tmp_path: Path) -> str:
    (tmp_path / "a.jpg").write_bytes(b"any bytes")
    return str(tmp_path / "a.jpg")


def at(server) -> list[str]:
    return ["--url", f"http://127.0.0.1:{server.port}"]


def test_closed_and_open_loads_are_printed_and_written(
    fake_server, picture: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = fake_server(seconds=0.01)
    files = [tmp_path / name for name in ("r.csv", "r.json", "r.html")]
    written = [
        word for kind, file in zip(("--csv", "--json", "--plot"), files, strict=True) for word in (kind, str(file))
    ]
    loads = ["--mode", "3", "--concurrency", "1,2", "--rate", "50", "--arrivals", "constant"]
    assert qpstest.main([*loads, *at(server), *QUICK, picture, *written]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith(f"http://127.0.0.1:{server.port}/predictions/fd1; pictures: ")
    assert [line.split("  ")[0] for line in printed[2:5]] == ["concurrency 1", "concurrency 2", "rate 50/s"]
    assert [record["concurrency"] for record in json.loads(files[1].read_text())["loads"]] == [1, 2, None]
    assert files[0].read_text().startswith("concurrency,rate,arrivals,seconds,hits,qps,p50_ms")
    assert "<svg" in files[2].read_text()


@pytest.mark.slow
@pytest.mark.timed
def test_the_limit_is_printed(fake_server, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = fake_server(seconds=0.02, slots=1)
    limit = ["--find-limit", "--p99", "200", "--arrivals", "constant"]
    assert qpstest.main([*limit, *at(server), *QUICK, picture]) == 0
    assert "limit: rate " in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.timed
def test_no_limit_is_said_and_a_failure(fake_server, picture: str, capsys: pytest.CaptureFixture[str]) -> None:
    server = fake_server(seconds=0.05)
    assert qpstest.main(["--find-limit", "--p99", "10", *at(server), *QUICK, picture]) == 1
    assert "no rate keeps p99 below 10 ms" in capsys.readouterr().out


def test_a_server_that_is_down_is_said_before_anything_is_measured(
    picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert qpstest.main(["--url", "http://127.0.0.1:9", *QUICK, picture]) == 1
    assert "no connection; is the server running?" in capsys.readouterr().err


def test_a_first_answer_that_is_an_error_is_shown(
    fake_server, picture: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server = fake_server(status=lambda _: 404)
    assert qpstest.main([*at(server), *QUICK, picture]) == 1
    assert "a.jpg is answered 404: []" in capsys.readouterr().err


def test_an_answer_is_drawn(
    fake_server, tmp_path: Path, astronaut: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(qpstest, "RESULTS", tmp_path / "result")
    (tmp_path / "face.png").write_bytes(astronaut)
    assert (
        qpstest.main(["--vis", "1", "--concurrency", "1", *at(fake_server()), *QUICK, str(tmp_path / "face.png")]) == 0
    )
    drawn = tmp_path / "result" / "face.drawn.jpg"
    assert str(drawn) in capsys.readouterr().out
    assert drawn.read_bytes().startswith(b"\xff\xd8")


@pytest.mark.parametrize("words", [["--mode", "4"], ["--concurrency", "0"], ["--rate", "1,x"], ["--protocol", "ftp"]])
def test_nonsense_is_refused(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        qpstest.main(words)
    assert words[0] in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--csv", "--json", "--plot"])
def test_a_file_that_cannot_be_written_is_said_before_anything_is_measured(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in (tmp_path, tmp_path / "absent" / "load.csv"):
        with pytest.raises(SystemExit):
            qpstest.main([option, str(path)])
        assert f"{path} cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize(("mode", "name"), [("1", "torch"), ("engine", "engine"), ("3", "server")])
def test_modes_have_numbers_and_names(mode: str, name: str) -> None:
    assert qpstest.parse(["--mode", mode]).mode == name


def test_without_a_load_there_are_three() -> None:
    assert qpstest.parse([]).concurrency == [1, 4, 16]
    assert qpstest.parse(["--rate", "50"]).concurrency is None
