"""Worker: what runs in a worker of TorchServe, from a request's bytes to JSON.

The data flows through the modules in this order::

    handler → envelope → pipeline (decode, detector, reader) → response
"""
