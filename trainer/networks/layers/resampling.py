"""Resampling of both axes by products with matrices, whose gradient is the same at every run on a GPU too."""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from degradations.precision import no_autocast

Resampling = Callable[[Tensor, int], Tensor]
"""Float [n, length] to [n, other length]: linear, each row alone."""


def averaged(rows: Tensor, length: int) -> Tensor:
    """`F.adaptive_avg_pool1d`."""
    return F.adaptive_avg_pool1d(rows, length)


def interpolated(rows: Tensor, length: int) -> Tensor:
    """Linear interpolation, as `F.interpolate(..., align_corners=False)`."""
    return F.interpolate(rows[None], length, mode="linear", align_corners=False)[0]


def resampled(x: Tensor, size: tuple[int, int], resampling: Resampling) -> Tensor:
    """`x`, float [B, C, h, w], to [B, C, *size] by one resampling along each axis.

    PyTorch's own backward passes of these add up atomically on a GPU, in another order at each run. Here each axis is a
    product, in float32 or more, with the matrix of what the resampling makes of unit vectors.
    """
    with no_autocast(x.device):
        wide = x if x.dtype == torch.float64 else x.float()
        down, across = (
            resampling(torch.eye(side, device=x.device, dtype=wide.dtype), wanted)
            for side, wanted in zip(x.shape[-2:], size, strict=True)
        )
        return (down.mT @ wide @ across).to(x.dtype)


class AdaptiveAverage(nn.Module):
    """`nn.AdaptiveAvgPool2d(side)`."""

    def __init__(self, side: int) -> None:
        super().__init__()
        self.pooled = partial(resampled, size=(side, side), resampling=averaged)

    def forward(self, x: Tensor) -> Tensor:
        """Average `x`, float [B, C, h, w], to [B, C, side, side]."""
        return self.pooled(x)
