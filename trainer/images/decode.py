"""Any picture file to what a person sees in it: 8-bit RGB."""

from io import BytesIO
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

MAX_PIXELS = 2**28
"""The largest picture that is decoded: 16384 x 16384, 0.8 GB of RGB in every worker that meets one."""

# Pillow's own guard warns at 89 megapixels and raises at 179, for web servers; ours are the user's own files,
# so one limit, stated above, is applied here before a pixel is decoded.
Image.MAX_IMAGE_PIXELS = None


class Unreadable(Exception):
    """A picture that cannot be decoded: which one, and why. It travels between processes."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


def decode(data: bytes | Path, name: str) -> Tensor:
    """Decode one picture to RGB as a person sees it.

    * Gray becomes three equal channels; a palette is looked up; CMYK is converted without a profile.
    * Transparency is laid over white, the page on which viewers show it: the colours that files keep under
      transparent pixels are arbitrary and never reach the network.
    * 16-bit gray is scaled by 1/257 and rounded. 16-bit RGB(A) is cut to its high byte by Pillow while
      decoding, which is at most one level away from rounding.
    * The EXIF orientation is applied. Colour profiles are not: no tool of the field applies them.
    * Of several frames or pages the first counts.

    Args:
        data: the bytes of the file, or its path.
        name: what to call the picture in an error.

    Returns:
        uint8 [3, H, W] in [0, 255]. It may be a view of interleaved memory (H, W, 3): cut first, then ask for
        `.contiguous()`, which is cheaper on the crop than on the picture.

    Raises:
        Unreadable: missing, truncated, not a picture, above `MAX_PIXELS`, or samples without an agreed white.
    """
    try:
        with Image.open(BytesIO(data) if isinstance(data, bytes) else data) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width}x{image.height}"
                raise Unreadable(name, f"{size} is more than {MAX_PIXELS} pixels; cut it into tiles")
            ImageOps.exif_transpose(image, in_place=True)  # not in place, it would copy every picture
            rgb = _to_rgb(image, name)
    except Unreadable:
        raise
    except Exception as error:
        # Pillow's plugins raise what they meet (OSError, SyntaxError, ValueError, struct.error, zlib.error),
        # and none of it may end a run (law 12).
        raise Unreadable(name, reason_of(error)) from error
    return torch.from_numpy(np.array(rgb)).permute(2, 0, 1)


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode.startswith("I"):
        return _from_16_bit(image, name)
    if image.mode == "F":
        raise Unreadable(name, "floating-point samples have no agreed white level; save it with 8 or 16 bits")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _from_16_bit(image: Image.Image, name: str) -> Image.Image:
    """16-bit gray, which Pillow's own `convert` would clip at 255 instead of scaling."""
    samples = np.asarray(image).astype(np.int64)
    if samples.min() < 0 or samples.max() > 65535:
        raise Unreadable(name, "32-bit samples have no agreed white level; save it with 8 or 16 bits")
    return Image.fromarray(((samples + 128) // 257).astype(np.uint8)).convert("RGB")


def reason_of(error: Exception) -> str:
    """Why a picture cannot be decoded, in one line."""
    if isinstance(error, FileNotFoundError):
        return "the file is gone"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture that Pillow knows"  # its own text names a memory address
    return str(error).splitlines()[0] if str(error) else type(error).__name__
