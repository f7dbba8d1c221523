"""Resampling by matrices against PyTorch's own, with gradients."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.networks.layers.resampling import AdaptiveAverage, interpolated, resampled


def gradients(out: Tensor, x: Tensor) -> Tensor:
    (found,) = torch.autograd.grad((out * torch.linspace(-1, 1, out.numel()).reshape(out.shape)).sum(), x)
    return found


@pytest.mark.parametrize("shape", [(8, 8), (6, 6), (4, 7), (13, 20)])
def test_an_adaptive_average_is_pytorchs(shape: tuple[int, int]) -> None:
    x = torch.rand(2, 3, *shape, dtype=torch.float64, requires_grad=True)
    ours, theirs = AdaptiveAverage(6)(x), F.adaptive_avg_pool2d(x, 6)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(gradients(ours, x), gradients(theirs, x), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("size", [(14, 14), (10, 15), (9, 12)])
def test_an_interpolation_is_pytorchs(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, 9, 12, requires_grad=True)
    ours = resampled(x, size, interpolated)
    theirs = F.interpolate(x, size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients(ours, x), gradients(theirs, x), rtol=1e-5, atol=1e-6)
