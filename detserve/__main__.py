"""`python -m detserve`."""

import sys

from detserve.cli import main

if __name__ == "__main__":
    sys.exit(main())
