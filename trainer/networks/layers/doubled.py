"""Bilinear enlargement by two whose gradient is the same at every run on a GPU too."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor


def doubled(x: Tensor) -> Tensor:
    """`x`, float [B, C, h, w], by bilinear interpolation: [B, C, 2h, 2w], as `F.interpolate(..., align_corners=False)`.

    The backward of PyTorch's own adds up atomically on a GPU (`UpSampleBilinear2d.cu`), in another order at each run:
    no run with it is bitwise repeatable. This one reads, in place of adding: each input has 4 x 4 outputs, of weights
    1/4, 3/4, 3/4, 1/4 along each axis. It is differentiable twice, as R1 needs.
    """
    larger: Tensor = _Doubled.apply(x)  # type: ignore[no-untyped-call]
    return larger


class _Doubled(torch.autograd.Function):
    """The interpolation; its gradient is the adjoint."""

    @staticmethod
    def forward(_: Any, x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        smaller: Tensor = _Adjoint.apply(gradients[0])  # type: ignore[no-untyped-call]
        return smaller


class _Adjoint(torch.autograd.Function):
    """The adjoint, [B, C, 2h, 2w] to [B, C, h, w]; its own gradient is the interpolation."""

    @staticmethod
    def forward(_: Any, gradient: Tensor) -> Tensor:
        return _gathered(_gathered(gradient, -2), -1)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        return doubled(gradients[0])


def _gathered(gradient: Tensor, dim: int) -> Tensor:
    """Halve an axis: input i gathers from outputs 2i - 1 to 2i + 2; beyond an edge lies what the edge input gave."""
    padded = F.pad(gradient, (0, 0, 1, 1) if dim == -2 else (1, 1, 0, 0), mode="replicate")
    span = gradient.shape[dim] - 1
    outer, inner, inner_too, outer_too = (
        padded.narrow(dim, first, span)[..., ::2, :] if dim == -2 else padded.narrow(dim, first, span)[..., ::2]
        for first in range(4)
    )
    return torch.add((outer + outer_too) * 0.25, inner + inner_too, alpha=0.75)
