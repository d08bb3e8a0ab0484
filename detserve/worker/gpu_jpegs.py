"""GpuJpegs: JPEGs decoded on the GPU by nvJPEG, a batch at a time, where torchvision is installed.

Below about a megapixel that is faster than the processor; above it the processor is, as it decodes a fraction of the
size. The same checks come before either, see `detserve.pictures.decode.compressed`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec

import cv2
import numpy as np
import torch
from torch import Tensor

from detserve.core.letterbox import Letterbox
from detserve.pictures.decode import Compressed
from detserve.worker.cuda_detector import CudaDetector, apply


class GpuJpegs:
    """nvJPEG in front of a detector on the same GPU."""

    most_pixels = 1_000_000
    """Larger JPEGs are the processor's."""

    def __init__(self, detector: CudaDetector) -> None:
        self.device, self.fill = detector.device, detector.spec.fill

    @classmethod
    def before(cls, detector: CudaDetector) -> GpuJpegs | None:
        """One for that detector, or None where there is no torchvision or it was built without nvJPEG."""
        if not find_spec("torchvision"):
            return None
        found = cls(detector)
        blank = cv2.imencode(".jpg", np.zeros((16, 16, 3), np.uint8))[1].tobytes()
        try:
            found._decode([Compressed(blank, (16, 16))])
        except (ImportError, OSError, RuntimeError, AttributeError) as error:
            print(f"detserve: JPEGs are decoded on the processor: {' '.join(str(error).split())}", file=sys.stderr)
            return None
        return found

    def draw(self, pictures: Sequence[tuple[Compressed, Letterbox, Tensor]]) -> bool:
        """Decode a batch and letterbox each picture onto its canvas → False where nothing was drawn: one is broken."""
        try:
            decoded = self._decode([jpeg for jpeg, _, _ in pictures])
        except RuntimeError as error:
            if "CUDA" in str(error):  # not the picture's fault; the worker ends for it
                raise
            return False
        sizes = [(rgb.shape[2], rgb.shape[1]) for rgb in decoded]
        if sizes != [jpeg.size for jpeg, _, _ in pictures]:
            return False
        with torch.inference_mode():
            for rgb, (_, letterbox, canvas) in zip(decoded, pictures, strict=True):
                apply(letterbox, rgb.permute(1, 2, 0), canvas, self.fill)
        return True

    def _decode(self, jpegs: Sequence[Compressed]) -> list[Tensor]:
        """uint8 [3, h, w] RGB each, on the GPU. Raises RuntimeError where one is broken, and then gives none."""
        from torchvision.io import ImageReadMode, decode_jpeg

        data = [torch.frombuffer(bytearray(jpeg.data), dtype=torch.uint8) for jpeg in jpegs]
        decoded: list[Tensor] = decode_jpeg(data, mode=ImageReadMode.RGB, device=self.device)
        return decoded
