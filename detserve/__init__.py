"""Serve detectors of faces and text with TorchServe.

The data flows through the modules in this order::

    bytes → images → letterbox → backends → models → detections → response
"""

__version__ = "0.1.0"
