"""LDL: L1 where a result looks like artifacts, by the variance of its residual (Liang, Zeng and Zhang 2022, CVPR)."""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.losses.full_precision import in_full_precision
from trainer.losses.weight import check_weight, side_problem

WINDOW = 7
POWER = 1 / 5
ROUNDING = 1e-12  # a variance's: keeps the power's gradient finite where result and target agree


@dataclass(frozen=True, kw_only=True, slots=True)
class LDL:
    """mean |M result - M target| with the artifact map M of "Details or artifacts: a locally discriminative learning
    approach to realistic image super-resolution".

    R = sum over bands of |target - result|; M = var(R)^(1/5) var_7x7(R), the variance over the picture times that over
    the window around each pixel (mirrored at the border), and 0 where the result of the generator's moving average is
    further from the target than the generator's own: there it is gaining detail (eq. 4 to 7). M has a gradient, as in
    the authors' code. The mean over pictures, so micro-batches average to the batch.
    """

    weight: float = 1.0
    """The term's factor in the objective; 0 leaves it out. It runs the generator's average in each step, without a
    gradient: the price of a forward of the generator."""

    def __post_init__(self) -> None:
        check_weight(self.weight)

    def problem(self, gt_size: int) -> str | None:
        """Reason why patches of `gt_size` cannot be compared, or None."""
        return side_problem(gt_size, WINDOW)

    @in_full_precision
    def __call__(self, result: Tensor, target: Tensor, averaged: Tensor) -> Tensor:
        """The unweighted loss, a scalar of at least 0, of float [B, C, H, W]; 0 where result and target are equal.

        `averaged` is the moving average's result for the same input, without gradient.
        """
        weights = artifact_map(result, target, averaged)
        return F.l1_loss(weights * result, weights * target)


def artifact_map(result: Tensor, target: Tensor, averaged: Tensor) -> Tensor:
    """The map M of `LDL`, float [B, 1, H, W]."""
    residual = (target - result).abs().sum(1, keepdim=True)
    whole = (residual.var((1, 2, 3), keepdim=True) + ROUNDING) ** POWER
    weights = whole * local_variance(residual)
    steady = residual < (target - averaged).abs().sum(1, keepdim=True)
    return torch.where(steady, 0, weights)


def mirrored(plane: Tensor, axis: int) -> Tensor:
    """Three more places at both ends of an axis, mirrored without the border itself.

    `F.pad` has a gradient that a GPU adds up in any order, and a resumed run would be another run.
    """
    margin, size = WINDOW // 2, plane.shape[axis]
    before, after = plane.narrow(axis, 1, margin), plane.narrow(axis, size - 1 - margin, margin)
    return torch.cat([before.flip(axis), plane, after.flip(axis)], dim=axis)


def local_variance(plane: Tensor) -> Tensor:
    """The unbiased variance in the 7 x 7 window around each pixel of [B, 1, H, W], mirrored at the border."""
    centred = plane - plane.detach().mean((2, 3), keepdim=True)  # a difference of squares loses digits otherwise
    padded = mirrored(mirrored(centred, -1), -2)
    mean, squares = (F.avg_pool2d(values, WINDOW, 1) for values in (padded, padded.square()))
    count = WINDOW**2
    return (squares - mean.square()).clamp(min=0) * (count / (count - 1))
