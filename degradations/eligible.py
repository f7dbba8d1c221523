"""Whether a whole degradation runs on fused kernels, and which path each of its parts takes."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from degradations.fused.dispatch import step_obstacle
from degradations.fused.switch import unavailable

if TYPE_CHECKING:
    from degradations.parse import Degradation

log = logging.getLogger(__name__)

WHOLE = "by fused kernels"
"""What `account` says of a degradation that they do as a whole."""


def takes(config: Degradation, pictures: Tensor) -> bool:
    """Whether `fused.second_order.Pairing` makes pairs of these pictures. On a GPU, why not is said once.

    Raises:
        Unusable: see `trial.excuse`.
    """
    if pictures.device.type != "cuda":  # ROCm bears the same name
        return False
    return not obstacle(config, pictures.dtype, pictures.device, pictures.shape[1])


def account(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int) -> str:
    """Which path degrades pictures [B, bands, H, W] of this kind, and why not the fused kernels.

    On a GPU this tries the kernels, which takes a minute where they were never compiled.

    Raises:
        Unusable: see `trial.excuse`.
    """
    if device.type != "cuda":
        return f"by the reference: fused kernels are for GPUs, and this is {device.type}"
    reason = obstacle(config, dtype, device, bands)
    if not reason:
        return WHOLE
    if config.type != "pipeline" or unavailable():
        return f"by the reference: {reason}"
    paths: dict[str, dict[str, None]] = {}  # in the order of the pipeline, each operation once
    for operation in config.operations():
        reason = step_obstacle(operation, device, bands)
        path = f"by the reference ({reason})" if reason else WHOLE
        paths.setdefault(path, {})[operation.type] = None
    return "step by step: " + "; ".join(f"{', '.join(names)} {path}" for path, names in paths.items())


def obstacle(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int) -> str:
    """Why the kernels do not do a degradation as a whole, in words; empty where they do. Said once."""
    return _obstacle(config, dtype, device, bands, unavailable())


@lru_cache(maxsize=16)
def _obstacle(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int, reason: str) -> str:
    reason = reason or _reason(config, dtype, device, bands)
    if reason:
        log.warning("The degradation does not run on fused kernels as a whole: %s.", reason)
    return reason


def _reason(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int) -> str:
    if dtype != torch.uint8:
        return f"pictures are {dtype}, not 8-bit"
    if config.type != "second_order":
        return f"type: {config.type} goes step by step"
    from degradations.fused.second_order import obstacle as without_kernel  # needs Triton
    from degradations.fused.trial import trial

    if reason := without_kernel(config):
        return f"there is no kernel for {reason}"
    return trial(config, device, bands)
