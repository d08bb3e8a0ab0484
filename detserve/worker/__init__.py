"""Worker: what runs in a worker, from a request's bytes to JSON.

The data flows through the modules in this order::

    handler → envelope → predictor → pipeline (decode, detector, reader) → response

Only the handler knows TorchServe; what other servers run (detserve/pack/exits) begins at the envelope.
"""
