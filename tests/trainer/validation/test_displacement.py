"""Displacement: known shifts of parts of a pixel, and none by blur, noise or bicubic; and the sharpness beside it."""

import math

import pytest
import skimage.data
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.validation.displacement import displacement
from trainer.validation.psnr_ssim import luma
from trainer.validation.sharpness import sharpness


@pytest.fixture(scope="module")
def photograph() -> Tensor:
    return luma(torch.from_numpy(skimage.data.coffee()).permute(2, 0, 1))[0]


def shifted(picture: Tensor, right: float, down: float) -> Tensor:
    """Shifted by the shift theorem: exact, around the edges."""
    rows, columns = (torch.fft.fftfreq(side, dtype=torch.float64) for side in picture.shape)
    turn = torch.exp(-2j * math.pi * (columns * right + rows[:, None] * down))
    return torch.fft.ifft2(torch.fft.fft2(picture) * turn).real


def inner(picture: Tensor) -> Tensor:
    """256 x 256 from the middle, at 8 bits."""
    return picture[72:328, 172:428].clamp(0, 255).round()


@pytest.mark.parametrize("shift", [(0, 0), (0.01, 0), (0.14, -0.1), (-0.5, 0.25), (1.3, -2.2), (-3, 0.4)])
def test_known_shifts_are_read_within_a_hundredth_of_a_pixel(photograph: Tensor, shift: tuple[float, float]) -> None:
    found = displacement(inner(shifted(photograph, *shift))[None], inner(photograph)[None])[0]
    assert found.tolist() == pytest.approx(shift, abs=0.01, rel=0.01)


def test_blur_and_noise_do_not_move_a_picture(photograph: Tensor) -> None:
    moved = shifted(photograph, 0.2, -0.3)
    blurred = F.avg_pool2d(moved[None, None], 5, 1, 2)[0, 0]
    noise = torch.randn(moved.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    results = torch.stack([inner(blurred), inner(moved + 10 * noise)])
    found = displacement(results, inner(photograph).expand(2, -1, -1))
    assert (found - torch.tensor([0.2, -0.3])).abs().max() < 0.05


def test_bicubic_has_none_and_a_border_of_one_pixel_has_four() -> None:
    names = ("coffee", "astronaut", "chelsea")
    wholes = [luma(torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1))[0] for name in names]
    gt = torch.stack([picture[:300, :448] for picture in wholes])
    low = F.interpolate(gt[None], scale_factor=0.25, mode="bicubic", antialias=True)
    found = displacement(F.interpolate(low, scale_factor=4, mode="bicubic")[0].round(), gt)
    assert found.mean(0).abs().max() < 0.02
    moved = F.interpolate(F.pad(low, (1, 0, 1, 0), "replicate"), scale_factor=4, mode="bicubic")[0]
    off = displacement(moved[:, :300, :448].round(), gt)
    assert off.mean(0).tolist() == pytest.approx([4, 4], abs=0.1)


def test_flat_pictures_have_none(photograph: Tensor) -> None:
    flat = torch.full((1, 256, 256), 9.0, dtype=torch.float64)
    assert displacement(flat, inner(photograph)[None]).isnan().all()
    assert displacement(inner(photograph)[None], flat).isnan().all()
    assert sharpness(inner(photograph)[None], flat).isnan().all()


def test_sharpness_is_the_ratio_of_steps(photograph: Tensor) -> None:
    gt = inner(photograph)[None]
    assert sharpness(gt, gt).item() == 1
    assert sharpness(gt / 2 + 7, gt).item() == pytest.approx(0.5)
    blurred = F.avg_pool2d(gt, 3, 1, 1)
    assert sharpness(blurred, gt).item() < 0.9 < 1.1 < sharpness(2 * gt - blurred, gt).item()
