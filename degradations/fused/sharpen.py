"""Unsharp masking on matrix units: a separable Gaussian as two products with one banded matrix.

A tile of 64 x 64 results needs 51 taps on each axis, so a window of 128 x 128 pixels holds its surroundings: the first
product runs down the columns, the second along the rows. As in `fused.blur`, numbers are pairs of halves.
"""

from __future__ import annotations

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from degradations.constants import resident
from degradations.fused.canvas import PLAIN, Canvas, clamped, image_size, mirrored, tiles
from degradations.operations.sharpen import gaussian_taps

_TILE = 64
_MARGIN = 32  # pixels of the window on each side of the tile
_SCALE = tl.constexpr(256.0)  # on taps, see `fused.blur`


@lru_cache(maxsize=8)
def _band(radius: int, device: torch.device) -> Tensor:
    """float16 [2, 64, 128]: high and low halves of the Gaussian as a banded matrix, times 256."""
    taps = gaussian_taps(radius).float() * 256
    reach = len(taps) // 2
    if reach >= _MARGIN:
        raise ValueError(f"radius must be at most {2 * _MARGIN - 1}, got {radius}")
    band = torch.zeros(_TILE, 2 * _TILE)
    for i in range(_TILE):
        band[i, i + _MARGIN - reach : i + _MARGIN + reach + 1] = taps
    high = band.half()
    return resident(torch.stack([high, (band - high.float()).half()]), device)


@triton.jit
def _smooth(source, band, h, w, top, left, width, MARGIN: tl.constexpr, TILE: tl.constexpr):
    """Gaussian of a tile of a plane of whole numbers, mirrored at the borders: [TILE, TILE]."""
    strip: tl.constexpr = TILE // 2  # columns of the window at a time: all of them would not fit the registers
    i, k = tl.arange(0, TILE), tl.arange(0, 2 * TILE)
    rest: tl.constexpr = 2 * TILE * TILE  # offset from the high halves of the band to the low ones
    down = band + i[:, None] * (2 * TILE) + k[None, :]
    rows = source + (mirrored(top - MARGIN + k, h, MARGIN) * width)[:, None]
    total = tl.zeros([TILE, TILE], tl.float32)
    for first in range(0, 2 * TILE, strip):
        j = first + tl.arange(0, strip)
        window = tl.load(rows + mirrored(left - MARGIN + j, w, MARGIN)[None, :]).to(tl.float16)
        columns = tl.dot(tl.load(down), window, acc=tl.dot(tl.load(down + rest), window)) * (1 / _SCALE)
        high = columns.to(tl.float16)
        low = (columns - high.to(tl.float32)).to(tl.float16)
        along = band + i[None, :] * (2 * TILE) + j[:, None]
        taps = tl.load(along)
        part = tl.dot(low, taps, acc=tl.dot(high, tl.load(along + rest)))
        total += tl.dot(high, taps, acc=part) * (1 / _SCALE)
    return total


@triton.jit(do_not_specialize=("bands",))  # not the width: aligned rows need a third fewer registers
def _contrast(
    pixels, sizes, gains, masks, band, bands, height, width, weight, threshold,
    MARGIN: tl.constexpr, TILE: tl.constexpr,
):  # fmt: skip
    """Gain of full sharpening at each pixel, and the mask of contrast."""
    plane = tl.program_id(2)
    h, w = image_size(sizes, plane // bands)
    top, left = tl.program_id(1) * TILE, tl.program_id(0) * TILE
    if (top < h) & (left < w):
        start = plane.to(tl.int64) * height * width
        smooth = _smooth(pixels + start, band, h, w, top, left, width, MARGIN, TILE)
        y, x = (top + tl.arange(0, TILE))[:, None], (left + tl.arange(0, TILE))[None, :]
        inside = (y < h) & (x < w)
        place = start + y * width + x
        level = tl.load(pixels + place, mask=inside, other=0).to(tl.float32)
        residual = level - smooth
        tl.store(gains + place, clamped(level + weight * residual) - level, mask=inside)
        tl.store(masks + place, (tl.abs(residual) > threshold).to(tl.uint8), mask=inside)


@triton.jit(do_not_specialize=("bands",))  # not the width: aligned rows need a third fewer registers
def _sharpen(pixels, sizes, gains, masks, band, bands, height, width, MARGIN: tl.constexpr, TILE: tl.constexpr):
    """Add the gains, weighted by the smoothed mask; the result overwrites the gains."""
    plane = tl.program_id(2)
    h, w = image_size(sizes, plane // bands)
    top, left = tl.program_id(1) * TILE, tl.program_id(0) * TILE
    if (top < h) & (left < w):
        start = plane.to(tl.int64) * height * width
        soft = _smooth(masks + start, band, h, w, top, left, width, MARGIN, TILE)
        y, x = (top + tl.arange(0, TILE))[:, None], (left + tl.arange(0, TILE))[None, :]
        inside = (y < h) & (x < w)
        place = start + y * width + x
        level = tl.load(pixels + place, mask=inside, other=0).to(tl.float32)
        gain = tl.load(gains + place, mask=inside, other=0.0)
        tl.store(gains + place, level + soft * gain, mask=inside)


def usm_sharpen(canvas: Canvas, weight: float = 0.5, radius: int = 50, threshold: float = 10.0) -> Canvas:
    """Sharpen images where they have contrast, as `sharpen.usm_sharpen`.

    Args:
        canvas: of whole levels, uint8.
        weight, radius, threshold: see there; the radius is at most 63.

    Returns:
        A float32 canvas.
    """
    batch, bands, height, width = canvas.pixels.shape
    out = canvas.like(height, width, canvas.sizes)
    masks = torch.empty_like(canvas.pixels, dtype=torch.uint8)
    band = _band(radius, canvas.pixels.device)
    grid, tile = tiles(canvas, _TILE, _TILE, batch * bands), {"MARGIN": _MARGIN, "TILE": _TILE, **PLAIN}
    shape = (band, bands, height, width)
    _contrast[grid](canvas.pixels, canvas.sizes, out.pixels, masks, *shape, weight, threshold, **tile)
    _sharpen[grid](canvas.pixels, canvas.sizes, out.pixels, masks, *shape, **tile)
    return out
