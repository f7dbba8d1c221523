"""Gradient losses: differences between neighbouring pixels, compared with the target's."""

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from trainer.losses.full_precision import in_full_precision
from trainer.losses.weight import check_weight, side_problem

SMALL = 1e-6  # SPSR's: keeps the root's gradient finite where there is no edge


@dataclass(frozen=True, kw_only=True, slots=True)
class GradientLoss:
    """The mean distance of the result's gradients from the target's, over all inner pixels and bands."""

    type: Literal["spsr", "sobel"] = "spsr"
    """spsr (Ma et al. 2020, "Structure-preserving super resolution with gradient guidance"): | |g| - |g'| | for the
    lengths sqrt(dx^2 + dy^2 + 1e-6) of central differences I(x+1) - I(x-1). sobel: |dx - dx'| + |dy - dy'| for Sobel's
    derivatives per pixel, which have directions too."""
    weight: float = 1.0
    """The term's factor in the objective; 0 leaves it out. On a CPU 5 times the price of L1."""

    def __post_init__(self) -> None:
        check_weight(self.weight)

    def problem(self, gt_size: int) -> str | None:
        """Reason why patches of `gt_size` cannot be compared, or None."""
        return side_problem(gt_size, 3)

    @in_full_precision
    def __call__(self, result: Tensor, target: Tensor) -> Tensor:
        """The unweighted loss, a scalar of at least 0, of two float [B, C, H, W]; 0 where they are equal."""
        if self.type == "spsr":
            return F.l1_loss(_length(result), _length(target))
        down, across = _sobel(result - target)
        return down.abs().mean() + across.abs().mean()


def _central(pictures: Tensor, axis: int) -> Tensor:
    """I(x + 1) - I(x - 1) along an axis, which gets 2 shorter."""
    size = pictures.shape[axis] - 2
    return pictures.narrow(axis, 2, size) - pictures.narrow(axis, 0, size)


def _length(pictures: Tensor) -> Tensor:
    down, across = _central(pictures, -2)[..., 1:-1], _central(pictures, -1)[..., 1:-1, :]
    return (down.square() + across.square() + SMALL).sqrt()


def _sobel(pictures: Tensor) -> tuple[Tensor, Tensor]:
    """Sobel's derivatives per pixel, down and across: half a central difference, smoothed by [1 2 1] / 4 beside it."""
    down, across = _central(pictures, -2), _central(pictures, -1)
    return (
        (down[..., :-2] + 2 * down[..., 1:-1] + down[..., 2:]) / 8,
        (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 8,
    )
