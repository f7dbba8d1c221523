"""Small constants on a device, copied there once: a copy from the host cannot be part of a CUDA graph."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


def resident(constant: Tensor, device: torch.device) -> Tensor:
    """Copy a constant to the device and wait for the copy, so that any stream may use it."""
    return constant.to(device)


@lru_cache(maxsize=256)
def int64_constant(values: tuple[int, ...], device: torch.device) -> Tensor:
    """int64 [len(values)], cached: not to be written to."""
    return resident(torch.tensor(values), device)


@lru_cache(maxsize=256)
def float64_constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """float64 [len(values)], cached: not to be written to."""
    return resident(torch.tensor(values, dtype=torch.float64), device)
