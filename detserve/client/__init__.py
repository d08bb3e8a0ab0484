"""Client: pictures are sent to a server, and what it finds in them is typed, printed, drawn or written.

For programs it is `Client` and `AsyncClient`, what they answer with, and the errors that they raise::

    from detserve.client import Client

Each is imported when it is asked for: client.py and qpstest pay only for what they use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from detserve.client.answer import Answer, Busy, Failure, NoConnection, Refused, ServerFault, TimedOut
    from detserve.client.api import AsyncClient, Client
    from detserve.client.found import Found
    from detserve.client.shapes import Box, Face, Landmarks, Mask, Object, Point, Text
    from detserve.client.v2 import TRITON

__all__ = [
    "TRITON", "Answer", "AsyncClient", "Box", "Busy", "Client", "Face", "Failure", "Found", "Landmarks", "Mask",
    "NoConnection", "Object", "Point", "Refused", "ServerFault", "Text", "TimedOut",
]  # fmt: skip
_MODULES = {
    "answer": ("Answer", "Busy", "Failure", "NoConnection", "Refused", "ServerFault", "TimedOut"),
    "api": ("AsyncClient", "Client"),
    "found": ("Found",),
    "v2": ("TRITON",),
    "shapes": ("Box", "Face", "Landmarks", "Mask", "Object", "Point", "Text"),
}


def __getattr__(name: str) -> Any:
    module = next((module for module, names in _MODULES.items() if name in names), None)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{module}"), name)
