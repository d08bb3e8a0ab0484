"""`detserve versions` under its older name."""

import sys

from detserve.serve.versions import main

if __name__ == "__main__":
    sys.exit(main())
