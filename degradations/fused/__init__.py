"""The degradations' operations for whole batches on a GPU, in Triton: every image has its own size and its own recipe.

The reference, plain PyTorch on one image, says what an operation means; the kernels agree with it within the tolerances
that `tests/degradations/test_fused*.py` state. This package can be imported where there is no Triton, its modules not.
"""

from __future__ import annotations

import logging
from functools import lru_cache
from importlib.util import find_spec

import torch
from torch import Tensor

from degradations.parse import Degradation
from degradations.second_order import SecondOrder

log = logging.getLogger(__name__)


def takes(config: Degradation, pictures: Tensor) -> bool:
    """Whether `fused.second_order.Pairing` makes pairs of these pictures. On a GPU, why not is said once."""
    if pictures.device.type != "cuda":  # ROCm bears the same name
        return False
    return not _obstacle(config, pictures.dtype)


@lru_cache(maxsize=16)
def _obstacle(config: Degradation, dtype: torch.dtype) -> str:
    reason = _reason(config, dtype)
    if reason:
        log.warning("The degradation runs on its reference path, not on fused kernels: %s.", reason)
    return reason


def _reason(config: Degradation, dtype: torch.dtype) -> str:
    if find_spec("triton") is None:
        return "Triton is not installed"
    if dtype != torch.uint8:
        return f"pictures are {dtype}, not 8-bit"
    if not isinstance(config, SecondOrder):
        return f"type: {config.type} has no fused kernels as a whole"
    from degradations.fused.second_order import obstacle  # needs Triton

    reason = obstacle(config)
    return reason and f"there is no kernel for {reason}"
