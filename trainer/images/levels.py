"""Storage of pictures: integer levels of 8 bits (photographs) or 16 (reflectance), which stand for [0, 1]."""

import torch
from torch import Tensor

LEVELS = {torch.uint8: 255, torch.uint16: 65535}
"""The level that means 1, by the type of a picture."""


def unit(pictures: Tensor, layout: torch.memory_format = torch.preserve_format) -> Tensor:
    """uint8 or uint16 of any shape to float32 in [0, 1], in a memory format."""
    return pictures.to(torch.float32, memory_format=layout) / LEVELS[pictures.dtype]


def bits(pictures: Tensor) -> Tensor:
    """The same memory with uint16 viewed as int16, which flips and lookups support on every device."""
    return pictures.view(torch.int16) if pictures.dtype == torch.uint16 else pictures


def quantised(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Float of any shape to levels of `dtype`, uint8 or uint16: clamped to [0, 1], rounded half to even."""
    return values.clamp(0, 1).mul(LEVELS[dtype]).round().to(dtype)
