"""Serve models that find faces, text and objects, and that read, with TorchServe.

The data flows through the folders in this order::

    bytes → pictures → core (letterbox) → engines → models (decode) → core (NMS)
          → text (order and crops of lines, to be read) → worker (response)
"""

__version__ = "0.1.0"
