"""Resize each image to a size of its own with a filter of its own: area, bilinear or bicubic, as PyTorch's.

A gather: each result sums `taps x taps` pixels of its source, 2 and 4 a side for the interpolations, and for area as
many as a target pixel touches.
"""

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

from degradations.fused.canvas import PLAIN, Canvas, image_size, tiles

_AREA, _BILINEAR = tl.constexpr(0), tl.constexpr(1)  # places in `resize.MODES`; bicubic is the third
_CUBIC = tl.constexpr(-0.75)
_ROWS, _COLUMNS = 16, 64


@triton.jit
def _first(place, mode, source, target, step):
    """First source pixel of target pixels on one axis, and the fraction beyond it; for area the number of pixels."""
    start = (place * source) // target
    stop = ((place + 1) * source + target - 1) // target
    centre = (place.to(tl.float32) + 0.5) * step - 0.5
    if mode == _BILINEAR:
        centre = tl.maximum(centre, 0.0)
    below = tl.floor(centre)
    first = below.to(tl.int32) - tl.where(mode == _BILINEAR, 0, 1)
    return tl.where(mode == _AREA, start, first), tl.where(mode == _AREA, (stop - start).to(tl.float32), centre - below)


@triton.jit
def _weight(tap, fraction, mode):
    """Weight of one tap; `fraction` as returned by `_first`."""
    if mode == _AREA:
        weight = tl.where(tap < fraction, 1.0 / fraction, 0.0)
    elif mode == _BILINEAR:
        weight = tl.where(tap == 0, 1.0 - fraction, fraction)
    else:
        far = tl.abs(tap - 1.0 - fraction)
        near = ((_CUBIC + 2.0) * far - (_CUBIC + 3.0)) * far * far + 1.0
        weight = tl.where(far <= 1.0, near, ((_CUBIC * far - 5.0 * _CUBIC) * far + 8.0 * _CUBIC) * far - 4.0 * _CUBIC)
    return weight


@triton.jit(do_not_specialize=("bands", "height", "width", "out_height", "out_width"))
def _resize(
    pixels, sizes, out, targets, modes, steps, bands, height, width, out_height, out_width,
    STEPPED: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    plane = tl.program_id(2)
    image = plane // bands
    h, w = image_size(sizes, image)
    target_h, target_w = image_size(targets, image)
    top, left = tl.program_id(1) * ROWS, tl.program_id(0) * COLUMNS
    if (top < target_h) & (left < target_w):
        mode = tl.load(modes + image).to(tl.int32)
        if STEPPED:
            step = tl.load(steps + image)
            # an unchanged size is copied; PyTorch's bilinear filter decides that for each axis separately
            same = (h == target_h) & (w == target_w)
            step_y = tl.where(same | ((mode == _BILINEAR) & (h == target_h)), 1.0, step)
            step_x = tl.where(same | ((mode == _BILINEAR) & (w == target_w)), 1.0, step)
        else:
            # an ordinary quotient is off by two last bits on a GPU, which moves the far end of an axis
            step_y = tl.div_rn(h.to(tl.float32), target_h.to(tl.float32))
            step_x = tl.div_rn(w.to(tl.float32), target_w.to(tl.float32))
        y, x = top + tl.arange(0, ROWS), left + tl.arange(0, COLUMNS)
        first_y, rest_y = _first(y, mode, h, target_h, step_y)
        first_x, rest_x = _first(x, mode, w, target_w, step_x)
        taps_y, taps_x = (h + target_h - 1) // target_h + 1, (w + target_w - 1) // target_w + 1
        if mode != _AREA:
            taps_y, taps_x = mode * 2, mode * 2
        start = pixels + plane.to(tl.int64) * height * width
        total = tl.zeros([ROWS, COLUMNS], dtype=tl.float32)
        for tap_y in range(taps_y):
            weight_y = _weight(tap_y, rest_y, mode)
            row = start + (tl.minimum(tl.maximum(first_y + tap_y, 0), h - 1) * width)[:, None]
            part = tl.zeros([ROWS, COLUMNS], dtype=tl.float32)
            for tap_x in range(taps_x):
                column = tl.minimum(tl.maximum(first_x + tap_x, 0), w - 1)
                part += tl.load(row + column[None, :]).to(tl.float32) * _weight(tap_x, rest_x, mode)[None, :]
            total += part * weight_y[:, None]
        place = out + plane.to(tl.int64) * out_height * out_width + y[:, None] * out_width + x[None, :]
        tl.store(place, total, mask=(y < target_h)[:, None] & (x < target_w)[None, :])


def resize(
    canvas: Canvas, sizes: Tensor, mode: Tensor, canvas_size: tuple[int, int], steps: Tensor | None = None
) -> Canvas:
    """Interpolate each image, as `resize.resize` without antialiasing.

    Args:
        sizes: int64 [B, 2], heights and widths of the results.
        mode: [B], indices into `resize.MODES`.
        canvas_size: height and width of the new canvas, at least those of any result.
        steps: float32 [B], source pixels between target pixels in bilinear and bicubic modes, for upstream's geometry;
            by default the ratio of the sizes.

    Returns:
        A float32 canvas.
    """
    batch, bands, height, width = canvas.pixels.shape
    sizes = sizes.contiguous()
    out = canvas.like(*canvas_size, sizes)
    _resize[tiles(out, _ROWS, _COLUMNS, batch * bands)](
        canvas.pixels, canvas.sizes, out.pixels, sizes, mode.contiguous(), canvas.sizes if steps is None else steps,
        bands, height, width, *canvas_size, STEPPED=steps is not None, ROWS=_ROWS, COLUMNS=_COLUMNS,
        **PLAIN,  # fused, a coordinate is rounded differently, and a sharp edge moves
    )  # fmt: skip
    return out
