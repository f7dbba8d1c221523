"""Decode any picture file to 8-bit RGB, as viewers show it."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from PIL import Image, ImageOps
from torch import Tensor

from trainer.images.opened import BUDGET, Budget, Unreadable, load, opened, reason_of

STRIP = 2**20
"""Pixels converted at a time, so that temporary copies are small beside the picture."""


def decode(data: bytes | Path, name: str, budget: Budget = BUDGET) -> Tensor:
    """Decode one picture to RGB as viewers show it.

    * Gray becomes three equal channels; a palette is looked up; CMYK is converted without a profile.
    * Transparency is laid over white, the page on which viewers show it: the colours that files keep under
      transparent pixels are arbitrary and never reach the network.
    * 16-bit gray is scaled by 1/257 and rounded. 16-bit RGB(A) is cut to its high byte by Pillow while
      decoding, which is at most one level away from rounding.
    * The EXIF orientation is applied. Colour profiles are not: no tool of the field applies them.
    * Of several frames or pages the first is decoded.

    Args:
        data: the bytes of the file, or its path.
        name: the picture's name in errors.
        budget: the limit for the memory of decoding.

    Returns:
        uint8 [3, H, W] in [0, 255]. It is a view of interleaved memory (H, W, 3): cut first, then ask for
        `.contiguous()`, which is cheaper on the crop than on the picture.

    Raises:
        Unreadable: missing, truncated, not a picture, beyond the budget, or samples without an agreed white.
    """
    try:
        with opened(data, name, budget) as image:
            if image.mode == "F":
                raise Unreadable(name, "floating-point samples have no agreed white level; save it with 8 or 16 bits")
            load(image, data)
            ImageOps.exif_transpose(image, in_place=True)  # not in place, it would copy every picture
            return rgb_of(image, name)
    except Unreadable:
        raise
    except Exception as error:
        # Pillow's plugins raise many kinds (OSError, SyntaxError, ValueError, struct.error, zlib.error),
        # and none of them may end a run.
        raise Unreadable(name, reason_of(error)) from error


def rgb_of(image: Image.Image, name: str) -> Tensor:
    """A decoded picture as uint8 [3, H, W], transparency laid over white; a view of interleaved memory."""
    return rearrange(torch.from_numpy(_to_rgb(image, name)), "row column rgb -> rgb row column")


def _to_rgb(image: Image.Image, name: str) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Convert to RGB [H, W, 3], strip by strip."""
    rgb = np.empty((image.height, image.width, 3), np.uint8)
    rows = max(1, STRIP // image.width)
    for top in range(0, image.height, rows):
        bottom = min(image.height, top + rows)
        strip = image if rows >= image.height else image.crop((0, top, image.width, bottom))
        rgb[top:bottom] = _converted(strip, name)
    return rgb


def _converted(strip: Image.Image, name: str) -> np.ndarray[Any, Any]:
    """A strip as RGB [h, w, 3] or gray [h, w, 1], transparency laid over white."""
    if strip.mode.startswith("I"):
        return _from_16_bit(strip, name)
    if strip.has_transparency_data:
        white = Image.new("RGBA", strip.size, "white")
        strip = Image.alpha_composite(white, strip.convert("RGBA"))
    return np.asarray(strip if strip.mode == "RGB" else strip.convert("RGB"))


def _from_16_bit(strip: Image.Image, name: str) -> np.ndarray[Any, Any]:
    """16-bit gray, which Pillow's own `convert` would clip at 255 instead of scaling."""
    samples = np.asarray(strip).astype(np.int64)
    if samples.min() < 0 or samples.max() > 65535:
        raise Unreadable(name, "32-bit samples have no agreed white level; save it with 8 or 16 bits")
    return ((samples + 128) // 257)[..., None]
