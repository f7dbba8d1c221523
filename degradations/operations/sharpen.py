"""Unsharp masking of the ground truth, as BasicSR's `USMSharp` (`basicsr/utils/img_process_util.py`).

Upstream applies a dense 51 x 51 Gaussian twice: 2601 products a pixel. A Gaussian is separable, and on blocks of rows
each one-dimensional pass is a matrix product with one small banded matrix, the same for all blocks.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from einops import rearrange
from torch import Tensor

from degradations.constants import resident
from degradations.operations.blur import reflected
from degradations.precision import no_autocast, unrounded

_BLOCK = 40  # rows made by one product; measured: 24..80 differ little on a CPU


def gaussian_taps(radius: int) -> Tensor:
    """OpenCV's getGaussianKernel(radius, 0), float64 [radius], an even radius raised by 1."""
    taps = radius + 1 if radius % 2 == 0 else radius
    sigma = 0.3 * ((taps - 1) * 0.5 - 1) + 0.8
    weights = [math.exp(-((i - taps // 2) ** 2) / (2 * sigma**2)) for i in range(taps)]
    row = torch.tensor(weights, dtype=torch.float64)
    return row / row.sum()


@lru_cache(maxsize=8)
def _band(radius: int, device: torch.device) -> Tensor:
    """[_BLOCK, _BLOCK + 2 reach]: row i holds the Gaussian's taps from column i on."""
    row = gaussian_taps(radius).float()
    band = torch.zeros(_BLOCK, _BLOCK + len(row) - 1)
    for i in range(_BLOCK):
        band[i, i : i + len(row)] = row
    return unrounded(resident(band, device))


def _along_columns(image: Tensor, band: Tensor) -> Tensor:
    """Correlate the columns of [C, H, W] with the band's taps, reflected at both ends."""
    channels, height, width = image.shape
    block, span = band.shape
    count = -(-height // block)
    reach = (span - block) // 2
    rows = reflected(height, reach, reach + count * block - height, image.device)
    padded = image.index_select(1, rows)
    blocks = padded.as_strided((channels, count, span, width), (padded.stride(0), block * width, width, 1))
    return rearrange(torch.matmul(band, blocks), "channel block row column -> channel (block row) column")[:, :height]


def _gaussian(image: Tensor, band: Tensor) -> Tensor:
    """Gaussian blur of [C, H, W]."""
    turned = _along_columns(unrounded(image), band).mT.contiguous()
    return _along_columns(turned, band).mT.to(image.dtype, memory_format=torch.contiguous_format)


def _sharpen_one(image: Tensor, weight: float, threshold: float, band: Tensor) -> Tensor:
    residual = image - _gaussian(image, band)
    mask = (residual.abs() * 255 > threshold).to(image.dtype)
    soft = _gaussian(mask, band)
    sharp = torch.add(image, residual, alpha=weight).clamp_(0, 1)
    return torch.lerp(image, sharp, soft)


def usm_sharpen(images: Tensor, weight: float = 0.5, radius: int = 50, threshold: float = 10) -> Tensor:
    """Sharpen images where they already have contrast.

    Args:
        images: float32 [B, C, H, W] in [0, 1], of any size.
        weight: share of the high-pass residual that is added.
        radius: width of the Gaussian, pixels; an even one is raised by 1 (upstream's 50 means 51 taps, sigma 8).
        threshold: least residual that counts as contrast, 8-bit levels.

    Returns:
        float32 [B, C, H, W] in [0, 1]. Equal to upstream within 5e-6, except for pixels around places where the
        residual lies within rounding of the threshold.
    """
    if radius < 1:
        raise ValueError(f"radius must be at least 1, got {radius}")
    band = _band(radius, images.device)
    with no_autocast(images.device):
        if images.is_cuda:  # planes do not know of each other; a launch for all of them costs a GPU's host far less
            return _sharpen_one(images.flatten(0, 1), weight, threshold, band).view_as(images)
        return torch.stack([_sharpen_one(image, weight, threshold, band) for image in images])  # in a CPU's caches
