"""PP-OCRv6 small: regions of text, and what they say."""

from detserve.models.ppocr.spec import DB, SPECS, PPReader

__all__ = ["DB", "SPECS", "PPReader"]
