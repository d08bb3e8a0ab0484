"""Worker: what runs in a worker, from a request's bytes to JSON.

The data flows through the modules in this order::

    handler → envelope → predictor → pipeline (decode, detector, reader) → response

TorchServe is known to the handler and to its metrics; the envelope has a class for what TorchServe has split already.
What other servers run (detserve/pack/exits) begins at the envelope.
"""
