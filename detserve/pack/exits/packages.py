"""Packages: what a layout's Python needs, pinned as in requirements/."""

from __future__ import annotations

from detserve.errors import BadArchive
from detserve.pack.exits.source import Source

COMMON = (
    "opencv-python-headless==4.14.0.94",
    "pillow==13.0.0",
    "simplejpeg==1.9.0",
    "orjson==3.13.0",
    "PyYAML==6.0.3",
)
NUMPY = "numpy==2.4.6"
BACKENDS = {
    "openvino": ("openvino==2026.4.1",),
    "onnx": ("onnxruntime==1.31.1", "flatbuffers", "packaging", "protobuf==7.36.2"),
}
"""What the engines of a processor need."""
TORCH = "torch==2.13.0"
BY_HAND = {"torchscript": (TORCH,), "eager": (TORCH,), "tensorrt": (TORCH, "TensorRT 10", "torch2trt")}
"""What is chosen by the machine, PyTorch's build for instance."""
OBJECTS = "pycocotools==2.0.11"


def requirements(source: Source, *more: str, numpy: str = NUMPY) -> bytes:
    """A requirements file of all that the archive needs, for `pip install --no-deps -r`; without what `by_hand` has.

    Raises BadArchive for a backend of which this is not known.
    """
    if unknown := source.backends - BACKENDS.keys() - BY_HAND.keys():
        raise BadArchive(
            f"{source.name} runs on {min(unknown)}, and what that needs on another server is not known: "
            "pack it with --backend openvino, for instance"
        )
    lines = [numpy, *COMMON, *more]
    lines += [package for backend in sorted(source.backends) for package in BACKENDS.get(backend, ())]
    lines += [OBJECTS] if source.recipe.detect.spec().task == "object" else []
    return "".join(f"{line}\n" for line in dict.fromkeys(lines)).encode()


def by_hand(source: Source) -> list[str]:
    """What has to be installed besides."""
    # Between the networks of a Mask R-CNN PyTorch works, whatever runs the networks.
    backends = source.backends | ({"eager"} if source.recipe.detect.spec().task == "object" else set())
    return sorted({package for backend in backends for package in BY_HAND.get(backend, ())})


def in_words(source: Source) -> str:
    """The same as a sentence; "" where it is nothing."""
    wanted = by_hand(source)
    return f"Besides, it needs {', '.join(wanted)}, as its machine has them.\n" if wanted else ""
