"""Image files in memory, written and read by Pillow, which is optional: without it these calls raise ImportError."""

from __future__ import annotations

import ctypes
import io
from typing import Any

import torch
from einops import rearrange
from torch import Tensor


def through_file(levels: Tensor, codec: str, **options: Any) -> Tensor:
    """Encode and decode a picture on the CPU.

    Args:
        levels: uint8 [C, H, W], C of 1 (gray) or 3 (RGB).
        codec: Pillow's name of a format, such as "jpeg".
        options: of Pillow's `save` for that format, such as `quality`.

    Returns:
        uint8 [C, H, W].
    """
    from PIL import Image

    channels, height, width = levels.shape
    # WebP has no gray: a band is stored as gray RGB, and the first channel is read back
    mode = "L" if channels == 1 and codec == "jpeg" else "RGB"
    planes = [
        Image.frombytes("L", (width, height), ctypes.string_at(plane.data_ptr(), plane.numel()))
        for plane in levels.contiguous().unbind()
    ]
    picture = planes[0] if mode == "L" else Image.merge("RGB", planes * (3 // channels))
    file = io.BytesIO()
    picture.save(file, codec, **options)
    with Image.open(file, formats=(codec,)) as decoded:
        data = (decoded if decoded.mode == mode else decoded.convert(mode)).tobytes()
    pixels = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return rearrange(pixels, "(row column band) -> band row column", row=height, column=width)[:channels].contiguous()
