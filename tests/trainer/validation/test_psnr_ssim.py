"""PSNR and SSIM as papers report them."""

from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from skimage.metrics import structural_similarity
from torch import Tensor

from trainer.images.levels import quantised
from trainer.validation.psnr_ssim import PSNR_CAP, Channel, luma, psnr, ssim

GOLDEN = Path(__file__).with_name("test_quality_metrics.npz")
"""Two pictures (BGR) and the results of BasicSR's unmodified functions for them (commit 8d56e3a)."""
SET5 = Path(__file__).parents[3].parent / "shared" / "data" / "bench" / "Set5"


def rgb(image: Image.Image | np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN) as arrays:
        return dict(arrays)


@pytest.mark.parametrize(("crop", "channel"), [(0, "rgb"), (0, "y"), (4, "rgb")])
def test_equals_basicsr(golden: dict[str, np.ndarray], crop: int, channel: Channel) -> None:
    a, b = (rgb(golden[f"{name}_bgr_u8"][..., ::-1]) for name in "ab")
    suffix = f"crop{crop}_y{int(channel == 'y')}"
    assert psnr(a, b, crop, channel) == pytest.approx(float(golden[f"psnr_{suffix}"]), abs=1e-6)
    assert ssim(a, b, crop, channel) == pytest.approx(float(golden[f"ssim_{suffix}"]), abs=1e-6)


def test_equals_scikit_image_and_a_direct_convolution() -> None:
    a = torch.randint(0, 256, (3, 40, 50), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    b = quantised(F.avg_pool2d(a[None].double() / 255, 3, 1, 1)[0], torch.uint8)
    theirs = structural_similarity(
        *(image.permute(1, 2, 0).numpy() for image in (a, b)),
        channel_axis=2,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        data_range=255,
    )  # of a window that extends 5 px as well, averaged over the same valid pixels
    assert ssim(a, b, 0) == pytest.approx(theirs, abs=1e-9)


def test_closed_forms() -> None:
    dark, light = torch.full((3, 30, 30), 100, dtype=torch.uint8), torch.full((3, 30, 30), 110, dtype=torch.uint8)
    assert psnr(dark, light, 0) == pytest.approx(20 * np.log10(255 / 10), abs=1e-9)
    swing = (65.481 + 128.553 + 24.966) / 255  # of Y for one level of gray
    assert psnr(dark, light, 0, "y") == pytest.approx(20 * np.log10(255 / (10 * swing)), abs=1e-9)
    assert ssim(dark, light, 0) == pytest.approx((2 * 100 * 110 + 2.55**2) / (100**2 + 110**2 + 2.55**2), abs=1e-9)


def test_luma_is_in_studio_swing() -> None:
    corners = torch.tensor([[0, 255, 255], [0, 255, 0], [0, 255, 0]], dtype=torch.uint8)[:, None]
    assert torch.allclose(luma(corners), torch.tensor([[[16, 235, 16 + 65.481]]], dtype=torch.float64), atol=1e-9)


def test_the_border_does_not_count() -> None:
    a = torch.randint(0, 256, (3, 40, 40), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    b = a.clone()
    b[:, :4], b[:, -4:], b[:, :, :4], b[:, :, -4:] = 0, 0, 0, 0
    assert psnr(a, b, 4) == PSNR_CAP
    assert ssim(a, b, 4) == 1
    assert psnr(a, b, 3) < 40


@pytest.mark.parametrize("channel", ["rgb", "y"])
def test_identical_pictures_score_the_cap_so_that_means_stay_finite(channel: Channel) -> None:
    a = torch.randint(0, 256, (3, 20, 20), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    assert psnr(a, a, 2, channel) == 100
    assert ssim(a, a, 2, channel) == 1


def test_8_bits_are_clamped_and_rounded() -> None:
    levels = torch.tensor([-1, 0, 0.4 / 255, 0.6 / 255, 254.4 / 255, 1, 2])
    assert quantised(levels, torch.uint8).tolist() == [0, 0, 0, 1, 254, 255, 255]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(quantised(every.float() / 255, torch.uint8), every)
    half = (every.float() / 255).bfloat16()
    assert torch.equal(quantised(half.float(), torch.uint8), quantised(half, torch.uint8))


def test_wrong_inputs_are_refused() -> None:
    picture = torch.zeros(3, 16, 16, dtype=torch.uint8)
    with pytest.raises(TypeError, match=r"measured on 8-bit pictures, got torch\.float32"):
        psnr(picture.float(), picture, 0)
    with pytest.raises(ValueError, match="nothing is left of 16x16 pixels inside a border of 8"):
        psnr(picture, picture, 8)
    with pytest.raises(ValueError, match="SSIM needs 11x11 pixels inside the border of 4, got 8x8"):
        ssim(picture, picture, 4)


@pytest.mark.skipif(not SET5.is_dir(), reason="the shared pictures are not here")
def test_bicubic_on_set5_gives_the_figure_of_every_paper() -> None:
    figures = []
    for path in sorted(SET5.iterdir()):
        with Image.open(path) as opened:
            gt = opened.convert("RGB")
        gt = gt.crop((0, 0, gt.width // 4 * 4, gt.height // 4 * 4))
        lq = gt.resize((gt.width // 4, gt.height // 4), Image.Resampling.BICUBIC)
        figures.append(psnr(rgb(lq.resize(gt.size, Image.Resampling.BICUBIC)), rgb(gt), 4, "y"))
    assert np.mean(figures) == pytest.approx(28.43, abs=0.005)
