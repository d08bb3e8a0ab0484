#!/usr/bin/env python3
"""Build an engine for a model and pack it into model_store/NAME.mar: `detserve pack` from a checkout."""

import sys

from detserve.pack.command import main

if __name__ == "__main__":
    sys.exit(main())
