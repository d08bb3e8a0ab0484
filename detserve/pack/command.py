"""Build an engine for a model and pack it with its handler into model_store/NAME.mar."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detserve.errors import BadSpec, SetupError
from detserve.options import OPTIONS
from detserve.pack import node_config
from detserve.pack.inspection import show_archive, show_models, verify_archive
from detserve.places import CONFIG_DIR, MODEL_STORE, RUN_DIR, installing, typed
from detserve.serve.model_config import ModelConfig

if TYPE_CHECKING:
    from detserve.pack.packer import PackRequest

MANAGEMENT = "http://127.0.0.1:8081"
PACKED_OPTIONS = [option for option in OPTIONS if option.packed]
SPEC_SETTINGS = ("size", *(option.key for option in PACKED_OPTIONS if option.setting))
"""What of the command line changes the model's spec."""


def parse(arguments: Sequence[str] | None, prog: str = "repack.py") -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog=prog, description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("names", nargs="*", metavar="NAME", help="name of the archive and of the served model, fd1 for instance")
    add("--model", help="a model of --list, or your own as package.module:NAME")
    add("--weights", nargs="+", metavar="PATH|URL", help="weight file; default: the model's own, see --list")
    add("--sha256", nargs="+", help="the sum that the weights must have; with --verify, the archive")
    add("--reader", metavar="MODEL", help="for OCR: the model that reads what --model finds")
    add("--reader-weights", nargs="+", metavar="PATH|URL", help="the reader's weight file")
    add("--categories", type=Path, metavar="FILE", help="for objects: names of the classes, a line each, or JSON")
    add("--node-config", type=Path, metavar="FILE", help="for objects: node_config.json of a detectron2 server")
    add("--alphabet", metavar="FILE", help="the reader's characters, one a line, if its weight file lacks them")
    add("--backend", help="auto (default), tensorrt, openvino, onnx, torchscript or eager")
    add("--size", type=size, metavar="N|WxH", help="input of the network in pixels")
    add(
        "--square",
        action="store_const",
        const=True,
        help="for faces: one square input, whatever the shape of a picture",
    )
    add("--precision", help="fp32, bf16, fp16, int8 or auto, as the backend has them")
    add("--calibration", nargs="+", metavar="DIR", help="for int8: real pictures of the kind that will be served")
    add("--max-batch", type=int, help="largest batch that the engine takes (8; 16 on a GPU)")
    add("--opt-batch", type=int, metavar="M", help="the batch that TensorRT optimises for (the largest)")
    add("--version", default="1.0", help="version of the model (1.0)")
    add("--set", action="append", metavar="KEY=VALUE", help="any other setting of the model, see --show")
    for option in PACKED_OPTIONS:
        add(option.flag, **option.argument("default of the requests: "))
    add(
        "--kserve",
        nargs="+",
        metavar=("DIR", "NAME"),
        help="write a folder that KServe can serve: these archives of --out, or all",
    )
    add(
        "--triton",
        type=Path,
        metavar="DIR",
        help="write each NAME into this Triton model repository; packs those that --out lacks",
    )
    add(
        "--litserve",
        type=Path,
        metavar="DIR",
        help="write a folder with a LitServe server for NAME; packs it if --out lacks it",
    )
    add("--exact-decode", action="store_true", help="decode every JPEG at full size, even if the input is far smaller")
    add("--out", type=Path, default=MODEL_STORE, help="folder of the archives (model_store)")
    add(
        "--register", nargs="?", const=MANAGEMENT, metavar="URL", help=f"then register it at that server ({MANAGEMENT})"
    )
    add("--list", action="store_true", help="show the models, their weights, licences and accuracy")
    add("--show", type=Path, metavar="FILE.mar", help="show what an archive holds")
    add("--verify", type=Path, metavar="FILE.mar", help="check an archive: its sum, every file in it, and no other")
    add("--trt", choices="01", help=argparse.SUPPRESS)
    add("--fp16", nargs="?", choices="01", const="1", help=argparse.SUPPRESS)
    add("--int8", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    given = {key for key, value in vars(options).items() if value != parser.get_default(key)}
    options.anew = bool(given - {"names", "out", "triton", "litserve"})
    options.name = next(iter(options.names), None)
    if len(options.names) > 1 and (options.litserve or not options.triton):
        parser.error(f"one NAME at a time, and --triton DIR alone takes several: {' '.join(options.names)}")
    if options.triton or options.litserve:
        if not options.name:
            parser.error("--triton and --litserve want the NAME of what to lay out, fd1 for instance")
        if beside := sorted(given & {"register", "kserve", "list", "show", "verify"}):
            parser.error(f"--{beside[0]} does not go together with --triton and --litserve: run one after the other")
    if not (options.name or options.list or options.show or options.verify or options.kserve):
        parser.error("a NAME is needed, fd1 for instance; or --list, --show, --verify FILE.mar, --kserve DIR")
    # The spellings of older repack scripts.
    if options.trt:
        options.backend = "tensorrt" if options.trt == "1" else "torchscript"
    if options.fp16 == "1" or options.int8:
        options.precision = "int8" if options.int8 else "fp16"
    return options


def size(text: str) -> tuple[int, int]:
    """'320' → (320, 320), '640x384' → (640, 384)."""
    width, _, height = text.partition("x")
    return int(width), int(height or width)


def request(options: argparse.Namespace) -> PackRequest:
    """What to pack: the command line over a node configuration over config/NAME.yaml over the defaults.

    Raises BadSpec for what does not hold.
    """
    from detserve.pack.packer import ModelChoice, PackRequest

    config = ModelConfig.load(CONFIG_DIR, options.name).pack
    node = node_config.read(options.node_config) if options.node_config else {}
    chosen = {**config, **node, **{key: value for key, value in vars(options).items() if value is not None}}
    if "model" not in chosen:
        raise BadSpec(f"--model is needed: there is no config/{options.name}.yaml that names one; see --list")
    objects = objects_settings(chosen)
    if not isinstance(chosen.get("size", ()), tuple):
        try:
            chosen["size"] = size(str(chosen["size"]))
        except ValueError as error:
            raise BadSpec(f"size must be N or WxH in pixels, not {chosen['size']!r}") from error
    settings = {key: chosen[key] for key in SPEC_SETTINGS if key in chosen}
    if chosen.get("square"):
        settings["rectangular"] = False
    detect = ModelChoice(
        model=chosen["model"],
        settings=objects | settings | assignments(options.set or []),
        weights=several(chosen.get("weights")),
        sha256=several(chosen.get("sha256")),
    )
    read = None
    if "reader" in chosen:
        letters = {"alphabet": alphabet(Path(chosen["alphabet"]))} if "alphabet" in chosen else {}
        read = ModelChoice(model=chosen["reader"], settings=letters, weights=several(chosen.get("reader_weights")))
    return PackRequest(
        name=options.name,
        detect=detect,
        read=read,
        reduced_decode=not options.exact_decode,
        calibration=several(chosen.get("calibration")),
        options={
            each.name: word(chosen[each.key]) for each in PACKED_OPTIONS if not each.setting and each.key in chosen
        },
        **{
            key: chosen[key]
            for key in ("out", "backend", "precision", "max_batch", "opt_batch", "version")
            if key in chosen
        },
    )


def objects_settings(chosen: Mapping[str, Any]) -> dict[str, Any]:
    """What a node configuration and a file of categories change of the model's spec.

    Raises BadSpec for categories of a model that has none, and for a file that is none of categories.
    """
    settings = dict(chosen.get("settings", {}))
    if "categories" not in chosen:
        return settings
    from detserve import models
    from detserve.models.maskrcnn import MaskRcnn, categories

    spec = models.find(chosen["model"])
    if not isinstance(spec, MaskRcnn):
        raise BadSpec(f"{spec.name} has no categories: leave --categories out")
    return settings | categories.read(Path(chosen["categories"]), bool(spec.rules.first_label)).settings()


def word(value: str | bool) -> str:
    """A choice as a YAML file may have it, where `on` and `off` are truth values."""
    return value if isinstance(value, str) else ("off", "on")[value]


def alphabet(path: Path) -> str:
    """The characters of a file with one a line, as PaddleOCR's dictionaries are. Raises BadSpec for another form."""
    try:
        lines = path.read_text("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise BadSpec(f"--alphabet {path}: {error}") from error
    characters = [line.removesuffix("\r") for line in (lines[:-1] if lines[-1] == "" else lines)]
    for number, character in enumerate(characters, 1):
        if len(character) != 1:
            raise BadSpec(f"--alphabet {path}:{number}: one character is wanted, not {character[:20]!r}")
    return "".join(characters)


def several(value: str | Sequence[str] | None) -> Sequence[str]:
    """One or several, as a YAML file may have it."""
    return [value] if isinstance(value, str) else value or ()


def assignments(texts: Sequence[str]) -> dict[str, Any]:
    """["low_text=0.3"] → {"low_text": 0.3}: values as YAML has them. Raises BadSpec for what is no assignment."""
    import yaml

    pairs = [text.partition("=") for text in texts]
    for key, sign, _ in pairs:
        if not sign:
            raise BadSpec(f"--set wants KEY=VALUE, not {key!r}")
    return {key.strip(): yaml.safe_load(value) for key, _, value in pairs}


def leave(options: argparse.Namespace) -> None:
    """Lay archives out for another server; one that is not there, or is asked for with other settings, is packed."""
    from detserve.pack.exits import litserve, triton
    from detserve.pack.packer import pack

    for name in options.names:
        options.name = name
        path = options.out / f"{name}.mar"
        if options.anew or not path.is_file():
            path = pack(request(options))
        if options.triton:
            print(f"{name} is for Triton in {triton.lay_out(path, options.triton)}; its README.md says how")
        if options.litserve:
            litserve.lay_out(path, options.litserve)
            print(f"{name} is for LitServe in {options.litserve}; its README.md says how")


def register(path: Path, options: argparse.Namespace) -> None:
    """Register the archive at a running server as config/NAME.yaml says, and make it the version that answers."""
    from detserve.serve.defaults import registration
    from detserve.serve.management import Management

    management = Management(options.register, RUN_DIR)
    config = ModelConfig.load(CONFIG_DIR, options.name, registration(path))
    management.register(path.name, options.name, config.serve)
    workers = management.wait_ready(options.name, options.version)
    management.set_default(options.name, options.version)
    print(f"{options.name}/{options.version} is served by {workers} worker(s) at {options.register}")
    for other in management.versions(options.name)[1:]:
        name = f"{options.name} --retire {other['modelVersion']}"
        print(f"{options.name}/{other['modelVersion']} is still there: {typed('versions')} {name}")


def main(arguments: Sequence[str] | None = None, prog: str = "repack.py") -> int:
    """Run the command line → exit status."""
    options = parse(arguments, prog)
    name = prog.removesuffix(".py")
    try:
        if options.list:
            show_models()
        elif options.kserve:
            from detserve.serve.kserve import lay_out

            folder, *names = options.kserve
            print(f"{folder} holds {', '.join(lay_out(options.out, names, Path(folder)))} for KServe")
        elif options.show:
            show_archive(options.show)
        elif options.triton or options.litserve:
            leave(options)
        elif options.verify:
            verify_archive(options.verify, options.sha256[0] if options.sha256 else None)
        else:
            from detserve.pack.packer import pack

            path = pack(request(options))
            print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
            if options.register:
                register(path, options)
    except SetupError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(f"{name}: the package {error.name!r} is missing: {installing('pack')}", file=sys.stderr)
        return 1
    return 0
