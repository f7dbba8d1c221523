"""Matrix products whose operands must not be rounded."""

from __future__ import annotations

import torch
from torch import Tensor


def unrounded(tensor: Tensor) -> Tensor:
    """The tensor in a format whose products a device computes as they are written.

    On a CPU that is float32. On a GPU float32 products may use TensorFloat-32 (10 bits) or, under autocast, bfloat16,
    by switches that belong to the training; float64 is out of their reach, and these products are small.
    """
    return tensor.double() if tensor.is_cuda else tensor


def no_autocast(device: torch.device) -> torch.autocast:
    """Context in which products keep the format of their operands."""
    return torch.autocast(device.type, enabled=False)
