"""What a model of your own imports: `detserve.models.spec` under a name that will not change."""

from detserve.models.spec import (
    DetectorSpec,
    ModelSpec,
    NetworkSpec,
    OnnxSpec,
    Outputs,
    ReaderSpec,
    TextSpec,
    Weights,
    import_spec,
)

__all__ = [
    "DetectorSpec",
    "ModelSpec",
    "NetworkSpec",
    "OnnxSpec",
    "Outputs",
    "ReaderSpec",
    "TextSpec",
    "Weights",
    "import_spec",
]
