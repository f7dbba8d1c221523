"""Whether a whole degradation runs on fused kernels, and which path each of its parts takes."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from degradations.fused.dispatch import unsupported_step_reason
from degradations.fused.switch import unavailable

if TYPE_CHECKING:
    from degradations.parse import Degradation

log = logging.getLogger(__name__)

WHOLE = "by fused kernels"
"""What `describe_path` says of a degradation that they do as a whole."""


def supports(config: Degradation, pictures: Tensor) -> bool:
    """Whether `fused.second_order.Pairing` makes pairs of these pictures. On a GPU, why not is said once.

    Raises:
        KernelsUnusable: see `trial.explain_failure`.
    """
    if pictures.device.type != "cuda":  # ROCm bears the same name
        return False
    return not unsupported_reason(config, pictures.dtype, pictures.device, pictures.shape[1])


def describe_path(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int) -> str:
    """Which path degrades pictures [B, bands, H, W] of this kind, and why not the fused kernels.

    On a GPU this tries the kernels, which takes a minute where they were never compiled.

    Raises:
        KernelsUnusable: see `trial.explain_failure`.
    """
    if device.type != "cuda":
        return f"by the reference: fused kernels are for GPUs, and this is {device.type}"
    reason = unsupported_reason(config, dtype, device, bands)
    if not reason:
        return WHOLE
    if config.type != "pipeline" or unavailable():
        return f"by the reference: {reason}"
    paths: dict[str, dict[str, None]] = {}  # in the order of the pipeline, each operation once
    for operation in config.operations():
        reason = unsupported_step_reason(operation, device, bands)
        path = f"by the reference ({reason})" if reason else WHOLE
        paths.setdefault(path, {})[operation.type] = None
    return "step by step: " + "; ".join(f"{', '.join(names)} {path}" for path, names in paths.items())


def unsupported_reason(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int) -> str:
    """Why the kernels do not do a degradation as a whole, in words; empty where they do. Said once."""
    return _unsupported_reason(config, dtype, device, bands, unavailable())


@lru_cache(maxsize=16)
def _unsupported_reason(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int, reason: str) -> str:
    reason = reason or _reason(config, dtype, device, bands)
    if reason:
        log.warning("The degradation does not run on fused kernels as a whole: %s.", reason)
    return reason


def _reason(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int) -> str:
    if dtype != torch.uint8:
        return f"pictures are {dtype}, not 8-bit"
    if config.type != "second_order":
        return f"type: {config.type} goes step by step"
    from degradations.fused.second_order import unsupported_reason as without_kernel  # needs Triton
    from degradations.fused.trial import trial

    if reason := without_kernel(config):
        return f"there is no kernel for {reason}"
    return trial(config, device, bands)
