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

_BLOCK = 40  # rows made by one product
_CPU_BLOCK = 32  # rows or columns made by one product in `_Workspace`; measured: 16..40 differ little


def gaussian_taps(radius: int) -> Tensor:
    """OpenCV's getGaussianKernel(radius, 0), float64 [radius], an even radius raised by 1."""
    taps = radius + 1 if radius % 2 == 0 else radius
    sigma = 0.3 * ((taps - 1) * 0.5 - 1) + 0.8
    weights = [math.exp(-((i - taps // 2) ** 2) / (2 * sigma**2)) for i in range(taps)]
    row = torch.tensor(weights, dtype=torch.float64)
    return row / row.sum()


@lru_cache(maxsize=8)
def _band(radius: int, device: torch.device, block: int = _BLOCK) -> Tensor:
    """[block, block + 2 reach]: row i holds the Gaussian's taps from column i on."""
    row = gaussian_taps(radius).float()
    band = torch.zeros(block, block + len(row) - 1)
    for i in range(block):
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


class _Workspace:
    """`_sharpen_one` on a CPU in memory that all images of one size share, without turning them.

    A product adds its terms in their order, and those that are 0 change nothing, so neither the size of the blocks nor
    the side from which the band is multiplied shows in a result: the bits were the same at all sizes tried from 16 x 16
    on (MKL; for smaller ones it has other products).

    Args:
        shape: of an image, [C, H, W].
        radius: of the Gaussian, as `usm_sharpen`'s.
    """

    def __init__(self, shape: torch.Size, radius: int) -> None:
        (channels, height, width), device = shape, torch.device("cpu")
        self.band = _band(radius, device, _CPU_BLOCK)
        self.turned = self.band.mT.contiguous()
        block, span = self.band.shape
        reach = (span - block) // 2
        tall, wide = (-(-side // block) * block for side in (height, width))
        self.rows_of = reflected(height, reach, reach + tall - height, device)
        columns = reflected(width, reach, reach + wide - width, device) + reach
        rows = torch.empty(channels, tall + 2 * reach, width)
        padded = torch.empty(channels, tall, wide + 2 * reach)
        done = torch.empty(channels * tall, wide)
        # what one product reads, and what it writes: blocks of rows, then of columns
        self.down = [
            (rows[channel, top : top + span], padded[channel, top : top + block, reach : reach + width])
            for channel in range(channels)
            for top in range(0, tall, block)
        ]
        lines = padded.flatten(0, 1)
        self.across = [(lines[:, left : left + span], done[:, left : left + block]) for left in range(0, wide, block)]
        ends = slice(reach), slice(reach + width, None)
        self.margins = [(padded[..., end], columns[end]) for end in ends]
        self.rows, self.padded = rows, padded
        self.blurred = done.view(channels, tall, wide)[:, :height, :width]
        self.residual, self.mask = torch.empty(shape), torch.empty(shape)

    def gaussian(self, image: Tensor) -> Tensor:
        """Gaussian blur; the result lasts until the next call."""
        torch.index_select(image, 1, self.rows_of, out=self.rows)
        for read, write in self.down:
            torch.mm(self.band, read, out=write)
        for margin, columns in self.margins:
            margin.copy_(self.padded.index_select(2, columns))
        for read, write in self.across:
            torch.mm(read, self.turned, out=write)
        return self.blurred

    def sharpen(self, image: Tensor, weight: float, threshold: float, out: Tensor) -> None:
        """`_sharpen_one` of float32 [C, H, W], into `out`."""
        torch.sub(image, self.gaussian(image), out=self.residual)
        torch.abs(self.residual, out=self.mask).mul_(255).gt_(threshold)
        soft = self.gaussian(self.mask)
        sharp = torch.add(image, self.residual, alpha=weight, out=self.residual).clamp_(0, 1)
        torch.lerp(image, sharp, soft, out=out)


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
    with no_autocast(images.device):
        if images.is_cuda:  # planes do not know of each other; a launch for all of them costs a GPU's host far less
            return _sharpen_one(images.flatten(0, 1), weight, threshold, _band(radius, images.device)).view_as(images)
        if images.device.type != "cpu" or images.requires_grad or min(images.shape[-2:]) < _CPU_BLOCK:
            band = _band(radius, images.device)
            return torch.stack([_sharpen_one(image, weight, threshold, band) for image in images])
        sharp, workspace = torch.empty(images.shape), _Workspace(images.shape[1:], radius)
        for image, out in zip(images, sharp, strict=True):
            workspace.sharpen(image, weight, threshold, out)
        return sharp
