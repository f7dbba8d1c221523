"""Quality of multi-band pictures against closed forms, and against the figures for photographs."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from trainer.validation.multiband import band_psnr, band_ssim, ergas, sam_degrees
from trainer.validation.psnr_ssim import ssim

GOLDEN = Path(__file__).with_name("test_quality_metrics.npz")


def flat(*levels: float) -> torch.Tensor:
    """Bands of one level each, [C, 16, 16]."""
    return torch.tensor(levels)[:, None, None].expand(-1, 16, 16)


def test_psnr_is_a_figure_for_each_band() -> None:
    wanted = [20.0, 40.0, 100.0]  # errors of 0.1, 0.01 and none
    assert band_psnr(flat(0.5, 0.5, 0.5), flat(0.6, 0.51, 0.5)).tolist() == pytest.approx(wanted, abs=1e-4)


def test_psnr_knows_the_range() -> None:
    result, target = flat(1000, 0), flat(1100, 100)
    wanted = 20 * math.log10(100)
    assert band_psnr(result, target, data_range=10_000).tolist() == pytest.approx([wanted, wanted])


def test_ssim_of_eight_bit_bands_is_basicsrs() -> None:
    with np.load(GOLDEN) as golden:
        a, b = (torch.from_numpy(golden[f"{name}_bgr_u8"].transpose(2, 0, 1).copy()) for name in "ab")
    found = band_ssim(a / 255, b / 255)
    assert found.mean().item() == pytest.approx(ssim(a, b, crop_border=0), abs=1e-6)
    assert band_ssim(a, b, data_range=255).tolist() == pytest.approx(found.tolist(), abs=1e-6)


def test_ssim_of_flat_bands_is_the_luminance_term() -> None:
    """Without variance its structure is 1."""
    wanted = (2 * 0.4 * 0.6 + 1e-4) / (0.4**2 + 0.6**2 + 1e-4)
    assert band_ssim(flat(0.4, 0.3), flat(0.6, 0.3)).tolist() == pytest.approx([wanted, 1], abs=1e-6)


def test_ssim_refuses_pictures_smaller_than_its_window() -> None:
    with pytest.raises(ValueError, match="SSIM needs 11x11 pixels, got 12x10"):
        band_ssim(torch.rand(2, 10, 12), torch.rand(2, 10, 12))


@pytest.mark.parametrize("degrees", [0.0, 1e-5, 1.0, 45.0, 90.0, 180.0])
def test_sam_is_in_degrees(degrees: float) -> None:
    angle = math.radians(degrees)
    turned = torch.tensor([math.cos(angle), math.sin(angle)], dtype=torch.float64)[:, None, None].expand(2, 4, 4)
    assert sam_degrees(turned, flat(2.0, 0.0)[:, :4, :4]) == pytest.approx(degrees, abs=1e-9)


def test_sam_leaves_out_pixels_without_data() -> None:
    result, target = flat(1, 1).clone(), flat(1, 0).clone()
    target[:, :8] = 0
    assert sam_degrees(result, target) == pytest.approx(45)
    assert sam_degrees(result, torch.zeros_like(target)) == 0


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_ergas_is_walds_formula(scale: int) -> None:
    """Relative errors of 10 % and 20 %."""
    wanted = 100 / scale * math.sqrt((0.1**2 + 0.2**2) / 2)
    assert ergas(flat(0.55, 0.16), flat(0.5, 0.2), scale) == pytest.approx(wanted, rel=1e-6)


def test_ergas_leaves_out_bands_without_a_level() -> None:
    assert ergas(flat(0.55, 0.1), flat(0.5, 0.0), 4) == pytest.approx(2.5, rel=1e-6)
    assert math.isnan(ergas(flat(0.1), flat(0.0), 4))


def test_equal_pictures_are_perfect_whatever_the_number_of_bands() -> None:
    torch.manual_seed(0)
    for bands in (2, 4, 6, 13):
        picture = torch.rand(bands, 16, 16)
        assert band_psnr(picture, picture).tolist() == [100.0] * bands
        assert band_ssim(picture, picture).tolist() == pytest.approx([1.0] * bands)
        assert sam_degrees(picture, picture) == 0
        assert ergas(picture, picture, 4) == 0


def test_bands_are_measured_where_they_are() -> None:
    """On meta tensors, which refuse what a GPU would."""
    with FakeTensorMode():
        result, target = torch.empty(2, 4, 16, 16, device="cuda")
        assert band_psnr(result, target).device.type == "cuda"
        assert band_ssim(result, target).device.type == "cuda"
