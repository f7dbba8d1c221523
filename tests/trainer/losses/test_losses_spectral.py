"""Spectral angle and total variation: closed forms, and gradients where other implementations' fail."""

import math

import pytest
import torch
from torch import Tensor

from trainer.losses import SpectralAngle, TotalVariation
from trainer.losses.spectral import spectral_angles


def spectrum(*values: float) -> Tensor:
    """One pixel, [1, C, 1, 1]."""
    return torch.tensor(values)[None, :, None, None]


@pytest.mark.parametrize("angle", [0.0, 1e-4, 0.01, 0.5, math.pi / 2, 3.0, math.pi])
def test_the_angle_is_the_angle(angle: float) -> None:
    """In float32, also for angles at which an arccos of the cosine has no digits left."""
    turned = spectrum(math.cos(angle), math.sin(angle))
    assert spectral_angles(turned, spectrum(1, 0)).item() == pytest.approx(angle, abs=3e-6)


def test_brightness_does_not_matter() -> None:
    torch.manual_seed(0)
    result, target = torch.rand(2, 4, 8, 8) + 0.1, torch.rand(2, 4, 8, 8) + 0.1
    torch.testing.assert_close(spectral_angles(3 * result, target), spectral_angles(result, target))
    cosine = torch.nn.functional.cosine_similarity(result.double(), target.double(), dim=1)
    torch.testing.assert_close(spectral_angles(result, target), cosine.acos().float(), rtol=1e-4, atol=1e-5)


def test_the_loss_is_the_mean_over_all_pixels() -> None:
    result = torch.cat([spectrum(1, 0), spectrum(1, 1)], dim=3)
    assert SpectralAngle()(result, spectrum(1, 0).expand(1, 2, 1, 2)).item() == pytest.approx(math.pi / 8, abs=3e-6)


def test_a_black_result_is_at_a_right_angle_and_missing_data_count_as_nothing() -> None:
    assert spectral_angles(spectrum(0, 0, 0), spectrum(0.2, 0.1, 0.3)).item() == pytest.approx(math.pi / 2, abs=1e-5)
    assert spectral_angles(spectrum(0.2, 0.1, 0.3), spectrum(0, 0, 0)).item() == 0


AWKWARD = {
    "black result": (torch.zeros(1, 4, 8, 8), torch.full((1, 4, 8, 8), 0.3)),
    "black target": (torch.full((1, 4, 8, 8), 0.3), torch.zeros(1, 4, 8, 8)),
    "both black": (torch.zeros(1, 4, 8, 8), torch.zeros(1, 4, 8, 8)),
    "identical": (torch.full((1, 4, 8, 8), 0.3), torch.full((1, 4, 8, 8), 0.3)),
    "opposite": (torch.full((1, 4, 8, 8), -0.3), torch.full((1, 4, 8, 8), 0.3)),
    "almost black": (torch.full((1, 4, 8, 8), 1e-6), torch.rand(1, 4, 8, 8)),
    "very bright": (torch.full((1, 4, 8, 8), 1e4), torch.rand(1, 4, 8, 8)),
}


@pytest.mark.parametrize("name", AWKWARD)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_the_gradient_is_finite_and_bounded(name: str, dtype: torch.dtype) -> None:
    """The guide's framework reaches 8e6 for a pixel of a black result, and NaN in bf16."""
    result, target = AWKWARD[name]
    result = result.to(dtype, copy=True).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
        loss = SpectralAngle()(result, target.to(dtype))
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert result.grad is not None
    assert result.grad.isfinite().all()
    assert result.grad.float().norm(dim=1).max() * 64 <= 201  # of one of 64 pixels


def test_a_black_result_is_drawn_towards_the_target() -> None:
    result = torch.zeros(1, 3, 1, 1, requires_grad=True)
    SpectralAngle()(result, spectrum(0.2, 0.4, 0.1)).backward()
    assert result.grad is not None
    downhill = torch.nn.functional.cosine_similarity(-result.grad, spectrum(0.2, 0.4, 0.1), dim=1)
    assert downhill.item() == pytest.approx(1, abs=1e-4)


def test_the_gradient_is_that_of_the_formula() -> None:
    torch.manual_seed(0)
    result = (torch.rand(1, 4, 3, 3) + 0.1).requires_grad_()
    target = torch.rand(1, 4, 3, 3) + 0.1
    SpectralAngle()(result, target).backward()
    twin = result.detach().double().requires_grad_()
    torch.nn.functional.cosine_similarity(twin, target.double(), dim=1).acos().mean().backward()
    assert result.grad is not None
    assert twin.grad is not None
    torch.testing.assert_close(result.grad, twin.grad.float(), rtol=1e-3, atol=1e-4)


def test_one_band_has_no_spectrum() -> None:
    with pytest.raises(ValueError, match="needs at least two bands"):
        SpectralAngle()(torch.rand(1, 1, 4, 4), torch.rand(1, 1, 4, 4))


def test_total_variation_of_ramps() -> None:
    rows, columns = torch.arange(5.0)[:, None], torch.arange(7.0)[None, :]
    ramp = (0.5 * rows - 0.25 * columns).expand(2, 3, 5, 7)
    assert TotalVariation()(ramp).item() == pytest.approx(0.75)
    assert TotalVariation()(torch.ones(1, 1, 4, 4)).item() == 0


def test_total_variation_is_the_sum_of_two_means() -> None:
    edge = torch.zeros(1, 1, 2, 4)
    edge[..., 2:] = 1  # 2 of 6 horizontal differences, none of 4 vertical ones
    assert TotalVariation()(edge).item() == pytest.approx(1 / 3)


def test_total_variation_has_finite_gradients_in_bf16() -> None:
    picture = torch.rand(1, 3, 8, 8).bfloat16().requires_grad_()
    TotalVariation()(picture).backward()
    assert picture.grad is not None
    assert picture.grad.isfinite().all()
