#!/usr/bin/env python3
"""Run an archive over very many pictures, without a server, into Parquet: `detserve bulk` from a checkout."""

import sys

from detserve.bulk.command import main

if __name__ == "__main__":
    sys.exit(main())
