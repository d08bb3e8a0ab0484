"""Run: videos → frames that are sent several at a time → the same videos with their faces covered, in order."""

from __future__ import annotations

import json
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
from tqdm import tqdm

from detserve.client.answer import Answer, Failure
from detserve.client.draft import Draft
from detserve.client.faces.wanted import Wanted
from detserve.client.video.reading import Packet, Reader, VideoError, sent
from detserve.client.video.tracks import Box, bridged
from detserve.client.video.writing import Writer, suffix

Ask = Callable[[bytes], Answer]


@dataclass(frozen=True)
class Videos:
    """What is made of videos, in an existing folder. json: whether NAME.jsonl is written, a line a frame.

    at_once: frames that are sent at once. In memory are twice as many, and those that wait for what comes after them.
    """

    folder: Path
    wanted: Wanted
    json: bool
    at_once: int


def run(files: Sequence[Path], names: Sequence[str], videos: Videos, ask: Ask, name: str = "client") -> int:
    """Make of each video what is wanted → how many failed, each told on a line of stderr.

    names: of the results, one a file; ask: the answer to a picture's bytes, called by several threads; name: of the
    command, before its messages.
    """
    failures = 0
    for path, result in zip(files, names, strict=True):
        try:
            _one(path, result, videos, ask)
        except (Failure, VideoError) as error:
            reason: object = error
        except av.error.FFmpegError as error:
            reason = f"cannot be written: {error.strerror}"
        except OSError as error:
            reason = error.strerror or error
        else:
            continue
        tqdm.write(f"{name}: {path}: {reason}", file=sys.stderr)
        failures += 1
    return failures


def _one(path: Path, name: str, videos: Videos, ask: Ask) -> None:
    """One video. Of one that fails nothing is left."""
    blurred, lines = Draft(videos.folder / f"{name}.blurred{suffix(path)}"), Draft(videos.folder / f"{name}.jsonl")
    drafts = [draft for draft, asked in ((blurred, videos.wanted.blur), (lines, videos.json)) if asked]
    for draft in drafts:
        if draft.target.exists() and draft.target.samefile(path):
            raise VideoError(f"the result would replace {draft.target}: another --out is needed")
    with ExitStack() as stack:
        for draft in drafts:
            stack.callback(draft.discard)
        reader = stack.enter_context(Reader(path))
        pool = ThreadPoolExecutor(videos.at_once)
        stack.callback(pool.shutdown, cancel_futures=True)
        writer = file = None
        if videos.wanted.blur:
            writer = stack.enter_context(Writer(blurred.path, suffix(path), reader, videos.wanted))
        if videos.json:
            file = stack.enter_context(lines.path.open("w", encoding="utf-8"))
        # Shown only where a person watches.
        bar = stack.enter_context(tqdm(total=reader.count, unit="frame", desc=path.name, disable=None))
        take = writer.sound if writer else lambda _: None
        answered = _answered(reader, take, pool, lambda frame: ask(sent(frame, reader.aspect)), 2 * videos.at_once)
        for number, seen in enumerate(bridged(answered)):
            frame, answer = seen.frame
            if writer:
                writer.frame(frame, [*seen.found, *seen.missed])
            if file:
                print(_line(number, frame, answer, seen.missed), file=file)
            bar.update()
        if writer:
            writer.finish()
        if file:
            file.close()
        for draft in drafts:
            draft.keep()


def _answered(
    reader: Reader,
    take: Callable[[Packet], None],
    pool: ThreadPoolExecutor,
    ask: Callable[[av.VideoFrame], Answer],
    ahead: int,
) -> Iterator[tuple[tuple[av.VideoFrame, Answer], list[Box]]]:
    """The frames in their order with the answers to them, asked by a pool, at most `ahead` before they are needed.

    take: is given the packets of sound.
    """
    waiting: deque[tuple[av.VideoFrame, Future[Answer]]] = deque()

    def first() -> tuple[tuple[av.VideoFrame, Answer], list[Box]]:
        frame, coming = waiting.popleft()
        answer = coming.result()
        return (frame, answer), [found["xywh_ratio"] for found in answer.detections]

    for item in reader:
        if isinstance(item, av.Packet):
            take(item)
            continue
        waiting.append((item, pool.submit(ask, item)))
        if len(waiting) > ahead:
            yield first()
    while waiting:
        yield first()


def _line(number: int, frame: av.VideoFrame, answer: Answer, missed: Sequence[Box]) -> str:
    """A frame as a line of JSON: its number from 0, its second, its answer; boxes of faces that were missed in it."""
    told: dict[str, Any] = {"frame": number, "time": frame.time, "answer": answer.detections}
    if missed:
        told["missed"] = [[round(value, 6) for value in box] for box in missed]
    return json.dumps(told, ensure_ascii=False)
