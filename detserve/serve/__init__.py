"""Serve: TorchServe as a process, from its configuration to its end, and its management."""
