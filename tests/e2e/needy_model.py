"""A user's own model that packs here, and whose package is missing in a worker."""

import sys

from detserve import models

if "ts.service" in sys.modules:
    import package_that_is_nowhere  # type: ignore[import-not-found]  # noqa: F401

Spec = models.find("centerface")
