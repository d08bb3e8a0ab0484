"""CenterFace: faces with five landmarks, anchor-free."""

from detserve.models.centerface.layout import STRIDE
from detserve.models.centerface.spec import SPECS, CenterFace

__all__ = ["SPECS", "STRIDE", "CenterFace"]
