"""Metrics as another package would bring them, for `type: module`."""

import torch
from torch import Tensor, nn


class MeanDifference(nn.Module):
    """The mean absolute difference of two pictures in [0, 1], times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, result: Tensor, gt: Tensor) -> Tensor:
        assert result.shape[0] == 1
        return self.factor * (result - gt).abs().mean((1, 2, 3))


def brightness_metric(wanted: float) -> object:
    """A metric without ground truth, made by a function."""
    return lambda result: (result.mean() - wanted).abs()


class Failing(nn.Module):
    """A metric that fails."""

    def forward(self, *_: Tensor) -> Tensor:
        raise RuntimeError("no such operator")


def no_metric() -> torch.dtype:
    """Nothing that could be called."""
    return torch.float32
