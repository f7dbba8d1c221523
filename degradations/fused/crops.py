"""The last pass: rounding to 8 bits and cropping, each image at its own place."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from degradations.fused.canvas import PLAIN, Canvas, clamped, rounded

_ROWS, _COLUMNS = 16, 128


@triton.jit(do_not_specialize=("scale", "bands", "height", "width", "out_height"))
def _crop(
    pixels, out, tops, lefts, scale, bands, height, width, out_height, out_width,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    """float32 or uint8 [B C, height, width] -> uint8 [B C, out_height, out_width]."""
    plane = tl.program_id(2)
    image = plane // bands
    y = (tl.program_id(1) * ROWS + tl.arange(0, ROWS))[:, None]
    x = (tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS))[None, :]
    inside = (y < out_height) & (x < out_width)
    top, left = (tl.load(tops + image) * scale).to(tl.int32), (tl.load(lefts + image) * scale).to(tl.int32)
    source = pixels + plane.to(tl.int64) * height * width + (top + y) * width + (left + x)
    level = rounded(clamped(tl.load(source, mask=inside, other=0).to(tl.float32)))
    tl.store(out + plane.to(tl.int64) * out_height * out_width + y * out_width + x, level.to(tl.uint8), mask=inside)


def crop(canvas: Canvas, top: Tensor, left: Tensor, size: tuple[int, int], scale: int = 1) -> Tensor:
    """Cut images to one size and round them to 8 bits.

    Args:
        top, left: integers [B], the corners, in units of `scale` pixels.
        size: height and width of the result; the crop must lie inside the image.

    Returns:
        uint8 [B, C, *size].
    """
    batch, bands, height, width = canvas.pixels.shape
    out = torch.empty(batch, bands, *size, dtype=torch.uint8, device=canvas.pixels.device)
    grid = (triton.cdiv(size[1], _COLUMNS), triton.cdiv(size[0], _ROWS), batch * bands)
    _crop[grid](
        canvas.pixels, out, top.contiguous(), left.contiguous(), scale, bands, height, width, *size,
        ROWS=_ROWS, COLUMNS=_COLUMNS, **PLAIN,
    )  # fmt: skip
    return out
