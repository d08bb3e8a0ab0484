"""Serve detectors of faces and text with TorchServe.

The data flows through the folders in this order::

    bytes → pictures → core (letterbox) → engines → models (decode) → core (NMS) → worker (response)
"""

__version__ = "0.1.0"
