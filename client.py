#!/usr/bin/env python3
"""Send pictures to a server and print, write or draw what it finds in them: `detserve detect` from a checkout."""

import sys

from detserve.client.command import main

if __name__ == "__main__":
    sys.exit(main())
