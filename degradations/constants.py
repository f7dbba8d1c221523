"""Small constants on a device, copied there once: a copy from the host cannot be part of a CUDA graph."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor


@lru_cache(maxsize=256)
def constant(values: tuple[int, ...], device: torch.device) -> Tensor:
    """int64 [len(values)]. It is shared: not to be written to."""
    return torch.tensor(values).to(device, non_blocking=True)
