#!/usr/bin/env python3
"""Build an engine for a model and pack it with its handler into model_store/NAME.mar."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from detserve import models
from detserve.errors import BadSpec, SetupError
from detserve.model_config import ModelConfig

if TYPE_CHECKING:
    from detserve.packing import Order

ROOT = Path(__file__).parent
MANAGEMENT = "http://127.0.0.1:8081"
SPEC_SETTINGS = ("size", "conf", "iou")
"""Options that change the model's spec."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", nargs="?", help="name of the archive and of the served model, fd1 for instance")
    parser.add_argument("--model", help="a model of --list, or your own as package.module:NAME")
    parser.add_argument("--weights", metavar="PATH|URL", help="weight file; default: the model's own, see --list")
    parser.add_argument("--sha256", help="refuse weights with another sum")
    parser.add_argument("--backend", help="auto (default), openvino, onnx, torchscript or eager")
    parser.add_argument("--size", type=size, metavar="N|WxH", help="input of the network in pixels")
    parser.add_argument("--precision", help="fp32, bf16, fp16 or auto, as the backend has them")
    parser.add_argument("--max-batch", type=int, help="largest batch that the engine takes (8)")
    parser.add_argument("--version", default="1.0", help="version of the model (1.0)")
    parser.add_argument("--conf", type=float, help="default confidence threshold, 0 to 1")
    parser.add_argument("--iou", type=float, help="default IoU threshold of NMS, 0 to 1")
    parser.add_argument("--out", type=Path, default=ROOT / "model_store", help="folder of the archives (model_store)")
    parser.add_argument(
        "--register", nargs="?", const=MANAGEMENT, metavar="URL", help=f"then register it at that server ({MANAGEMENT})"
    )
    parser.add_argument("--list", action="store_true", help="show the models, their weights, licences and accuracy")
    parser.add_argument("--show", type=Path, metavar="FILE.mar", help="show what an archive holds")
    parser.add_argument("--trt", choices="01", help=argparse.SUPPRESS)
    parser.add_argument("--fp16", nargs="?", choices="01", const="1", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if not (options.name or options.list or options.show):
        parser.error("a NAME is needed, fd1 for instance; or --list, or --show FILE.mar")
    # The spellings of older repack scripts.
    if options.trt:
        options.backend = "tensorrt" if options.trt == "1" else "torchscript"
    if options.fp16 == "1":
        options.precision = "fp16"
    return options


def size(text: str) -> tuple[int, int]:
    """'320' → (320, 320), '640x384' → (640, 384)."""
    width, _, height = text.partition("x")
    return int(width), int(height or width)


def show_models() -> None:
    """Print every model with the origin, licence and sum of its weights and its published accuracy."""
    for name, spec in models.catalogue().items():
        weights = spec.weights
        print(f"{name}\n    task      {spec.task}\n    weights   {weights.origin}\n    licence   {weights.licence}")
        print(f"    sha256    {weights.sha256 or 'of your own file'}\n    accuracy  {weights.accuracy}")


def show_archive(path: Path) -> None:
    """Print what an archive holds: its recipe and its files."""
    from detserve import archive

    found = archive.read(path)
    print(f"{found.name}/{found.version}  handler {found.handler}")
    print(found.recipe.to_yaml().decode().rstrip())
    for name, length in found.files.items():
        if not name.startswith("detserve/"):
            print(f"{length:>12,}  {name}")


def order(options: argparse.Namespace) -> Order:
    """What to pack: the command line over config/NAME.yaml over the defaults."""
    from detserve.packing import Order

    chosen = {key: value for key, value in vars(options).items() if value is not None}
    merged = {**ModelConfig.load(ROOT / "config", options.name).pack, **chosen}
    if not isinstance(merged.get("size", ()), tuple):
        merged["size"] = size(str(merged["size"]))
    if "model" not in merged:
        raise BadSpec(f"--model is needed: there is no config/{options.name}.yaml that names one; see --list")
    known = {field.name for field in fields(Order)}
    return Order(
        settings={key: merged[key] for key in SPEC_SETTINGS if key in merged},
        **{key: value for key, value in merged.items() if key in known},
    )


def register(path: Path, options: argparse.Namespace) -> None:
    """Register the archive at a running server as config/NAME.yaml says, and make it the version that answers."""
    from detserve.serving.management import Management

    management = Management(options.register, ROOT / "run")
    management.register(path.name, options.name, ModelConfig.load(ROOT / "config", options.name).serve)
    workers = management.wait_ready(options.name, options.version)
    management.set_default(options.name, options.version)
    print(f"{options.name}/{options.version} is served by {workers} worker(s) at {options.register}")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line → exit status."""
    options = parse(arguments)
    try:
        if options.list:
            show_models()
        elif options.show:
            show_archive(options.show)
        else:
            from detserve.packing import pack

            path = pack(order(options))
            print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
            if options.register:
                register(path, options)
    except SetupError as error:
        print(f"repack: {error}", file=sys.stderr)
        return 1
    except ImportError as error:
        print(f"repack: the package {error.name!r} is missing: pip install -r requirements/pack.txt", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
