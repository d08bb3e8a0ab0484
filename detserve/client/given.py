"""Given: a picture as a program has it → the bytes that are sent."""

from __future__ import annotations

import io
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from detserve.errors import BadPicture

if TYPE_CHECKING:
    import PIL.Image
    from numpy.typing import NDArray

Picture: TypeAlias = "str | PathLike[str] | bytes | bytearray | memoryview | PIL.Image.Image | NDArray[Any]"
"""A file's path, a file's bytes, a picture of Pillow, or uint8 [h, w, 3] RGB, [h, w] grey."""
QUALITY = 95
"""Of the JPEGs that pixels are sent as, their colours at full size."""


def encoded(picture: Any) -> bytes:
    """The bytes of a picture. A file is sent as it is, pixels are encoded.

    Raises OSError for a file that cannot be read, BadPicture for pixels of another kind, TypeError for anything else.
    """
    if isinstance(picture, bytes | bytearray | memoryview):
        return bytes(picture)
    if isinstance(picture, str | PathLike):
        return Path(picture).read_bytes()
    import numpy as np
    import PIL.Image

    if isinstance(picture, np.ndarray):
        channels = picture.shape[2:]
        if picture.dtype != np.uint8 or picture.ndim not in (2, 3) or channels not in ((), (3,)) or not picture.size:
            raise BadPicture(f"an array must be uint8 [h, w, 3] RGB or [h, w], not {picture.dtype} {picture.shape}")
        return _jpeg(PIL.Image.fromarray(picture))
    if isinstance(picture, PIL.Image.Image):
        from detserve.pictures import pillow

        # A copy: what is transparent becomes white, and reading takes away what says what is.
        return _jpeg(picture if picture.mode in ("RGB", "L") else PIL.Image.fromarray(pillow.read(picture.copy(), 8)))
    raise TypeError(f"a picture is a path, bytes, a picture of Pillow or an array, not {type(picture).__name__}")


def _jpeg(picture: PIL.Image.Image) -> bytes:
    """Without its metadata: what says that a picture lies on a side counts for files, not for pixels."""
    buffer = io.BytesIO()
    try:
        picture.save(buffer, "JPEG", quality=QUALITY, subsampling=0, exif=b"")
    except OSError as error:  # a side of more than 65535 pixels
        raise BadPicture(f"{picture.width}x{picture.height} pixels are too long for a JPEG: send a file") from error
    return buffer.getvalue()
