"""Whether an operation runs on its fused kernel or on its reference: the switch, and steps of a general pipeline."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from degradations.operation import Operation, Scene

log = logging.getLogger(__name__)

SWITCH = "WILDSR_FUSED"
"""Of the environment: 0 has the reference do everything, for a device or a driver that the kernels break."""

_off: list[str] = []
"""Why they are off in this process, though the environment leaves them on."""


class Unusable(RuntimeError):
    """The kernels do not compile here, or they broke the device: a person must say that the reference is to be used."""


class Broken(Unusable):
    """The device computes nothing more for this process."""


def allowed() -> bool:
    """Whether the switch leaves the kernels on, as it does where it is not set."""
    value = os.environ.get(SWITCH, "1")
    if value not in ("0", "1"):
        raise ValueError(f"{SWITCH} must be 0 or 1, got {value!r}")
    return value == "1"


def turn_off(reason: str) -> None:
    """Have the reference do everything in this process from now on."""
    _off[:] = [reason]


def stepped(operation: Operation[Any], images: Sequence[Tensor], recipe: Any, scene: Scene) -> list[Tensor]:
    """`operation.apply`, on a GPU by fused kernels where there are some; where there are none, that is said once."""
    device = images[0].device
    if device.type != "cuda" or step_obstacle(operation, device, images[0].shape[0]):
        applied: list[Tensor] = operation.apply(images, recipe, scene)
        return applied
    from degradations.fused import steps  # needs Triton

    step = steps.of(operation)
    assert step is not None
    return steps.run(operation, step, images, recipe, scene)


def rehearsed(device: torch.device, work: Callable[[], object]) -> str:
    """Why a piece of work with the kernels failed on `device`, in words; empty where it did not.

    Raises:
        Unusable: see `trial.excuse`.
    """
    from degradations.fused.trial import excuse  # needs Triton

    try:
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    except Exception as error:
        return excuse(error, device)
    return ""


def unavailable() -> str:
    """Why there are no kernels at all, in words; empty where there are."""
    if not allowed():
        return f"{SWITCH}=0"
    if _off:
        return _off[0]
    return "Triton is not installed" if find_spec("triton") is None else ""


def step_obstacle(operation: Operation[Any], device: torch.device, bands: int) -> str:
    """Why an operation does not run on a fused kernel on `device`, in words; empty where it does. Said once."""
    return _step_obstacle(operation, device, bands, unavailable())


@lru_cache(maxsize=64)
def _step_obstacle(operation: Operation[Any], device: torch.device, bands: int, reason: str) -> str:
    if not reason:
        reason = _reason(operation, device, bands)
    if reason:
        log.warning("No fused kernel for %s: it runs on its reference path (%s).", operation, reason)
    return reason


def _reason(operation: Operation[Any], device: torch.device, bands: int) -> str:
    from degradations.fused import steps  # needs Triton
    from degradations.fused.trial import trial_of_step

    return trial_of_step(operation, device, bands) if steps.of(operation) else "there is no kernel for it"
