"""PSNR and SSIM as the field reports them: BasicSR's definitions, which are MATLAB's.

Figures are comparable only if the rounding to 8 bits, the border, the channel and the averaging agree: here they are
those of `basicsr/metrics/psnr_ssim.py`, whose own results the tests reproduce to 1e-6.
"""

from typing import Literal

import torch
from torch import Tensor

from trainer.losses.ms_ssim import WINDOW, smoothed

PSNR_CAP = 100.0
"""PSNR of identical pictures, in dB. Theirs is infinite, and one of them would make a mean infinite too."""

Channel = Literal["rgb", "y"]


def psnr(sr: Tensor, gt: Tensor, crop_border: int, channel: Channel = "rgb") -> float:
    """Peak signal to noise ratio, 10 log10(255^2 / MSE) with one MSE over all pixels and channels.

    Args:
        sr, gt: uint8 [3, H, W], RGB.
        crop_border: pixels left out at each side.
        channel: "rgb", or "y" for the luma of BT.601.

    Returns:
        dB, at most `PSNR_CAP`.
    """
    error = (_prepared(sr, crop_border, channel) - _prepared(gt, crop_border, channel)).square().mean()
    ratio = 10 * torch.log10(255**2 / error)  # inf where they are equal
    return min(float(ratio), PSNR_CAP)


def ssim(sr: Tensor, gt: Tensor, crop_border: int, channel: Channel = "rgb") -> float:
    """Structural similarity (Wang et al. 2004): 11x11 Gaussian window, sigma 1.5, only where it fits entirely.

    Args:
        sr, gt, crop_border, channel: as for `psnr`. At least 11 x 11 pixels must be left.

    Returns:
        The mean over pixels, then over channels; 1 for identical pictures.
    """
    x, y = _prepared(sr, crop_border, channel), _prepared(gt, crop_border, channel)
    if min(x.shape[1:]) < WINDOW:
        left = f"{x.shape[2]}x{x.shape[1]}"
        raise ValueError(f"SSIM needs {WINDOW}x{WINDOW} pixels inside the border of {crop_border}, got {left}")
    return float(similarity(x, y, 255).mean())


def similarity(x: Tensor, y: Tensor, data_range: float) -> Tensor:
    """SSIM around each pixel with a whole window, of two float64 [C, H, W] on any device: [C, H-10, W-10]."""
    mean_x, mean_y, xx, yy, xy = smoothed(torch.stack([x, y, x * x, y * y, x * y]))
    variance_x, variance_y, covariance = xx - mean_x**2, yy - mean_y**2, xy - mean_x * mean_y
    c1, c2 = (0.01 * data_range) ** 2, (0.03 * data_range) ** 2
    luminance = (2 * mean_x * mean_y + c1) / (mean_x**2 + mean_y**2 + c1)
    structure = (2 * covariance + c2) / (variance_x + variance_y + c2)
    product: Tensor = luminance * structure
    return product


def band_shift(picture: Tensor, reference: Tensor) -> list[float]:
    """Difference of the mean level of each band of `picture` from that of the same band of `reference`.

    Both uint8, or both uint16, [C, H, W]; sizes may differ. In shares of the full range, so within [-1, 1].
    """
    means = [image.double().flatten(1).mean(1) / torch.iinfo(image.dtype).max for image in (picture, reference)]
    shift: list[float] = (means[0] - means[1]).tolist()
    return shift


def luma(image: Tensor) -> Tensor:
    """Y of BT.601 in studio swing as MATLAB's `rgb2ycbcr`, not rounded: [3, H, W] to float64 [1, H, W] in [16, 235]."""
    red, green, blue = image.double() / 255
    y: Tensor = 16 + 65.481 * red + 128.553 * green + 24.966 * blue
    return y[None]


def _prepared(image: Tensor, crop_border: int, channel: Channel) -> Tensor:
    """The pixels that are measured, float64 [1 or 3, h, w] in [0, 255]."""
    if image.dtype != torch.uint8:
        raise TypeError(f"quality is measured on 8-bit pictures, got {image.dtype}")
    height, width = image.shape[1:]
    inner = image[:, crop_border : height - crop_border, crop_border : width - crop_border]
    if not inner.numel():
        raise ValueError(f"nothing is left of {width}x{height} pixels inside a border of {crop_border}")
    return luma(inner) if channel == "y" else inner.double()
