"""Doubling by bilinear interpolation: values and gradients of PyTorch's own, differentiable twice, also compiled."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.networks.layers.doubled import doubled


def interpolated(x: Tensor) -> Tensor:
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 3), (2, 8)])
def test_values_and_gradients_are_those_of_torch(size: tuple[int, int]) -> None:
    x = torch.randn(2, 3, *size, dtype=torch.float64, requires_grad=True)
    larger, wanted = doubled(x), interpolated(x)
    assert torch.equal(larger, wanted)
    seen = torch.randn_like(wanted)
    (gradient,) = torch.autograd.grad(larger, x, seen)
    (expected,) = torch.autograd.grad(wanted, x, seen)
    torch.testing.assert_close(gradient, expected, rtol=0, atol=1e-14)


def test_it_can_be_differentiated_twice() -> None:
    x = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(doubled, x)
    assert torch.autograd.gradgradcheck(lambda x: doubled(x).square(), x)


def test_nothing_in_it_adds_up_in_an_order_of_its_own() -> None:
    """On a GPU the backward of bilinear interpolation does; the profiler sees what a step calls on any device."""
    x = torch.randn(1, 2, 4, 4, requires_grad=True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as profile:
        doubled(x).square().sum().backward()
    called = {event.key for event in profile.key_averages()}
    assert "aten::upsample_bilinear2d" in called
    assert not {name for name in called if "bilinear2d_backward" in name or "index_put" in name or "scatter" in name}


def test_compiled_it_is_the_same() -> None:
    x = torch.randn(1, 2, 4, 6, requires_grad=True)
    compiled = torch.compile(doubled, backend="aot_eager", fullgraph=True)
    (gradient,) = torch.autograd.grad(compiled(x).square().sum(), x)
    (expected,) = torch.autograd.grad(interpolated(x).square().sum(), x)
    torch.testing.assert_close(gradient, expected)
