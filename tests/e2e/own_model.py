"""A user's own model, in a module of its own: CenterFace that stumbles when it is asked to."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

from detserve import models
from detserve.detections import Detections
from detserve.models.centerface import CenterFace
from detserve.spec import Outputs

STUMBLE = 0.111
"""A confidence threshold that makes the decode fail."""
POISON = 0.222
"""One that makes it fail as a broken CUDA context does."""


@dataclass(frozen=True, kw_only=True)
class Stumbling(CenterFace):
    def decode(self, outputs: Outputs, conf: Sequence[float]) -> list[Detections]:
        if STUMBLE in conf:
            raise ValueError("stumbled at /secret/path")
        if POISON in conf:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        return super().decode(outputs, conf)


_published = models.find("centerface")
Spec = Stumbling(**{field.name: getattr(_published, field.name) for field in fields(_published)})
