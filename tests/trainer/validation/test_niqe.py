"""NIQE: BasicSR's own figures, small and flat pictures, batches."""

import math

import pytest
import skimage.data
import torch
from torch import Tensor

from trainer.validation.niqe import niqe


def waves(height: int = 220, width: int = 310) -> Tensor:
    """A picture by a formula: uint8 [3, height, width]."""
    y, x = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    bands = [
        (y * 0.31 * k).sin() * 60 + (x * 0.17 + y * 0.05 * k).cos() * 50 + (x * y * 0.013).sin() * 20 + 120
        for k in (1, 1.3, 0.7)
    ]
    return torch.stack(bands).round().to(torch.uint8)


BASICSR = [
    ("astronaut", 0, 3.0649476661847754),
    ("astronaut", 4, 2.9912960484545486),
    ("coffee", 4, 4.079406018889277),
    ("chelsea", 0, 2.6255243812915023),
    ("chelsea", 4, 2.6893133463072423),
]
"""Photographs of scikit-image, crop_border, and `calculate_niqe` of basicsr 1.4.2, unmodified."""


@pytest.mark.parametrize(("name", "border", "wanted"), BASICSR)
def test_photographs_have_basicsrs_figures(name: str, border: int, wanted: float) -> None:
    picture = torch.from_numpy(getattr(skimage.data, name)()).permute(2, 0, 1)
    assert niqe(picture[None], border).item() == pytest.approx(wanted, abs=5e-4)


def test_a_batch_has_each_pictures_figure() -> None:
    pictures = torch.stack([waves(), waves().flip(1), waves().flip(2)])
    one_by_one = torch.cat([niqe(picture[None], 4) for picture in pictures])
    torch.testing.assert_close(niqe(pictures, 4), one_by_one, rtol=1e-9, atol=0)
    assert (niqe(pictures, 4) > 3).all()


@pytest.mark.parametrize("size", [(95, 400), (150, 191), (96 + 8, 192 + 7)])
def test_pictures_below_two_blocks_have_none(size: tuple[int, int]) -> None:
    assert math.isnan(niqe(waves(*size)[None], 4).item())
    assert not math.isnan(niqe(waves(104, 200)[None], 4).item())


def test_a_flat_picture_has_none() -> None:
    assert math.isnan(niqe(torch.full((1, 3, 200, 200), 90, dtype=torch.uint8)).item())


def test_noise_and_blur_are_worse_than_a_photograph() -> None:
    photograph = torch.from_numpy(skimage.data.chelsea()).permute(2, 0, 1)[None]
    noise = torch.randn(photograph.shape, generator=torch.Generator().manual_seed(0))
    noisy = (photograph + 25 * noise).clamp(0, 255).to(torch.uint8)
    blurred = torch.nn.functional.avg_pool2d(photograph.float(), 5, 1, 2).to(torch.uint8)
    assert niqe(photograph) < min(niqe(noisy), niqe(blurred))
