"""The metrics of a validation: each under its own name."""

import pytest
import torch

from trainer.images.levels import bits, quantised, unit
from trainer.validation.metrics import MultibandMetrics, PhotoMetrics
from trainer.validation.multiband import band_psnr, band_ssim, ergas, sam_degrees
from trainer.validation.psnr_ssim import psnr, ssim
from trainer.validation.sample_sheet import composite


def scene(bands: int, dtype: torch.dtype, seed: int) -> torch.Tensor:
    return quantised(torch.rand(bands, 40, 36, generator=torch.Generator().manual_seed(seed)), dtype)


def test_photographs_are_measured_as_before() -> None:
    result, gt = scene(3, torch.uint8, 0), scene(3, torch.uint8, 1)
    measure = PhotoMetrics(4, "y")
    assert dict(zip(measure.names, measure(result, gt), strict=True)) == {
        "psnr": psnr(result, gt, 4, "y"),
        "ssim": ssim(result, gt, 4, "y"),
    }


def test_bands_are_measured_each_and_together_inside_the_border() -> None:
    result, gt = scene(4, torch.uint16, 0), scene(4, torch.uint16, 1)
    inner = [unit(picture)[:, 3:-3, 3:-3] for picture in (result, gt)]
    measure = MultibandMetrics(3, scale=4, bands=4)
    figures = dict(zip(measure.names, measure(result, gt), strict=True))
    assert figures["psnr"] == pytest.approx(band_psnr(*inner).mean().item())
    assert figures["ssim"] == pytest.approx(band_ssim(*inner).mean().item())
    assert figures["sam"] == pytest.approx(sam_degrees(*inner))
    assert figures["ergas"] == pytest.approx(ergas(*inner, 4))
    assert [figures[f"psnr_band{n}"] for n in (1, 2, 3, 4)] == pytest.approx(band_psnr(*inner).tolist())
    assert [figures[f"ssim_band{n}"] for n in (1, 2, 3, 4)] == pytest.approx(band_ssim(*inner).tolist())
    assert measure.names[: len(measure.summary)] == measure.summary


def test_one_band_has_no_spectrum() -> None:
    measure = MultibandMetrics(0, scale=2, bands=1)
    assert "sam" not in measure.names
    assert len(measure(scene(1, torch.uint16, 0), scene(1, torch.uint16, 1))) == len(measure.names)


def test_16_bits_keep_what_8_would_lose() -> None:
    values = torch.linspace(0, 1, 5001)
    assert (unit(quantised(values, torch.uint16)) - values).abs().max() <= 0.5 / 65535 + 1e-7
    assert torch.equal(quantised(torch.tensor([-1.0, 2.0]), torch.uint16).int(), torch.tensor([0, 65535]).int())
    levels = quantised(values, torch.uint16)
    assert torch.equal(bits(levels).view(torch.uint16), levels)


def test_a_composite_stretches_all_pictures_by_the_reference() -> None:
    reference = torch.arange(4 * 50 * 50).reshape(4, 50, 50).float()
    darker = reference * 0.5
    shown, wanted = composite([darker, reference], (2, 1, 0))
    for band, channel in ((2, 0), (1, 1), (0, 2)):
        low, high = torch.quantile(reference[band].flatten(), torch.tensor([0.02, 0.98]))
        for picture, source in ((shown, darker), (wanted, reference)):
            share = ((source[band] - low) / (high - low)).clamp(0, 1)
            assert torch.equal(picture[channel], (share * 255).round().to(torch.uint8))
    gray = composite([torch.rand(1, 9, 9)], None)[0]
    assert gray.shape == (3, 9, 9)
