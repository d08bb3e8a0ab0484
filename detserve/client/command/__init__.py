"""Send pictures to a server and print, write or draw what it finds in them.

python client.py img.jpg                                   a line of JSON for each picture
python client.py photos/ --out result/                     NAME.json and NAME.drawn.jpg for each
python client.py 'scans/*.png' --model ocr1 --protocol grpc --out result/ --json
python client.py recording/ --model md3 --out result/       color_image/ and depth_image/ in it, paired by name
python client.py page.jpg --model td1 --maps --out result/ what the network sees, NAME.map-MAP.jpg
python client.py scan.pdf --model ocr1 --format pdf --out result/   a searchable PDF; also json, txt, md, hocr, alto
python client.py photos/ party.mp4 --blur --out result/    faces made unrecognisable, in pictures and videos
python client.py photos/ --crops --align 112 --out result/ each face as a picture, as it is and in one position
"""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from detserve.client import coco
from detserve.client.answer import Answer, Failure
from detserve.client.command import results
from detserve.client.documents import FORMATS, PLACED
from detserve.client.faces import BLUR_CONF, MARGIN, SHAPES, STYLES, FaceError
from detserve.client.faces.wanted import Wanted
from detserve.client.protocol import ADDRESSES, PREDICTIONS, Question, Send
from detserve.client.shots import shots_of
from detserve.client.transport import Asker, over_grpc
from detserve.client.video.files import videos_among
from detserve.errors import RequestError, SetupError
from detserve.options import OPTIONS
from detserve.pictures.decode import read_header
from detserve.pictures.depth import WithDepth
from detserve.pictures.files import SUFFIXES, find
from detserve.places import installing

GRPC = ("grpc", "triton-grpc")
FIELDS = [option for option in OPTIONS if option.name != "maps"]
"""The options of a request that are sent as they are given; --maps also says what becomes of the answer."""
IN_FLIGHT = 4
"""Pictures that are sent at once, unless --at-once says otherwise."""
EXTRAS = {"lxml": "documents", "pikepdf": "documents", "pypdfium2": "documents", "av": "video"}
"""Packages that only documents or videos need, and the extras that bring them."""
OF_PICTURES = ("depth", "coco", "json", "draw", "maps", "crops", "align", "blur", "shape", "margin", "strip")
"""Options that mean nothing for documents."""
LEAST_DPI, MOST_DPI = 36, 1200
TIMEOUTS = 30.0, 120.0
"""Seconds for the answer to a picture, and to a page, which has far more text."""


def main(arguments: Sequence[str] | None = None, prog: str = "client.py") -> int:
    """Run the command line → exit status: 0 all pictures answered, 1 any failed; SystemExit(2) for wrong usage."""
    options = parse(arguments, prog)
    name = prog.removesuffix(".py")
    try:
        return read_documents(options, name) if options.format else run(options, name)
    except SetupError as error:
        print(f"{name}: {error}", file=sys.stderr)
    except ImportError as error:
        extra = EXTRAS.get(error.name or "", "client")
        print(f"{name}: the package {error.name!r} is missing: {installing(extra)}", file=sys.stderr)
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
    except BrokenPipeError:  # `client.py … | head`: nobody reads on, and the last flush shall not complain of it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def run(options: argparse.Namespace, prog: str) -> int:
    """Send all videos, and all pictures → exit status."""
    if isinstance(sys.stdout, io.TextIOWrapper):  # JSON is UTF-8; a stray byte in a file's name is escaped
        sys.stdout.reconfigure(encoding="utf-8", errors="backslashreplace", line_buffering=True)
    if options.blur and options.conf_threshold is None:
        options.conf_threshold = BLUR_CONF
        told = f"--blur covers all that is found with a confidence of {BLUR_CONF} or more; --conf says otherwise"
        print(f"{prog}: {told}. The other results hold all of that too", file=sys.stderr)
    videos, others = videos_among(options.pictures)
    failed = send_videos(videos, options, prog) if videos else 0
    return max(failed, send_pictures(others, options, prog) if others else 0)


def send_videos(files: Sequence[Path], options: argparse.Namespace, prog: str) -> int:
    """Send the frames of all videos, one video after the other → exit status.

    Raises SetupError where nothing is to be made of them, or --out cannot be written to.
    """
    if not (options.blur or options.json):
        raise SetupError(f"{files[0]} is a video: --blur or --json, with --out DIR, says what is made of it")
    for name in ("crops", "align", "draw", "maps", "coco"):
        if getattr(options, name):
            raise SetupError(f"{files[0]} is a video: --{name} is for pictures, which need a run of their own")
    from detserve.client.video.run import Videos
    from detserve.client.video.run import run as run_videos

    make_folder(options.out)
    made = Videos(options.out, wanted_of(options), options.json, options.at_once)
    with transport(options) as send:
        return 1 if run_videos(files, results.names(files), made, asking(options, send), prog) else 0


def send_pictures(sources: Sequence[str], options: argparse.Namespace, prog: str) -> int:
    """Send all pictures, report each in their order → exit status.

    Raises SetupError for a source without a picture, and where --out or --coco cannot be written.
    """
    from tqdm import tqdm

    found = shots_of(sources, options.depth)
    shots = found.shots
    for path in found.unpaired:
        print(f"{prog}: {path}: left out, it has no counterpart of that name", file=sys.stderr)
    failed = len(found.unpaired)
    pool = ThreadPoolExecutor(options.at_once)
    image_ids = coco.image_ids([shot.colour for shot in shots])
    entries: list[list[dict[str, Any]]] = [[] for _ in shots]
    with transport(options) as send:
        ask = asking(options, send)
        folder = result_folder(options, ask) if options.out else None

        def process(number: int, name: str) -> tuple[bool, str]:
            """Whether it went well, and the line to print, if any."""
            picture = shots[number].colour
            try:
                sent = shots[number].read()
                answer = ask(sent)
                data = bytes(sent.colour) if isinstance(sent, WithDepth) else sent
                if options.coco:
                    size = read_header(data).size
                    entries[number] = coco.results(picture, image_ids[number], size, answer.detections)
                if folder is None:
                    return True, "" if options.coco else results.line(picture, answer)
                folder.write(name, data, answer)
            except (Failure, FaceError, RequestError) as error:
                return False, f"{prog}: {picture}: {error}"
            except OSError as error:
                return False, f"{prog}: {picture}: {error.strerror or error}"
            if options.maps and not answer.maps:
                return False, f"{prog}: {picture}: no maps in the answer: {options.model} has none to show"
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


def read_documents(options: argparse.Namespace, name: str) -> int:
    """Send the pages of all documents, write the results → exit status. name: of the command, before its messages."""
    from detserve.client.documents.job import Wanted
    from detserve.client.documents.run import run as run_documents

    files = find(options.pictures, (*SUFFIXES, ".pdf"))
    make_folder(options.out)
    kept = frozenset(path.resolve() for path in files)
    wanted = Wanted(options.out, options.format, options.dpi, options.flatten, kept)
    with transport(options) as send:
        ask = asking(options, send)
        return 1 if run_documents(files, results.names(files), wanted, ask, options.at_once, name) else 0


def result_folder(options: argparse.Namespace, ask: Callable[[bytes], Answer]) -> results.Folder:
    """The folder of --out, made where it is missing. Raises SetupError when it cannot be."""
    make_folder(options.out)
    wanted = wanted_of(options)
    both = not (options.json or options.draw or wanted.anything)
    return results.Folder(options.out, options.json or both, options.draw or both, wanted, ask)


def wanted_of(options: argparse.Namespace) -> Wanted:
    """What is made of faces."""
    margin = MARGIN if options.margin is None else options.margin
    return Wanted(options.crops, options.align or 0, options.blur, options.shape, margin, options.strip)


def make_folder(path: Path) -> None:
    """Make a folder where it is missing. Raises SetupError when it cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"cannot write to {path}: {error.strerror}") from error


def asking(options: argparse.Namespace, send: Send) -> Callable[[bytes | WithDepth], Answer]:
    """What asks the model that the options name, with its options. Raises Failure when there is no answer."""
    fields = {each.name: str(getattr(options, each.name)) for each in FIELDS if getattr(options, each.name) is not None}
    if options.maps:
        fields["maps"] = "on"
    asker = Asker(send)
    return lambda picture: asker.ask(Question(options.model, picture, fields))


def transport(options: argparse.Namespace) -> AbstractContextManager[Send]:
    """The way to the server that the options name."""
    if options.protocol in GRPC:
        return over_grpc(options.url, options.token, options.timeout, v2=options.protocol == "triton-grpc")
    from detserve.client.http import Http
    from detserve.client.v2 import TRITON

    form = TRITON if options.protocol == "triton" else PREDICTIONS
    return Http(options.url, options.token, options.timeout, form=form)


def parse(arguments: Sequence[str] | None, prog: str = "client.py") -> argparse.Namespace:
    """The command line."""
    told = (__doc__ or "").replace("python client.py", f"python {prog}" if prog.endswith(".py") else prog)
    parser = argparse.ArgumentParser(prog=prog, description=told, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add(
        "pictures",
        nargs="+",
        metavar="PICTURE|FOLDER|GLOB",
        help="what to send; of a folder the pictures directly in it, or the two folders of a recording",
    )
    add("--depth", type=Path, metavar="FILE", help="the depth map beside the one picture")
    add("--model", default="fd1", metavar="NAME", help="as the server has it registered (%(default)s)")

    server = parser.add_argument_group("server")
    add = server.add_argument
    add("--protocol", choices=ADDRESSES, default="http", help="%(default)s, grpc, triton or triton-grpc")
    add("--url", help="where it listens ({http}; gRPC: {grpc}; Triton: {triton})".format(**ADDRESSES))
    add("--at-once", type=int, default=IN_FLIGHT, metavar="N", help="pictures or pages sent at once (%(default)s)")
    add("--token", metavar="KEY", help="the key, if the server asks for one")
    seconds = "seconds for an answer, its wait in the server's queue included ({:g}; pages of documents {:g})"
    add("--timeout", type=float, metavar="S", help=seconds.format(*TIMEOUTS))

    result = parser.add_argument_group("result")
    add = result.add_argument
    add("--out", type=Path, metavar="DIR", help="write NAME.json and NAME.drawn.jpg there; without, print JSON lines")
    add("--coco", type=Path, metavar="FILE", help="write all answers into one file of COCO's results")
    add("--json", action="store_true", help="with --out: write NAME.json, and no drawing")
    add("--draw", action="store_true", help="with --out: write NAME.drawn.jpg, and no JSON")
    add("--maps", action="store_true", help="write the network's score maps over the picture too, NAME.map-MAP.jpg")

    faces = parser.add_argument_group("faces", "written as files; --blur and --json take videos too")
    add = faces.add_argument
    add("--crops", action="store_true", help="each face as a picture, NAME.face-1.png and so on, the best first")
    add("--align", type=int, metavar="N", help="each face upright on NxN pixels, as recognisers want it (112)")
    hidden = f"each face made unrecognisable, NAME.blurred.jpg, .png or .mp4: {', '.join(STYLES)} (%(const)s)"
    add("--blur", nargs="?", type=style, const=STYLES[0], metavar="STYLE", help=hidden)
    add("--shape", choices=SHAPES, default=SHAPES[0], help="the shape that --blur covers (%(default)s)")
    grown = f"how much boxes grow for --crops and --blur, as a share of their size ({MARGIN})"
    add("--margin", type=float, metavar="R", help=grown)
    add("--strip", action="store_true", help="with --blur: leave out a file's place, date and camera")

    document = parser.add_argument_group("documents", "PDFs, TIFFs of several pages, and pictures as one page each")
    add = document.add_argument
    add("--format", type=formats, metavar="F", help=f"write each document as {', '.join(FORMATS)}; several with commas")
    add("--dpi", type=float, default=200.0, help="resolution that PDF pages are rendered at (%(default)g)")
    add("--flatten", action="store_true", help="with --format pdf: write the pages of a PDF as pictures")

    request = parser.add_argument_group("request")
    add = request.add_argument
    for option in FIELDS:
        add(option.flag, dest=option.name, **option.argument())

    options = parser.parse_args(arguments)
    for name in ("json", "draw", "maps", "crops", "align", "blur"):
        if getattr(options, name) and not options.out:
            parser.error(f"--{name} writes files: it needs --out DIR")
    if options.align is not None and not 16 <= options.align <= 2048:
        parser.error("--align must lie between 16 and 2048")
    if options.margin is not None and not 0 <= options.margin <= 4:
        parser.error("--margin must lie between 0 and 4")
    if options.at_once < 1:
        parser.error("--at-once must be at least 1")
    if options.format:
        check_documents(parser, options)
    elif any(each.lower().endswith(".pdf") for each in options.pictures):
        parser.error(f"a PDF is read page by page: it needs --format, one of {', '.join(FORMATS)}, and --out DIR")
    if options.timeout is None:
        options.timeout = TIMEOUTS[bool(options.format)]
    if options.timeout <= 0:
        parser.error("--timeout must be above 0")
    options.url = options.url or ADDRESSES[options.protocol]
    if options.protocol in GRPC and "://" in options.url:
        parser.error(f"gRPC wants HOST:PORT, not the URL {options.url}")
    if options.protocol not in GRPC and "://" not in options.url:
        options.url = f"http://{options.url}"
    return options


def check_documents(parser: argparse.ArgumentParser, options: argparse.Namespace) -> None:
    """Ends with status 2 where options of documents do not go together.

    Words are asked for where places matter, and lines where there is text, whatever the model splits by itself.
    """
    if not options.out:
        parser.error("--format writes files: it needs --out DIR")
    for name in OF_PICTURES:
        if getattr(options, name) != parser.get_default(name):
            parser.error(f"--{name} is for pictures: it does not go with --format")
    if not LEAST_DPI <= options.dpi <= MOST_DPI:
        parser.error(f"--dpi must lie between {LEAST_DPI} and {MOST_DPI}")
    if options.format == ("json",):
        return
    if options.split == "characters":
        parser.error("--split characters goes with --format json alone: other formats are made of words or lines")
    options.split = options.split or ("words" if set(options.format) & set(PLACED) else "lines")


def formats(text: str) -> tuple[str, ...]:
    """The formats of `--format txt,pdf`, each once."""
    given = tuple(dict.fromkeys(text.lower().split(",")))
    if unknown := [each for each in given if each not in FORMATS]:
        raise argparse.ArgumentTypeError(f"{unknown[0]!r} is none of {', '.join(FORMATS)}")
    return given


def style(text: str) -> str:
    """The style of `--blur gauss`. Without one it takes what stands next, which may well be a folder of pictures."""
    if text not in STYLES:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(STYLES)}; name pictures before --blur")
    return text
