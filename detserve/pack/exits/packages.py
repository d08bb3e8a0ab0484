"""Packages: what a layout's Python needs, pinned as in requirements/."""

from __future__ import annotations

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
"""What the engines of a processor need. PyTorch and TensorRT are chosen by the machine, and named in words."""
OBJECTS = "pycocotools==2.0.11"
BY_HAND = {
    "torchscript": "torch 2.13",
    "eager": "torch 2.13",
    "tensorrt": "torch 2.13, TensorRT 10 and torch2trt",
}


def requirements(source: Source, *more: str, numpy: str = NUMPY) -> bytes:
    """A requirements file of all that the archive needs, for `pip install --no-deps -r`."""
    lines = [numpy, *COMMON, *more]
    lines += [package for backend in sorted(source.backends) for package in BACKENDS.get(backend, ())]
    lines += [OBJECTS] if source.recipe.detect.spec().task == "object" else []
    return "".join(f"{line}\n" for line in dict.fromkeys(lines)).encode()


def by_hand(source: Source) -> str:
    """What has to be installed besides, as a sentence; "" where nothing has."""
    # Between the networks of a Mask R-CNN PyTorch works, whatever runs the networks.
    backends = source.backends | ({"eager"} if source.recipe.detect.spec().task == "object" else set())
    wanted = sorted({BY_HAND[backend] for backend in backends if backend in BY_HAND})
    return f"Besides, it needs {' and '.join(wanted)}, as its machine has them.\n" if wanted else ""
