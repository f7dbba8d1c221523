"""Gaussian and Poisson noise from keyed normal numbers, which are computed in the kernel that adds them.

The numbers are those of `keyed_random.normal_fields`: the same words of the same generator, with logarithm, cosine and
root rounded as this device rounds them. A first pass counts the 8-bit levels of each image, which Poisson noise needs.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from degradations.fused.canvas import PLAIN, Canvas, clamped, image_size, rounded, tiles
from degradations.fused.draws import seed_words, words
from degradations.keyed_random import Keys
from degradations.operations import noise as reference

_GAUSSIAN, _POISSON = tl.constexpr(reference.GAUSSIAN), tl.constexpr(reference.POISSON)
_NONE = tl.constexpr(reference.NONE)
_RED, _GREEN, _BLUE = tl.constexpr(0.2989), tl.constexpr(0.587), tl.constexpr(0.114)
_ROWS, _COLUMNS = 8, 128


@triton.jit
def _cosine(quarter):
    """Cosine of an angle given in 4096ths of a turn, plus half of one: int32 -> float32, within 2e-7."""
    octant = quarter + 512
    turn = octant >> 10
    angle = ((octant & 1023) - 512).to(tl.float32) + 0.5
    angle *= 1.5339807878856412e-3  # 2 pi / 4096, so |angle| <= pi / 4
    square = angle * angle
    cosine = ((2.4801587e-5 * square - 1.3888889e-3) * square + 4.1666667e-2) * square - 0.5
    sine = ((2.7557319e-6 * square - 1.9841270e-4) * square + 8.3333333e-3) * square - 1.6666667e-1
    value = tl.where(turn & 1 == 1, angle + angle * square * sine, 1.0 + square * cosine)
    return tl.where((turn + 1) & 2 == 2, -value, value)


@triton.jit
def normals(element, seed_low, seed_high, position, purpose):
    """Element of the field of `keyed_random.normal_fields`: two for each word of Philox 4x32-10, eight for a block."""
    a, b, c, d = words(element >> 3, seed_low, seed_high, position, purpose)
    lane = element & 7
    word = tl.where(lane < 4, tl.where(lane < 2, a, b), tl.where(lane < 6, c, d))
    radius = tl.sqrt(-2.0 * tl.log(((word >> 12).to(tl.int32).to(tl.float32) + 0.5) * 9.5367431640625e-7))
    # the second of a pair is the sine: the cosine of a quarter of a turn less
    return radius * _cosine((word & 0xFFF).to(tl.int32) - 1024 * (element & 1))


@triton.jit
def _poisson(level, normal, peak):
    """Poisson noise of a whole level, in levels; the count is that of `noise.poisson_quantile`."""
    rate = level * (1.0 / 255.0) * peak
    safe = tl.maximum(rate, 0.02)
    root = tl.sqrt(safe)
    square = normal * normal
    second = normal * (square + 2.0) / (-72.0 * root)
    third = (square * square * 3.0 + square * 7.0 - 16.0) / (810.0 * safe)
    count = tl.maximum(tl.floor(safe + root * normal + (square + 2.0) / 6.0 + second + third), 0.0)
    return tl.where(rate < 0.02, 0.0, count) / peak * 255.0 - level


@triton.jit
def _gray(start, plane, inside, BANDS: tl.constexpr):
    """`noise.to_gray` of the pixels at `start`, bands `plane` elements apart."""
    if BANDS == 3:
        total = _RED * tl.load(start, mask=inside, other=0.0)
        total += _GREEN * tl.load(start + plane, mask=inside, other=0.0)
        total += _BLUE * tl.load(start + 2 * plane, mask=inside, other=0.0)
    else:
        total = tl.load(start, mask=inside, other=0.0)
        for band in tl.static_range(1, BANDS):
            total += tl.load(start + band * plane, mask=inside, other=0.0)
        total = total / BANDS
    return total


@triton.jit(do_not_specialize=("height", "width"))
def _levels(
    pixels, sizes, present, kinds, grays, height, width, BANDS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """Mark the 8-bit levels of each image in int32 [B, 256]. Programs write only ones: their order does not matter."""
    image = tl.program_id(2)
    h, w = image_size(sizes, image)
    top, left = tl.program_id(1) * ROWS, tl.program_id(0) * COLUMNS
    if (tl.load(kinds + image) == _POISSON) & (top < h) & (left < w):
        y, x = (top + tl.arange(0, ROWS))[:, None], (left + tl.arange(0, COLUMNS))[None, :]
        inside = (y < h) & (x < w)
        plane = height * width
        start = pixels + image.to(tl.int64) * BANDS * plane + y * width + x
        flat = tl.reshape(inside, [ROWS * COLUMNS])
        level = tl.arange(0, 256)
        if tl.load(grays + image):
            whole = rounded(clamped(_gray(start, plane, inside, BANDS))).to(tl.int32)
            count = tl.histogram(tl.reshape(whole, [ROWS * COLUMNS]), 256, mask=flat)
        else:
            count = tl.zeros([256], dtype=tl.int32)
            for band in tl.static_range(BANDS):
                whole = rounded(clamped(tl.load(start + band * plane, mask=inside, other=0.0))).to(tl.int32)
                count += tl.histogram(tl.reshape(whole, [ROWS * COLUMNS]), 256, mask=flat)
        tl.store(present + image * 256 + level, 1, mask=count > 0)


@triton.jit(do_not_specialize=("seed_low", "seed_high", "purpose", "height", "width"))
def _noise(
    pixels, sizes, present, kinds, strengths, grays, positions, seed_low, seed_high, purpose, height, width,
    BANDS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Add noise in place."""
    image = tl.program_id(2)
    h, w = image_size(sizes, image)
    top, left = tl.program_id(1) * ROWS, tl.program_id(0) * COLUMNS
    kind = tl.load(kinds + image)
    if (kind != _NONE) & (top < h) & (left < w):
        y, x = (top + tl.arange(0, ROWS))[:, None], (left + tl.arange(0, COLUMNS))[None, :]
        inside = (y < h) & (x < w)
        plane = height * width
        start = pixels + image.to(tl.int64) * BANDS * plane + y * width + x
        strength, gray, position = tl.load(strengths + image), tl.load(grays + image), tl.load(positions + image)
        element = y * w + x
        count = tl.sum(tl.load(present + image * 256 + tl.arange(0, 256)), axis=0)
        peak = 1.0
        for power in tl.static_range(8):  # the least power of two that is not below the count
            peak = tl.where(count > 2**power, 2.0 ** (power + 1), peak)
        if gray:
            normal = normals(element, seed_low, seed_high, position, purpose)
            if kind == _GAUSSIAN:
                added = strength * normal
            else:
                added = strength * _poisson(rounded(clamped(_gray(start, plane, inside, BANDS))), normal, peak)
            for band in tl.static_range(BANDS):
                value = tl.load(start + band * plane, mask=inside, other=0.0)
                tl.store(start + band * plane, clamped(value + added), mask=inside)
        else:
            for band in tl.static_range(BANDS):
                value = tl.load(start + band * plane, mask=inside, other=0.0)
                normal = normals(band * h * w + element, seed_low, seed_high, position, purpose)
                if kind == _GAUSSIAN:
                    added = strength * normal
                else:
                    added = strength * _poisson(rounded(clamped(value)), normal, peak)
                tl.store(start + band * plane, clamped(value + added), mask=inside)


def add_noise(canvas: Canvas, kind: Tensor, strength: Tensor, gray: Tensor, keys: Keys, purpose: int) -> Canvas:
    """Noise of the kind, strength and colour of each image, as `noise.Noise.apply`.

    Args:
        canvas: float32, changed in place.
        kind, strength, gray: as in `noise.NoiseRecipe`, on the device.
        keys: of the fields, positions on the device.

    Returns:
        The canvas, clamped to 0..255 where there is noise.
    """
    batch, bands, height, width = canvas.pixels.shape
    kind, strength, gray = kind.contiguous(), strength.contiguous(), gray.contiguous()
    present = torch.zeros(batch, 256, dtype=torch.int32, device=canvas.pixels.device)
    grid, tile = tiles(canvas, _ROWS, _COLUMNS, batch), {"BANDS": bands, "ROWS": _ROWS, "COLUMNS": _COLUMNS, **PLAIN}
    _levels[grid](canvas.pixels, canvas.sizes, present, kind, gray, height, width, **tile)
    _noise[grid](
        canvas.pixels, canvas.sizes, present, kind, strength, gray, keys.positions.contiguous(),
        *seed_words(keys.seed), int(purpose), height, width, **tile,
    )  # fmt: skip
    return canvas
