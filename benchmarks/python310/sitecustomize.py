"""What detserve takes from Python 3.11 and later, for Python 3.10: TensorRT 8.5 has no packages for a newer one.

With this folder on PYTHONPATH Python imports the file by itself. For measuring on machines that have nothing else;
detserve is served with Python 3.11 or later.
"""

import datetime
import hashlib
import typing
from typing import Any

import typing_extensions


def file_digest(file: Any, name: Any) -> Any:
    """hashlib.file_digest: the digest of what a file opened for reading holds."""
    digest = hashlib.new(name) if isinstance(name, str) else name()
    while block := file.read(1 << 18):
        digest.update(block)
    return digest


for module, attribute, value in (
    (typing, "Self", typing_extensions.Self),
    (hashlib, "file_digest", file_digest),
    (datetime, "UTC", datetime.timezone.utc),  # noqa: UP017
):
    if not hasattr(module, attribute):
        setattr(module, attribute, value)
