#!/usr/bin/env python3
"""Load test of a server, or of an archive in process: `detserve bench` from a checkout."""

import sys

from detserve.bench.command import main

if __name__ == "__main__":
    sys.exit(main())
