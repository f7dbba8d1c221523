"""Upstream's JPEG simulation (BasicSR `basicsr/utils/diffjpeg.py`), reproduced with its faults for compatibility.

Against a real codec it transposes the luma table, scales tables without rounding or limits, pads with black, repeats
chroma pixels and does not round to 8 bits: 36 to 42 dB from Pillow's result, most of it by the transposed table.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from degradations.constants import resident
from degradations.operations.jpeg_tables import CHROMA_QUANTISATION, LUMA_QUANTISATION
from degradations.precision import unrounded

_TO_YCC = ((0.299, 0.587, 0.114), (-0.168736, -0.331264, 0.5), (0.5, -0.418688, -0.081312))
_TO_RGB = ((1.0, 0.0, 1.402), (1.0, -0.344136, -0.714136), (1.0, 1.772, 0.0))


@lru_cache(maxsize=8)
def _constants(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """Orthonormal DCT-II [8, 8], luma table (transposed, as upstream), chroma table, RGB -> YCC and back."""
    rows = [[math.cos((2 * x + 1) * u * math.pi / 16) * (0.5 if u else 0.125**0.5) for x in range(8)] for u in range(8)]
    tables = (rows, list(zip(*LUMA_QUANTISATION, strict=True)), CHROMA_QUANTISATION, _TO_YCC, _TO_RGB)
    dct, luma, chroma, to_ycc, to_rgb = (resident(torch.tensor(t, dtype=torch.float32), device) for t in tables)
    return unrounded(dct), luma, chroma, unrounded(to_ycc), unrounded(to_rgb)


def quality_factor(quality: float) -> float:
    """Factor on the quantisation tables, without libjpeg's rounding; 0 < quality < 100."""
    return (5000 / quality if quality < 50 else 200 - 2 * quality) / 100


def _round_through(values: Tensor) -> Tensor:
    """round(x) + (x - round(x))^3, whose gradient is not zero (Shin and Song 2017)."""
    rounded = values.round()
    return rounded + (values - rounded) ** 3


def _code_planes(planes: Tensor, table: Tensor, dct: Tensor, differentiable: bool) -> Tensor:
    """Transform, quantise and restore [P, H, W], levels, sides multiples of 8."""
    blocks = rearrange(unrounded(planes - 128), "p (y i) (x j) -> p y x i j", i=8, j=8)
    steps = (dct @ blocks @ dct.T) / table
    steps = _round_through(steps) if differentiable else steps.round()
    restored = dct.T @ (steps * table) @ dct + 128
    return rearrange(restored, "p y x i j -> p (y i) (x j)").to(planes.dtype)


def diffjpeg(image: Tensor, quality: float, *, differentiable: bool = False) -> Tensor:
    """One image through upstream's DiffJPEG.

    Args:
        image: float32 [3, H, W] in [0, 1].
        quality: real, above 0 and below 100 (at 100 upstream divides by zero).
        differentiable: round by a cubic whose gradient is not zero.

    Returns:
        float32 [3, H, W] in [0, 1], not rounded to 8 bits.
    """
    if image.shape[0] != 3:
        raise ValueError(f"upstream's JPEG takes 3 bands, got {image.shape[0]}")
    if not 0 < quality < 100:
        raise ValueError(f"quality must be above 0 and below 100, got {quality!r}")
    dct, luma, chroma, to_ycc, to_rgb = _constants(image.device)
    height, width = image.shape[-2:]
    padded = F.pad(image * 255, (0, -width % 16, 0, -height % 16))
    planes = torch.einsum("ij,jhw->ihw", to_ycc, unrounded(padded)).to(image.dtype)
    factor = quality_factor(quality)
    y = _code_planes(planes[:1], luma * factor, dct, differentiable)
    colour = F.avg_pool2d(planes[1:] + 128, 2)
    colour = _code_planes(colour, chroma * factor, dct, differentiable) - 128
    colour = repeat(colour, "p h w -> p (h 2) (w 2)")
    restored = torch.einsum("ij,jhw->ihw", to_rgb, unrounded(torch.cat([y, colour]))).to(image.dtype)
    return restored[:, :height, :width].clamp(0, 255) / 255
