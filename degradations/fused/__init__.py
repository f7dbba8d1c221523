"""The degradations' operations for whole batches on a GPU, in Triton: every image has its own size and its own recipe.

The reference, plain PyTorch on one image, says what an operation means; the kernels agree with it within the tolerances
that `tests/degradations/test_fused*.py` state. This package can be imported where there is no Triton, its modules not.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from degradations.operation import Operation, Scene
    from degradations.parse import Degradation

log = logging.getLogger(__name__)

SWITCH = "WILDSR_FUSED"
"""Of the environment: 0 has the reference do everything, for a device or a driver that the kernels break."""


def allowed() -> bool:
    """Whether the switch leaves the kernels on, as it does where it is not set."""
    value = os.environ.get(SWITCH, "1")
    if value not in ("0", "1"):
        raise ValueError(f"{SWITCH} must be 0 or 1, got {value!r}")
    return value == "1"


def takes(config: Degradation, pictures: Tensor) -> bool:
    """Whether `fused.second_order.Pairing` makes pairs of these pictures. On a GPU, why not is said once."""
    if pictures.device.type != "cuda":  # ROCm bears the same name
        return False
    return not _obstacle(config, pictures.dtype, pictures.device, pictures.shape[1])


def stepped(operation: Operation[Any], images: Sequence[Tensor], recipe: Any, scene: Scene) -> list[Tensor]:
    """`operation.apply`, on a GPU by fused kernels where there are some; where there are none, that is said once."""
    if images[0].device.type != "cuda" or not _has_step(operation):
        applied: list[Tensor] = operation.apply(images, recipe, scene)
        return applied
    from degradations.fused import steps  # needs Triton

    step = steps.of(operation)
    assert step is not None
    return steps.run(operation, step, images, recipe, scene)


@lru_cache(maxsize=16)
def _obstacle(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int) -> str:
    reason = _reason(config, dtype, device, bands)
    if reason:
        log.warning("The degradation does not run on fused kernels as a whole: %s.", reason)
    return reason


def _reason(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int) -> str:
    if not allowed():
        return f"{SWITCH}=0"
    if find_spec("triton") is None:
        return "Triton is not installed"
    if dtype != torch.uint8:
        return f"pictures are {dtype}, not 8-bit"
    if config.type != "second_order":
        return f"type: {config.type} goes step by step"
    from degradations.fused.second_order import obstacle  # needs Triton
    from degradations.fused.trial import trial

    if reason := obstacle(config):
        return f"there is no kernel for {reason}"
    return trial(config, device, bands)


@lru_cache(maxsize=64)
def _has_step(operation: Operation[Any]) -> bool:
    if not allowed() or find_spec("triton") is None:
        return False
    from degradations.fused import steps  # needs Triton

    if steps.of(operation) is None:
        log.warning("No fused kernel for %s: it runs on its reference path.", operation)
        return False
    return True
