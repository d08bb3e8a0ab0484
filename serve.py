#!/usr/bin/env python3
"""Serve the archives of the model store with TorchServe: `detserve serve` from a checkout."""

import sys

from detserve.serve.command import main

if __name__ == "__main__":
    sys.exit(main())
