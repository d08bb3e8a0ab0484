"""None-ResNet-None-CTC: a reader of single words."""

from detserve.models.resnet_ctc.spec import SPECS, ResNetReader

__all__ = ["SPECS", "ResNetReader"]
