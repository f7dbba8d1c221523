"""The degradations' operations for whole batches on a GPU, in Triton: every image has its own size and its own recipe.

The reference, plain PyTorch on one image, says what an operation means; the kernels agree with it within the tolerances
that `tests/degradations/test_fused*.py` state. This package can be imported where there is no Triton, its modules not.
"""

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
    from degradations.parse import Degradation

log = logging.getLogger(__name__)

SWITCH = "WILDSR_FUSED"
"""Of the environment: 0 has the reference do everything, for a device or a driver that the kernels break."""

WHOLE = "by fused kernels"
"""What `account` says of a degradation that they do as a whole."""

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
    for known in (_obstacle, _step_obstacle):
        known.cache_clear()


def takes(config: Degradation, pictures: Tensor) -> bool:
    """Whether `fused.second_order.Pairing` makes pairs of these pictures. On a GPU, why not is said once.

    Raises:
        Unusable: see `trial.excuse`.
    """
    if pictures.device.type != "cuda":  # ROCm bears the same name
        return False
    return not _obstacle(config, pictures.dtype, pictures.device, pictures.shape[1])


def stepped(operation: Operation[Any], images: Sequence[Tensor], recipe: Any, scene: Scene) -> list[Tensor]:
    """`operation.apply`, on a GPU by fused kernels where there are some; where there are none, that is said once."""
    device = images[0].device
    if device.type != "cuda" or _step_obstacle(operation, device, images[0].shape[0]):
        applied: list[Tensor] = operation.apply(images, recipe, scene)
        return applied
    from degradations.fused import steps  # needs Triton

    step = steps.of(operation)
    assert step is not None
    return steps.run(operation, step, images, recipe, scene)


def account(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int) -> str:
    """Which path degrades pictures [B, bands, H, W] of this kind, and why not the fused kernels.

    On a GPU this tries the kernels, which takes a minute where they were never compiled.

    Raises:
        Unusable: see `trial.excuse`.
    """
    if device.type != "cuda":
        return f"by the reference: fused kernels are for GPUs, and this is {device.type}"
    reason = _obstacle(config, dtype, device, bands)
    if not reason:
        return WHOLE
    if config.type != "pipeline" or _unavailable():
        return f"by the reference: {reason}"
    paths: dict[str, dict[str, None]] = {}  # in the order of the pipeline, each operation once
    for operation in config.operations():
        obstacle = _step_obstacle(operation, device, bands)
        path = f"by the reference ({obstacle})" if obstacle else WHOLE
        paths.setdefault(path, {})[operation.type] = None
    return "step by step: " + "; ".join(f"{', '.join(names)} {path}" for path, names in paths.items())


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


def _unavailable() -> str:
    """Why there are no kernels at all, in words; empty where there are."""
    if not allowed():
        return f"{SWITCH}=0"
    if _off:
        return _off[0]
    return "Triton is not installed" if find_spec("triton") is None else ""


@lru_cache(maxsize=16)
def _obstacle(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int) -> str:
    reason = _reason(config, dtype, device, bands)
    if reason:
        log.warning("The degradation does not run on fused kernels as a whole: %s.", reason)
    return reason


def _reason(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int) -> str:
    if reason := _unavailable():
        return reason
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
def _step_obstacle(operation: Operation[Any], device: torch.device, bands: int) -> str:
    if reason := _unavailable():
        return reason
    from degradations.fused import steps  # needs Triton
    from degradations.fused.trial import trial_of_step

    reason = trial_of_step(operation, device, bands) if steps.of(operation) else "there is no kernel for it"
    if reason:
        log.warning("No fused kernel for %s: it runs on its reference path (%s).", operation, reason)
    return reason
