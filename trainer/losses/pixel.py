"""Distances between pictures, pixel by pixel."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.losses.weight import check_weight


@dataclass(frozen=True, kw_only=True, slots=True)
class PixelLoss:
    """The mean distance of the result from the target over all pixels and bands."""

    type: Literal["l1", "mse", "charbonnier"] = "l1"
    """|d|, d^2, or sqrt(d^2 + 1e-12) (BasicSR's Charbonnier)."""
    weight: float = 1.0
    """The term's factor in the objective."""

    def __post_init__(self) -> None:
        check_weight(self.weight)

    def __call__(self, result: Tensor, target: Tensor) -> Tensor:
        """The unweighted mean distance of two float tensors of one shape, a scalar."""
        if self.type == "l1":
            return F.l1_loss(result, target)
        if self.type == "mse":
            return F.mse_loss(result, target)
        return torch.sqrt((result - target).square() + 1e-12).mean()
