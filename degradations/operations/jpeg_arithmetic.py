"""libjpeg's arithmetic without an entropy coder: what a JPEG file of whole levels decodes to, byte for byte.

Equal to Pillow with libjpeg-turbo's defaults (slow integer DCT, "fancy" chroma upsampling). The integer arithmetic is
carried in floating point: every intermediate value is a whole number that the format holds exactly (below 2^24 in
float32, below 2^53 in float64), so matrix products may be used and the result depends neither on the order of summation
nor on the device or the batch.

The sources are libjpeg-turbo's jccolor.c, jcsample.c, jfdctint.c, jcdctmgr.c, jcparam.c, jidctint.c, jdsample.c and
jdcolor.c.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from degradations.constants import resident
from degradations.operations.jpeg_tables import CHROMA_QUANTISATION, ISLOW_DCT, LUMA_QUANTISATION
from degradations.precision import unrounded

Subsampling = Literal["4:2:0", "4:4:4"]

# 16-bit fixed point of jccolor.c and jdcolor.c, divided by 2^16 at once (exact); planes are centred on 0, not on 128,
# which saves the shifts back and forth and changes no rounding
_TO_YCC = ((19595.0, 38470.0, 7471.0), (-11059.0, -21709.0, 32768.0), (32768.0, -27439.0, -5329.0))
_TO_YCC_OFFSET = ((32768.0 - 128 * 65536,), (32767.0,), (32767.0,))
_TO_RGB = ((0.0, 91881.0), (-22554.0, -46802.0), (116130.0, 0.0))  # columns: Cb, Cr


@lru_cache(maxsize=32)
def _constant(name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Matrices with libjpeg's final shifts folded in: powers of two, so nothing is rounded."""
    rows, bits = {
        "to_ycc": (_TO_YCC, 16),
        "to_ycc_offset": (_TO_YCC_OFFSET, 16),
        "to_rgb": (_TO_RGB, 16),
        "dct_rows": (ISLOW_DCT, 11),
        "dct_columns": (ISLOW_DCT, 15),
        "idct_columns": (tuple(zip(*ISLOW_DCT, strict=True)), 11 + 3),  # 3: coefficients are 8 times the real ones
        "idct_rows": (tuple(zip(*ISLOW_DCT, strict=True)), 18),
    }[name]
    return resident((torch.tensor(rows, dtype=torch.float64) * 0.5**bits).to(dtype), device)


@lru_cache(maxsize=4)
def quality_tables(device: torch.device) -> Tensor:
    """Quantisation tables of all qualities (jcparam.c, baseline): float32 [101, 2, 8, 8], luma and chroma."""
    quality = torch.arange(101)
    percent = torch.where(quality < 50, 5000 // quality.clamp_min(1), 200 - 2 * quality)
    base = torch.tensor([LUMA_QUANTISATION, CHROMA_QUANTISATION])
    steps = (base * percent[:, None, None, None] + 50) // 100
    return resident(steps.clamp(1, 255).float(), device)


def _descale(values: Tensor) -> Tensor:
    """floor(v + 1/2) in place: libjpeg's rounding, v being already divided."""
    return values.add_(0.5).floor_()


def _code_planes(planes: Tensor, tables: Tensor) -> Tensor:
    """Transform, quantise and restore planes of whole levels, centred on 0.

    Each pass is one product of an 8 x 8 matrix with a wide one whose rows are the axis that is contracted. Axes: n
    image, p plane, y and x place of a block, i and j sample down and along it, u and v frequency down and along it.

    Args:
        planes: float32 [N, P, H, W] in -128..127, sides multiples of 8.
        tables: float32 [N, 8, 8], steps for the planes of each image.
    """
    count, number, height, _ = planes.shape
    axes = {"n": count, "p": number, "y": height // 8}
    samples = unrounded(rearrange(planes, "n p (y i) (x j) -> j (n p y i x)", i=8, j=8))
    narrow, wide = ((dtype, planes.device) for dtype in (samples.dtype, torch.float64))
    # sums of the first pass stay below 2^23; those of the second reach 2^28, of the inverse 2^33: they need float64
    rows = _descale(_constant("dct_rows", *narrow) @ samples)
    columns = rearrange(rows.to(torch.float64), "v (n p y i x) -> i (v n p y x)", i=8, **axes)
    frequencies = _descale(_constant("dct_columns", *wide) @ columns).float()

    steps = rearrange(8 * tables, "n u v -> u v n 1")
    coefficients = rearrange(frequencies, "u (v n block) -> u v n block", v=8, n=count)
    restored = _quantised(coefficients, steps).flatten(1).double()

    columns = _descale(_constant("idct_columns", *wide) @ restored)
    rows = rearrange(columns, "i (v block) -> v (i block)", v=8)
    samples = _descale(_constant("idct_rows", *wide) @ rows).float().clamp_(-128, 127)
    return rearrange(samples, "j (i n p y x) -> n p (y i) (x j)", i=8, **axes)


def _quantised(coefficients: Tensor, steps: Tensor) -> Tensor:
    """The nearest multiples of the steps, halves away from zero (jcdctmgr.c); both come multiplied by 8.

    In float32 a quotient that is no tie is further from one than its own rounding.
    """
    sizes = coefficients.abs().div_(steps).add_(0.5).floor_()
    return sizes.mul_(steps).copysign_(coefficients)


def _pad_to(planes: Tensor, height: int, width: int) -> Tensor:
    """Repeat the last row and column of [N, P, h, w]."""
    extra = (0, width - planes.shape[-1], 0, height - planes.shape[-2])
    return F.pad(planes, extra, mode="replicate") if any(extra) else planes


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _halve(planes: Tensor, height: int, width: int) -> Tensor:
    """Chroma 2 x 2 means with jcsample.c's bias of 1, 2, 1, 2, ... quarters, padded to [N, P, height, width].

    libjpeg fills the right margin with pixels before the mean, and the bottom margin with rows after it.
    """
    planes = _pad_to(planes, _round_up(planes.shape[-2], 2), 2 * width)
    rows = planes[..., 0::2, :] + planes[..., 1::2, :]
    sums = rows[..., 0::2] + rows[..., 1::2]
    sums[..., 0::2] += 1
    sums[..., 1::2] += 2
    return _pad_to(sums.mul_(0.25).floor_(), height, width)


def _double(planes: Tensor) -> Tensor:
    """Chroma [N, P, h, w] -> [N, P, 2h, 2w]: jdsample.c's triangle filter ("fancy upsampling"), or copies if w <= 2."""
    if planes.shape[-1] <= 2:
        return repeat(planes, "n p h w -> n p (h 2) (w 2)")
    # sixteenths of whole numbers: bilinear interpolation is exact in float32
    doubled = F.interpolate(planes, scale_factor=2, mode="bilinear")
    doubled[..., 0::2] += 8 / 16  # the rounding alternates as in jdsample.c
    doubled[..., 1::2] += 7 / 16
    return doubled.floor_()


def _code_gray(levels: Tensor, tables: Tensor) -> Tensor:
    """Single-channel JPEG of each plane: [N, P, H, W], whole levels 0..255 in float32."""
    height, width = levels.shape[-2:]
    padded = _pad_to(levels - 128, _round_up(height, 8), _round_up(width, 8))
    return _code_planes(padded, tables[:, 0])[..., :height, :width] + 128


def _code_colour(levels: Tensor, tables: Tensor, subsampling: Subsampling) -> Tensor:
    """YCbCr JPEG of RGB images: [N, 3, H, W], whole levels 0..255 in float32."""
    height, width = levels.shape[-2:]
    rgb = unrounded(levels.flatten(2))
    to_ycc, offset, to_rgb = (
        _constant(name, rgb.dtype, levels.device) for name in ("to_ycc", "to_ycc_offset", "to_rgb")
    )
    halved = subsampling == "4:2:0"
    unit = 16 if halved else 8
    full = (_round_up(height, unit), _round_up(width, unit))

    ycc = torch.matmul(to_ycc, rgb).add_(offset).floor_().float().view(levels.shape)
    y = _code_planes(_pad_to(ycc[:, :1], *full), tables[:, 0])
    if halved:
        colour = _code_planes(_halve(ycc[:, 1:], full[0] // 2, full[1] // 2), tables[:, 1])
        # the upsampling filter sees the real chroma size, not the padded one
        colour = _double(colour[..., : _round_up(height, 2) // 2, : _round_up(width, 2) // 2])
    else:
        colour = _code_planes(_pad_to(ycc[:, 1:], *full), tables[:, 1])
    colour = unrounded(colour[..., :height, :width].flatten(2))
    tint = _descale(torch.matmul(to_rgb, colour)).float().view(levels.shape)
    return tint.add_(y[..., :height, :width]).add_(128).clamp_(0, 255)


def decoded_levels(levels: Tensor, quality: Tensor, subsampling: Subsampling) -> Tensor:
    """Levels after compression and decompression.

    Args:
        levels: float32 [N, C, H, W], whole, 0..255. Three bands are RGB; any other number is coded band by band.
        quality: int64 [N], 1..100, on the device of the levels.
        subsampling: of chroma.

    Returns:
        float32 [N, C, H, W], whole, 0..255.
    """
    tables = quality_tables(levels.device)[quality]
    return _code_colour(levels, tables, subsampling) if levels.shape[1] == 3 else _code_gray(levels, tables)
