"""Bad pictures by the thousand: each is answered, none is a 5xx, none ends a worker or fills the memory."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import PIL.Image
import psutil
import pytest

from tests.chaos.mutations import mutate
from tests.harness.load import Caller, Hit, Tally, kind_of
from tests.harness.server import Server
from tests.pictures.encoded import WHOLE

HANG_SECONDS = 2.0
GROWTH_MB = 400
"""What a worker may take more than before: one picture of the most pixels that it decodes takes 300."""
COUNTS = [pytest.param(200, id="short"), pytest.param(2000, id="long", marks=pytest.mark.long)]


@pytest.fixture(scope="module")
def pictures(astronaut: bytes) -> dict[str, bytes]:
    """Good pictures of every format that is served, small ones and photographs."""
    photo = PIL.Image.open(BytesIO(astronaut)).convert("RGB").resize((160, 160))
    found = {f"{name}, small": data for name, data in WHOLE.items()}
    for name in ("JPEG", "PNG", "WebP", "BMP", "TIFF", "GIF"):
        buffer = BytesIO()
        photo.save(buffer, name)
        found[name] = buffer.getvalue()
    return found


def peak_megabytes(pid: int) -> float:
    """The most memory that a process ever had."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def send_all(server: Server, bodies: dict[str, bytes]) -> list[Hit]:
    """Send them over four connections → their hits, in order. Fails where the server does not bear them."""
    pids = server.pids("fd1")
    before = {pid: psutil.Process(pid).memory_info().rss / (1 << 20) for pid in pids}
    names = list(bodies)

    def call(first: int) -> list[Hit]:
        with Caller(server.port, "fd1") as caller:
            return [caller.hit(bodies[names[n]], n) for n in range(first, len(names), 4)]

    with ThreadPoolExecutor(4) as pool:
        hits = sorted((hit for part in pool.map(call, range(4)) for hit in part), key=lambda hit: hit.picture)
    bad = {names[hit.picture]: hit.status for hit in hits if kind_of(hit.status) not in ("answered", "rejected")}
    assert bad == {}
    slow = {names[hit.picture]: hit.ended - hit.begun for hit in hits if hit.ended - hit.begun > HANG_SECONDS}
    assert slow == {}
    assert server.pids("fd1") == pids, "a worker was started anew"
    grown = max(peak_megabytes(pid) - before[pid] for pid in pids)
    assert grown < GROWTH_MB, f"a worker's memory grew by {grown:.0f} MB"
    return hits


@pytest.mark.parametrize("count", COUNTS)
def test_mutated_pictures_are_answered_or_rejected(server: Server, pictures: dict[str, bytes], count: int) -> None:
    mutations = (mutate(pictures, number) for number in range(count))
    bodies = {f"{number}: {what}": data for number, (what, data) in enumerate(mutations)}
    tally = Tally.of(send_all(server, bodies))
    print(f"\n{count:,} mutations of {len(pictures)} pictures: {tally}")
    assert tally.answered > count / 20
    assert tally.rejected > count / 3, "hardly anything was broken"


def test_odd_pictures_are_answered_or_rejected(server: Server, shared: Path) -> None:
    odd = {path.name: path.read_bytes() for path in sorted((shared / "images" / "odd").iterdir())}
    print(f"\n{len(odd)} odd files: {Tally.of(send_all(server, odd))}")


@pytest.mark.slow
def test_a_good_picture_is_answered_alike_whatever_shares_its_batch(
    server: Server, pictures: dict[str, bytes], photo: bytes
) -> None:
    """Two pictures make a batch: four callers mix good ones with broken ones."""
    alone = server.predict("fd1", photo).json()
    assert len(alone) == 1
    bodies = [photo if number % 2 else mutate(pictures, number)[1] for number in range(200)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda body: server.predict("fd1", body), bodies))
    good = [answer for body, answer in zip(bodies, answers, strict=True) if body is photo]
    for answer in good:
        (face,) = answer.json()
        assert face["xywh_ratio"] == pytest.approx(alone[0]["xywh_ratio"], abs=2e-3)
    print(f"\n{len(good)} good pictures among {len(bodies) - len(good)} broken ones: all answered as alone")
