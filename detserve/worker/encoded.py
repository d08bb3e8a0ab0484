"""Encoded: the bytes of one request's picture, with its depth where there is any → what is laid on the canvas."""

from __future__ import annotations

from collections.abc import Callable

from detserve.errors import UnfitDepth
from detserve.models.parts import PartedSpec
from detserve.models.spec import ModelSpec
from detserve.pictures import depth
from detserve.pictures.decode import Image, decode
from detserve.pictures.depth import WithDepth

Encoded = bytes | bytearray | WithDepth


def image_of(
    data: Encoded,
    spec: ModelSpec,
    max_pixels: int,
    target_size: Callable[[tuple[int, int]], tuple[int, int]] | None,
) -> Image:
    """The picture as that model takes it: its colours or, for a model of depth, these and depth as further channels.

    Raises UnfitDepth where depth is missing, not asked for or of another size, and all that `decode` raises.
    """
    wants_depth = isinstance(spec, PartedSpec) and spec.has_depth
    if not isinstance(data, WithDepth):
        if wants_depth:
            raise UnfitDepth(f"{spec.name} wants a depth map: send the picture as the field 'image' and it as 'depth'")
        return decode(data, max_pixels, target_size)
    if not wants_depth:
        raise UnfitDepth(f"{spec.name} takes no depth map: leave the field 'depth' out")
    assert isinstance(spec, PartedSpec)
    # Whole, so that a pixel of the one is a pixel of the other.
    image = decode(data.colour, max_pixels)
    return Image(spec.planes(image.rgb, depth.read(data.depth, image.size)), image.size)
