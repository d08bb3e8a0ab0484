"""Send pictures to a server and print, write or draw what it finds in them.

python client.py img.jpg                                   a line of JSON for each picture
python client.py photos/ --out result/                     NAME.json and NAME.drawn.jpg for each
python client.py 'scans/*.png' --model ocr1 --protocol grpc --out result/ --json
python client.py recording/ --model md1 --out result/       color_image/ and depth_image/ in it, paired by name
python client.py page.jpg --model td1 --maps --out result/ what the network sees, NAME.map-MAP.jpg
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from detserve.client import coco, results
from detserve.client.answer import Failure
from detserve.client.shots import shots_of
from detserve.client.transport import Asker, Send, over_grpc, over_http
from detserve.errors import RequestError, SetupError
from detserve.options import OPTIONS
from detserve.pictures.decode import read_header
from detserve.pictures.depth import WithDepth

ADDRESSES = {"http": "http://127.0.0.1:8080", "grpc": "127.0.0.1:7070"}
FIELDS = [option for option in OPTIONS if option.name != "maps"]
"""The options of a request that are sent as they are given; --maps also says what becomes of the answer."""
IN_FLIGHT = 4
"""Pictures that are sent at once, unless --at-once says otherwise."""


def main(arguments: Sequence[str] | None = None, prog: str = "client.py") -> int:
    """Run the command line → exit status: 0 all pictures answered, 1 any failed; SystemExit(2) for wrong usage."""
    options = parse(arguments, prog)
    try:
        return run(options)
    except SetupError as error:
        print(f"{prog.removesuffix('.py')}: {error}", file=sys.stderr)
    except ImportError as error:
        print(f"client: the package {error.name!r} is missing: pip install -r requirements/client.txt", file=sys.stderr)
    except KeyboardInterrupt:
        print("client: interrupted", file=sys.stderr)
    except BrokenPipeError:  # `client.py … | head`: nobody reads on, and the last flush shall not complain of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def run(options: argparse.Namespace) -> int:
    """Send all pictures, report each in their order → exit status."""
    from tqdm import tqdm

    found = shots_of(options.pictures, options.depth)
    shots = found.shots
    for path in found.unpaired:
        print(f"client: {path}: left out, it has no counterpart of that name", file=sys.stderr)
    folder = result_folder(options) if options.out else None
    if isinstance(sys.stdout, io.TextIOWrapper):  # JSON is UTF-8; a stray byte in a file's name is escaped
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)

    failed = len(found.unpaired)
    pool = ThreadPoolExecutor(options.at_once)
    entries: list[list[dict[str, Any]]] = [[] for _ in shots]
    with transport(options) as send:
        asker = Asker(send)

        def process(number: int, name: str) -> tuple[bool, str]:
            """Whether it went well, and the line to print, if any."""
            picture = shots[number].colour
            try:
                sent = shots[number].read()
                answer = asker.ask(sent)
                data = bytes(sent.colour) if isinstance(sent, WithDepth) else sent
                if options.coco:
                    size = read_header(data).size
                    entries[number] = coco.results(picture, number + 1, size, answer.detections)
                if folder is None:
                    return True, "" if options.coco else results.line(picture, answer)
                folder.write(name, data, answer)
            except (Failure, RequestError) as error:
                return False, f"client: {picture}: {error}"
            except OSError as error:
                return False, f"client: {picture}: {error.strerror or error}"
            if options.maps and not answer.maps:
                return False, f"client: {picture}: no maps in the answer: {options.model} has none to show"
            return True, ""

        try:
            # None: only where a person watches.
            bar = tqdm(total=len(shots), unit="picture", disable=None if len(shots) > 1 else True)
            with bar:
                for well, line in pool.map(process, range(len(shots)), results.names([shot.colour for shot in shots])):
                    failed += not well
                    if line:
                        tqdm.write(line, file=sys.stdout if well else sys.stderr)
                    bar.update()
        finally:
            pool.shutdown(cancel_futures=True)
    if options.coco:
        try:
            coco.write(options.coco, [entry for each in entries for entry in each])
        except OSError as error:
            raise SetupError(f"cannot write {options.coco}: {error.strerror}") from error
    return 1 if failed else 0


def result_folder(options: argparse.Namespace) -> results.Folder:
    """The folder of --out, made where it is missing. Raises SetupError when it cannot be."""
    try:
        options.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot write to {options.out}: {error.strerror}") from error
    both = not (options.json or options.draw)
    return results.Folder(options.out, json=options.json or both, drawn=options.draw or both)


def transport(options: argparse.Namespace) -> AbstractContextManager[Send]:
    """The way to the server that the options name."""
    fields = {each.name: str(getattr(options, each.name)) for each in FIELDS if getattr(options, each.name) is not None}
    if options.maps:
        fields["maps"] = "on"
    over = over_http if options.protocol == "http" else over_grpc
    return over(options.url, options.model, fields, options.token, options.timeout)


def parse(arguments: Sequence[str] | None, prog: str = "client.py") -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add(
        "pictures",
        nargs="+",
        metavar="PICTURE|FOLDER|GLOB",
        help="what is sent; of a folder only what lies in it, or a recording's two folders",
    )
    add("--depth", type=Path, metavar="FILE", help="the depth map beside the one picture")
    add("--model", default="fd1", metavar="NAME", help="as the server has it registered (%(default)s)")

    server = parser.add_argument_group("server")
    add = server.add_argument
    add("--protocol", choices=ADDRESSES, default="http", help="%(default)s, or grpc")
    add("--url", help="where it listens ({http}; gRPC: {grpc})".format(**ADDRESSES))
    add("--at-once", type=int, default=IN_FLIGHT, metavar="N", help="pictures that are sent at once (%(default)s)")
    add("--token", metavar="KEY", help="of a server that asks for one")
    add("--timeout", type=float, default=30.0, metavar="S", help="seconds for an answer (%(default)g)")

    result = parser.add_argument_group("result")
    add = result.add_argument
    add("--out", type=Path, metavar="DIR", help="write NAME.json and NAME.drawn.jpg there; without, print JSON lines")
    add("--coco", type=Path, metavar="FILE", help="write all answers into one file of COCO's results")
    add("--json", action="store_true", help="of the two only the JSON")
    add("--draw", action="store_true", help="of the two only the picture, the answer drawn on it")
    add("--maps", action="store_true", help="write the network's score maps over the picture too, NAME.map-MAP.jpg")

    request = parser.add_argument_group("request")
    add = request.add_argument
    for option in FIELDS:
        add(option.flag, dest=option.name, **option.argument())

    options = parser.parse_args(arguments)
    for name in ("json", "draw", "maps"):
        if getattr(options, name) and not options.out:
            parser.error(f"--{name} writes files: it needs --out DIR")
    if options.at_once < 1:
        parser.error("--at-once must be at least 1")
    if options.timeout <= 0:
        parser.error("--timeout must be above 0")
    options.url = options.url or ADDRESSES[options.protocol]
    if options.protocol == "grpc" and "://" in options.url:
        parser.error(f"gRPC wants HOST:PORT, not the URL {options.url}")
    if options.protocol == "http" and "://" not in options.url:
        options.url = f"http://{options.url}"
    return options
