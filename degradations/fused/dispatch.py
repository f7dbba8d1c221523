"""Dispatch of the steps of a pipeline to fused kernels or to the reference."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from degradations.fused.switch import unavailable_reason

if TYPE_CHECKING:
    from degradations.operations.operation import Operation, OperationContext

log = logging.getLogger(__name__)


def apply_step(
    operation: Operation[Any], images: Sequence[Tensor], recipe: Any, context: OperationContext
) -> list[Tensor]:
    """`operation.apply`, on a GPU by the fused kernel if there is one; if there is none, that is logged once."""
    device = images[0].device
    if device.type != "cuda" or unsupported_step_reason(operation, device, images[0].shape[0]):
        applied: list[Tensor] = operation.apply(images, recipe, context)
        return applied
    from degradations.fused import steps  # needs Triton

    step = steps.fused_form(operation)
    assert step is not None
    return steps.run(operation, step, images, recipe, context)


def failure_of(device: torch.device, work: Callable[[], object]) -> str:
    """Run work with the kernels and wait for it; the reason in words if it failed on `device`, else empty.

    Raises:
        KernelsUnusable: see `trial.explain_failure`.
    """
    from degradations.fused.trial import explain_failure  # needs Triton

    try:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except Exception as error:
        return explain_failure(error, device)
    return ""


def unsupported_step_reason(operation: Operation[Any], device: torch.device, bands: int) -> str:
    """Reason why an operation does not run on a fused kernel on `device`, logged once; empty if it does."""
    return _unsupported_step_reason(operation, device, bands, unavailable_reason())


@lru_cache(maxsize=64)
def _unsupported_step_reason(operation: Operation[Any], device: torch.device, bands: int, reason: str) -> str:
    if not reason:
        reason = _reason(operation, device, bands)
    if reason:
        log.warning("No fused kernel for %s: it runs on its reference path (%s).", operation, reason)
    return reason


def _reason(operation: Operation[Any], device: torch.device, bands: int) -> str:
    from degradations.fused import steps  # needs Triton
    from degradations.fused.trial import try_step

    return try_step(operation, device, bands) if steps.fused_form(operation) else "there is no kernel for it"
