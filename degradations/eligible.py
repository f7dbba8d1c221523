"""Eligibility of a degradation for the fused kernels, as a whole or step by step."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from degradations.fused.dispatch import unsupported_step_reason
from degradations.fused.switch import unavailable_reason

if TYPE_CHECKING:
    from degradations.parse import Degradation

log = logging.getLogger(__name__)

WHOLE = "by fused kernels"
"""`describe_path` of a degradation that runs on them as a whole."""


def supports(config: Degradation, pictures: Tensor) -> bool:
    """True if `fused.second_order.Pairing` can make pairs of these pictures; on a GPU a reason against it is logged.

    Raises:
        KernelsUnusable: see `trial.explain_failure`.
    """
    if pictures.device.type != "cuda":  # ROCm devices have the same name
        return False
    return not unsupported_reason(config, pictures.dtype, pictures.device, pictures.shape[1])


def describe_path(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int) -> str:
    """Describe the path of pictures [B, bands, H, W]: fused kernels, or the reference and the reason for it.

    On a GPU this runs the trial of the kernels, which takes a minute if they were never compiled.

    Raises:
        KernelsUnusable: see `trial.explain_failure`.
    """
    if device.type != "cuda":
        return f"by the reference: fused kernels are for GPUs, and this is {device.type}"
    reason = unsupported_reason(config, dtype, device, bands)
    if not reason:
        return WHOLE
    if config.type != "pipeline" or unavailable_reason():
        return f"by the reference: {reason}"
    paths: dict[str, dict[str, None]] = {}  # in the order of the pipeline, each operation once
    for operation in config.operations():
        reason = unsupported_step_reason(operation, device, bands)
        path = f"by the reference ({reason})" if reason else WHOLE
        paths.setdefault(path, {})[operation.type] = None
    return "step by step: " + "; ".join(f"{', '.join(names)} {path}" for path, names in paths.items())


def unsupported_reason(config: Degradation, dtype: torch.dtype, device: torch.device, bands: int) -> str:
    """Reason why the kernels do not run a degradation as a whole, logged once; empty if they do."""
    return _unsupported_reason(config, dtype, device, bands, unavailable_reason())


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
    from degradations.fused.second_order import unsupported_option  # needs Triton
    from degradations.fused.trial import try_degradation

    if option := unsupported_option(config):
        return f"there is no kernel for {option}"
    return try_degradation(config, device, bands)
