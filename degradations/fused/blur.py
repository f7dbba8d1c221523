"""Blur with a kernel for each image on matrix units, to float32's precision.

Row `y` of a kernel, applied to a row of the image, is a product with a banded (Toeplitz) matrix; a blur is the sum of
such products over the rows of the kernel's own size. The units multiply halves (float16) and sum in
float32, so a number is given as two halves, ``high + low``, which hold 22 bits; the product of two low halves, 2^-22 of
the whole, is left out. Images of whole levels need one half.

A first pass writes the halves, and around each image a margin of mirrored pixels: the product then reads aligned rows
and needs no case for borders.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl

from degradations.fused.canvas import PLAIN, Canvas, image_size, mirrored, tiles
from degradations.operations.kernels import PULSE, KernelRecipe

MARGIN = 16  # pixels; also the largest reach of a kernel
LARGEST = 2 * MARGIN + 1
_ROWS, _COLUMNS = 128, 32  # the tile of one program; its window is twice as wide
_PULSE = tl.constexpr(PULSE)
_SCALE = tl.constexpr(256.0)  # factor on taps, whose low halves would fall below the smallest float16


@triton.jit(do_not_specialize=("bands", "height", "width", "rows"))
def _halve(
    pixels, sizes, halves, bands, height, width, rows, columns,
    MARGIN: tl.constexpr, LIMBS: tl.constexpr, ALIGN: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """float32 or uint8 [B C, height, width] -> float16 [B C, LIMBS, rows, columns] with margins."""
    plane = tl.program_id(2)
    h, w = image_size(sizes, plane // bands)
    top, left = tl.program_id(1) * ROWS, tl.program_id(0) * COLUMNS
    bottom, right = h + 2 * MARGIN, tl.cdiv(w, ALIGN) * ALIGN + 2 * MARGIN
    if (top < bottom) & (left < right):
        y, x = top + tl.arange(0, ROWS), left + tl.arange(0, COLUMNS)
        inside = (y < bottom)[:, None] & (x < right)[None, :]
        from_y, from_x = mirrored(y - MARGIN, h, MARGIN), mirrored(x - MARGIN, w, MARGIN)
        start = pixels + plane.to(tl.int64) * height * width
        value = tl.load(start + from_y[:, None] * width + from_x[None, :], mask=inside, other=0).to(tl.float32)
        target = halves + plane.to(tl.int64) * LIMBS * rows * columns + y[:, None] * columns + x[None, :]
        high = value.to(tl.float16)
        tl.store(target, high, mask=inside)
        if LIMBS == 2:
            tl.store(target + rows * columns, (value - high.to(tl.float32)).to(tl.float16), mask=inside)


@triton.jit(do_not_specialize=("bands", "height", "width", "rows"))
def _blur(
    halves, kernels, kinds, spans, sizes, out, bands, height, width, rows, columns,
    SIDE: tl.constexpr, MARGIN: tl.constexpr, LIMBS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """Correlate each image with its kernel [SIDE, SIDE], which is zero outside its own span."""
    plane = tl.program_id(2)
    image = plane // bands
    h, w = image_size(sizes, image)
    top, left = tl.program_id(1) * ROWS, tl.program_id(0) * COLUMNS
    if (top < h) & (left < w):
        reach = tl.where(tl.load(kinds + image) == _PULSE, 0, tl.load(spans + image).to(tl.int32) // 2)
        y = top + tl.arange(0, ROWS)
        window, x = tl.arange(0, 2 * COLUMNS), tl.arange(0, COLUMNS)
        tap = window[:, None] - x[None, :] - MARGIN + SIDE // 2
        banded = (tap >= 0) & (tap < SIDE)
        band = kernels + image * SIDE * SIDE + tl.where(banded, tap, 0)
        start = halves + plane.to(tl.int64) * LIMBS * rows * columns
        # rows under the image repeat its last one; their results are not stored
        start += (tl.minimum(y, h - 1) + MARGIN)[:, None] * columns + (left + window)[None, :]
        total = tl.zeros([ROWS, COLUMNS], dtype=tl.float32)
        for row in range(-reach, reach + 1):
            taps = tl.load(band + (row + SIDE // 2) * SIDE, mask=banded, other=0.0) * _SCALE
            taps_high = taps.to(tl.float16)
            taps_low = (taps - taps_high.to(tl.float32)).to(tl.float16)
            high = tl.load(start + row * columns)
            part = tl.dot(high, taps_low)
            if LIMBS == 2:
                part = tl.dot(tl.load(start + row * columns + rows * columns), taps_high, acc=part)
            part = tl.dot(high, taps_high, acc=part)
            # matrix units truncate as they add: each row's sum is short, and rows are added by ordinary units
            total += part * (1 / _SCALE)
        place = out + plane.to(tl.int64) * height * width + y[:, None] * width + (left + x)[None, :]
        tl.store(place, total, mask=(y < h)[:, None] & (left + x < w)[None, :])


def blur(canvas: Canvas, recipe: KernelRecipe, *, whole: bool = False) -> Canvas:
    """Correlate each image with a kernel of its own, mirrored at the borders, as `blur.blur`.

    Args:
        recipe: on the device; kernels of at most `LARGEST` pixels a side.
        whole: all levels are whole numbers, so one half holds them.

    Returns:
        A float32 canvas.
    """
    side = recipe.kernel.shape[-1]
    if side > LARGEST:
        raise ValueError(f"kernels must have sides of at most {LARGEST}, got {side}")
    batch, bands, height, width = canvas.pixels.shape
    limbs = 1 if whole else 2
    rows, columns = height + 2 * MARGIN, triton.cdiv(width, _COLUMNS) * _COLUMNS + 2 * MARGIN
    shape = (batch * bands, limbs, rows, columns)
    halves = torch.empty(shape, dtype=torch.float16, device=canvas.pixels.device)
    _halve[(triton.cdiv(columns, 128), triton.cdiv(rows, 16), batch * bands)](
        canvas.pixels, canvas.sizes, halves, bands, height, width, rows, columns,
        MARGIN=MARGIN, LIMBS=limbs, ALIGN=_COLUMNS, ROWS=16, COLUMNS=128, **PLAIN,
    )  # fmt: skip
    out = canvas.like(height, width, canvas.sizes)
    parameters = [part.contiguous() for part in (recipe.kernel, recipe.kind, recipe.size)]
    _blur[tiles(out, _ROWS, _COLUMNS, batch * bands)](
        halves, *parameters, canvas.sizes, out.pixels, bands, height, width, rows, columns,
        SIDE=side, MARGIN=MARGIN, LIMBS=limbs, ROWS=_ROWS, COLUMNS=_COLUMNS, num_warps=8, num_stages=2, **PLAIN,
    )  # fmt: skip
    return out
