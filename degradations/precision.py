"""Matrix products in full precision, whatever the training has switched on."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor


def unrounded(tensor: Tensor) -> Tensor:
    """The tensor in a dtype whose matrix products the device does not round: float32 on a CPU, float64 on a GPU.

    On a GPU the training may have switched float32 products to TensorFloat-32 (10 bits) or, by autocast, to bfloat16.
    Neither switch touches float64, and these products are small.
    """
    return tensor.double() if tensor.is_cuda else tensor


def no_autocast(device: torch.device) -> AbstractContextManager[object]:
    """Context in which products keep the dtype of their operands; on the device `meta`, which has no autocast, none."""
    context: AbstractContextManager[object] = nullcontext()
    return context if device.type == "meta" else torch.autocast(device.type, enabled=False)
