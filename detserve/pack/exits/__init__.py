"""Exits: archives laid out for servers other than TorchServe.

A layout is the archive unpacked, a module that its server loads, and what that server wants to be told. The modules,
`triton_model.py` and `litserve_server.py`, are copied as they are; they translate requests for `detserve.worker`.
"""
