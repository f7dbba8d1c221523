"""libjpeg's baseline encoder and decoder, byte for byte, in three passes over 8-bit planes.

`_separate` makes planes of whole levels: luma and halved chroma of three bands, or the bands themselves. `_code`
transforms, quantises and restores 8 x 8 blocks: each lane holds a whole block in registers, so that both directions of
both transforms are sums of integers and no lane waits for another. `_join` enlarges the chroma and makes RGB again.

The arithmetic is that of `degradations.operations.jpeg`, in 32-bit integers: images of whole levels keep every sum
below 2^30.
"""

# ruff: noqa: RUF005 - Triton's tuples are joined by +, they cannot be unpacked
# mypy: disable-error-code="assignment, attr-defined"
from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from degradations.fused.canvas import PLAIN, Canvas, clamped, image_size, rounded, tiles
from degradations.operations.jpeg_arithmetic import quality_tables
from degradations.operations.jpeg_tables import ISLOW_DCT

_DCT = tl.constexpr(ISLOW_DCT)  # frequency by sample
_BLOCKS = 128  # 8 x 8 blocks of one program
_ROWS, _COLUMNS = 16, 64


@triton.jit
def _level(start, inside):
    """A level of the canvas as a whole number."""
    return rounded(clamped(tl.load(start, mask=inside, other=0).to(tl.float32))).to(tl.int32)


@triton.jit(do_not_specialize=("height", "width"))
def _separate_colour(
    pixels, sizes, planes, chosen, height, width, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """RGB -> uint8 luma [rows, columns] and two chroma [rows / 2, columns / 2]; a lane makes one chroma pixel of each.

    Columns are filled up to a whole block: luma repeats its last pixel, and chroma is made from such luma.
    """
    image = tl.program_id(2)
    h, w = image_size(sizes, image)
    half_h, half_w = (h + 1) // 2, tl.cdiv((w + 1) // 2, 8) * 8
    top, left = tl.program_id(1) * ROWS, tl.program_id(0) * COLUMNS
    if tl.load(chosen + image) & (top < half_h) & (left < half_w):
        y, x = (top + tl.arange(0, ROWS))[:, None], (left + tl.arange(0, COLUMNS))[None, :]
        inside = (y < half_h) & (x < half_w)
        source = pixels + image.to(tl.int64) * 3 * height * width
        luma = planes + image.to(tl.int64) * (rows * columns * 3 // 2)
        blue_sum, red_sum = tl.zeros([ROWS, COLUMNS], tl.int32), tl.zeros([ROWS, COLUMNS], tl.int32)
        for corner in tl.static_range(4):
            to_y, to_x = 2 * y + corner // 2, 2 * x + corner % 2
            start = source + tl.minimum(to_y, h - 1) * width + tl.minimum(to_x, w - 1)
            red, green = _level(start, inside), _level(start + height * width, inside)
            blue = _level(start + 2 * height * width, inside)
            whole = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16
            tl.store(luma + to_y * columns + to_x, whole.to(tl.uint8), mask=inside)
            blue_sum += (-11059 * red - 21709 * green + 32768 * blue + 8421375) >> 16
            red_sum += (32768 * red - 27439 * green - 5329 * blue + 8421375) >> 16
        chroma = luma + rows * columns + y * (columns // 2) + x
        bias = 1 + (x & 1)  # the rounding alternates as in jcsample.c
        tl.store(chroma, ((blue_sum + bias) >> 2).to(tl.uint8), mask=inside)
        tl.store(chroma + rows * columns // 4, ((red_sum + bias) >> 2).to(tl.uint8), mask=inside)


@triton.jit(do_not_specialize=("bands", "height", "width"))
def _separate_bands(
    pixels, sizes, planes, chosen, bands, height, width, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """Bands -> uint8 planes [rows, columns], columns filled up to a whole block with the last pixel."""
    plane = tl.program_id(2)
    image = plane // bands
    h, w = image_size(sizes, image)
    filled = tl.cdiv(w, 8) * 8
    top, left = tl.program_id(1) * ROWS, tl.program_id(0) * COLUMNS
    if tl.load(chosen + image) & (top < h) & (left < filled):
        y, x = (top + tl.arange(0, ROWS))[:, None], (left + tl.arange(0, COLUMNS))[None, :]
        inside = (y < h) & (x < filled)
        level = _level(pixels + plane.to(tl.int64) * height * width + y * width + tl.minimum(x, w - 1), inside)
        tl.store(planes + plane.to(tl.int64) * rows * columns + y * columns + x, level.to(tl.uint8), mask=inside)


@triton.jit
def _transform(samples, SHIFT: tl.constexpr):
    """One pass of jfdctint.c: 8 samples to 8 frequencies, in which samples 4..7 mirror 3..0."""
    sums, differences, out = (), (), ()
    for k in tl.static_range(4):
        sums = sums + (samples[k] + samples[7 - k],)
        differences = differences + (samples[k] - samples[7 - k],)
    for frequency in tl.static_range(8):
        total = 1 << (SHIFT - 1)
        for k in tl.static_range(4):
            if frequency % 2 == 0:
                total += _DCT[frequency][k] * sums[k]
            else:
                total += _DCT[frequency][k] * differences[k]
        out = out + (total >> SHIFT,)
    return out


@triton.jit
def _restore(frequencies, SHIFT: tl.constexpr):
    """One pass of jidctint.c: 8 frequencies to 8 samples."""
    first, last = (), ()
    for sample in tl.static_range(4):
        even, odd = 1 << (SHIFT - 1), 0
        for k in tl.static_range(4):
            even += _DCT[2 * k][sample] * frequencies[2 * k]
            odd += _DCT[2 * k + 1][sample] * frequencies[2 * k + 1]
        first = first + ((even + odd) >> SHIFT,)
        last = ((even - odd) >> SHIFT,) + last
    return first + last


@triton.jit
def _turned(block):
    """Transpose a block of 8 x 8, given as 64 numbers."""
    out = ()
    for i in tl.static_range(64):
        out = out + (block[i % 8 * 8 + i // 8],)
    return out


@triton.jit
def _quantised(coefficient, step):
    """The nearest multiple of the step, halves away from zero (jcdctmgr.c); the coefficient is 8 times too large.

    n = |c| + 4 step and 8 step are whole, so n + 1/2 is never near a multiple: an approximate quotient is exact.
    """
    count = tl.floor((tl.abs(coefficient).to(tl.float32) + 4.0 * step + 0.5) * (0.125 / step))
    size = (count * step).to(tl.int32)
    return tl.where(coefficient < 0, -size, size)


@triton.jit
def _unpacked(line):
    """Eight bytes of an int64 as numbers about 0."""
    low, high = line.to(tl.int32), (line >> 32).to(tl.int32)
    out = ()
    for j in tl.static_range(4):
        out = out + (((low >> (8 * j)) & 255) - 128,)
    for j in tl.static_range(4):
        out = out + (((high >> (8 * j)) & 255) - 128,)
    return out


@triton.jit
def _packed(samples):
    """Eight numbers about 0 as the bytes of an int64."""
    low, high = 0, 0
    for j in tl.static_range(4):
        low |= tl.minimum(tl.maximum(samples[j] + 128, 0), 255) << (8 * j)
        high |= tl.minimum(tl.maximum(samples[4 + j] + 128, 0), 255) << (8 * j)
    return (high.to(tl.int64) << 32) | (low.to(tl.int64) & 0xFFFFFFFF)


@triton.jit(do_not_specialize=("bands",))
def _code(
    lines, sizes, chosen, qualities, tables, bands, rows, columns, COLOUR: tl.constexpr, BLOCKS: tl.constexpr
):  # fmt: skip
    """Code blocks in place; `lines` holds eight pixels in each int64. Rows under a plane repeat its last one.

    The first programs of an image take its luma (or all bands), the next ones both chroma planes.
    """
    image, program = tl.program_id(1), tl.program_id(0)
    h, w = image_size(sizes, image)
    across = tl.cdiv(w, 8)
    count = across * tl.cdiv(h, 8)  # blocks of a plane
    total, stride, size = count * bands, columns // 8, rows * columns // 8
    start = lines + image.to(tl.int64) * (size * bands)
    steps = tables + tl.minimum(tl.maximum(tl.load(qualities + image).to(tl.int32), 1), 100) * 128
    if COLOUR:
        start = lines + image.to(tl.int64) * (size * 3 // 2)
        luma = tl.cdiv(count, BLOCKS)
        total = count
        if program >= luma:
            program -= luma
            start += size
            steps += 64
            h, across = (h + 1) // 2, tl.cdiv((w + 1) // 2, 8)
            count = across * tl.cdiv(h, 8)
            total, stride, size = 2 * count, stride // 2, size // 4
    if tl.load(chosen + image) & (program * BLOCKS < total):
        number = program * BLOCKS + tl.arange(0, BLOCKS)
        valid = number < total
        number = tl.minimum(number, total - 1)
        place = number % count
        top = place // across * 8
        corner = start + number // count * size + place % across

        block = ()
        for i in tl.static_range(8):
            line = tl.load(corner + tl.minimum(top + i, h - 1) * stride)
            block = block + _transform(_unpacked(line), 11)
        block = _turned(block)  # [horizontal frequency, row]
        coded = ()
        for v in tl.static_range(8):
            column = _transform(block[8 * v : 8 * v + 8], 15)
            restored = ()
            for u in tl.static_range(8):
                restored = restored + (_quantised(column[u], tl.load(steps + (8 * u + v))),)
            coded = coded + _restore(restored, 11)
        coded = _turned(coded)
        for i in tl.static_range(8):
            line = _packed(_restore(coded[8 * i : 8 * i + 8], 18))
            tl.store(corner + (top + i) * stride, line, mask=valid)


@triton.jit
def _enlarged(plane, y, x, far_y, far_x, stride, bias, narrow):
    """A chroma plane at full size: jdsample.c's triangle filter, or copies if it has at most two columns."""
    near = tl.load(plane + y * stride + x).to(tl.int32)
    here = 3 * near + tl.load(plane + far_y * stride + x)
    there = 3 * tl.load(plane + y * stride + far_x).to(tl.int32) + tl.load(plane + far_y * stride + far_x)
    return tl.where(narrow, near, (3 * here + there + bias) >> 4) - 128


@triton.jit(do_not_specialize=("height", "width"))
def _join_colour(planes, sizes, out, chosen, height, width, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """Luma and halved chroma -> RGB."""
    image = tl.program_id(2)
    h, w = image_size(sizes, image)
    top, left = tl.program_id(1) * ROWS, tl.program_id(0) * COLUMNS
    if tl.load(chosen + image) & (top < h) & (left < w):
        y, x = (top + tl.arange(0, ROWS))[:, None], (left + tl.arange(0, COLUMNS))[None, :]
        inside = (y < h) & (x < w)
        y, x = tl.minimum(y, h - 1), tl.minimum(x, w - 1)
        half_h, half_w = (h + 1) // 2, (w + 1) // 2
        far_y = tl.minimum(tl.maximum((y >> 1) + 2 * (y & 1) - 1, 0), half_h - 1)
        far_x = tl.minimum(tl.maximum((x >> 1) + 2 * (x & 1) - 1, 0), half_w - 1)
        bias = 8 - (x & 1)
        luma = planes + image.to(tl.int64) * (rows * columns * 3 // 2)
        chroma = luma + rows * columns
        level = tl.load(luma + y * columns + x).to(tl.int32)
        blue = _enlarged(chroma, y >> 1, x >> 1, far_y, far_x, columns // 2, bias, half_w <= 2)
        chroma += rows * columns // 4
        red = _enlarged(chroma, y >> 1, x >> 1, far_y, far_x, columns // 2, bias, half_w <= 2)
        place = out + image.to(tl.int64) * 3 * height * width + y * width + x
        kind = out.dtype.element_ty
        r = level + ((91881 * red + 32768) >> 16)
        g = level + ((-22554 * blue - 46802 * red + 32768) >> 16)
        b = level + ((116130 * blue + 32768) >> 16)
        tl.store(place, tl.minimum(tl.maximum(r, 0), 255).to(kind), mask=inside)
        tl.store(place + height * width, tl.minimum(tl.maximum(g, 0), 255).to(kind), mask=inside)
        tl.store(place + 2 * height * width, tl.minimum(tl.maximum(b, 0), 255).to(kind), mask=inside)


@triton.jit(do_not_specialize=("bands", "height", "width"))
def _join_bands(
    planes, sizes, out, chosen, bands, height, width, rows, columns, ROWS: tl.constexpr, COLUMNS: tl.constexpr
):
    """uint8 planes -> bands."""
    plane = tl.program_id(2)
    image = plane // bands
    h, w = image_size(sizes, image)
    top, left = tl.program_id(1) * ROWS, tl.program_id(0) * COLUMNS
    if tl.load(chosen + image) & (top < h) & (left < w):
        y, x = (top + tl.arange(0, ROWS))[:, None], (left + tl.arange(0, COLUMNS))[None, :]
        inside = (y < h) & (x < w)
        level = tl.load(planes + plane.to(tl.int64) * rows * columns + y * columns + x, mask=inside, other=0)
        place = out + plane.to(tl.int64) * height * width + y * width + x
        tl.store(place, level.to(out.dtype.element_ty), mask=inside)


def jpeg(canvas: Canvas, quality: Tensor, chosen: Tensor | None = None) -> Canvas:
    """Compress and decompress each image at its own quality, as `jpeg.libjpeg` with 4:2:0 chroma.

    Args:
        quality: integers [B].
        chosen: bool [B], which images; the others stay as they are.

    Returns:
        A new uint8 canvas of all images, or, if some are chosen, the canvas itself, changed in place.
    """
    batch, bands, height, width = canvas.pixels.shape
    rows, columns = triton.cdiv(height, 16) * 16, triton.cdiv(width, 16) * 16
    out = torch.empty_like(canvas.pixels, dtype=torch.uint8) if chosen is None else canvas.pixels
    quality = quality.contiguous()
    chosen = torch.ones_like(quality, dtype=torch.bool) if chosen is None else chosen.contiguous()
    colour = bands == 3
    area = rows * columns * 3 // 2 if colour else rows * columns * bands
    planes = torch.empty(batch, area, dtype=torch.uint8, device=out.device)
    shape = {"height": height, "width": width, "rows": rows, "columns": columns}
    tile = {"ROWS": _ROWS, "COLUMNS": _COLUMNS, **PLAIN}
    if colour:
        halves = (triton.cdiv(columns // 2, _COLUMNS), triton.cdiv(rows // 2, _ROWS), batch)
        _separate_colour[halves](canvas.pixels, canvas.sizes, planes, chosen, **shape, **tile)
    else:
        grid = (triton.cdiv(columns, _COLUMNS), triton.cdiv(height, _ROWS), batch * bands)
        _separate_bands[grid](canvas.pixels, canvas.sizes, planes, chosen, bands, **shape, **tile)
    _code[(triton.cdiv(area // 64, _BLOCKS) + 1, batch)](
        planes.view(torch.int64), canvas.sizes, chosen, quality, quality_tables(out.device), bands, rows, columns,
        COLOUR=colour, BLOCKS=_BLOCKS, **PLAIN,
    )  # fmt: skip
    if colour:
        _join_colour[tiles(canvas, _ROWS, _COLUMNS, batch)](planes, canvas.sizes, out, chosen, **shape, **tile)
    else:
        grid = tiles(canvas, _ROWS, _COLUMNS, batch * bands)
        _join_bands[grid](planes, canvas.sizes, out, chosen, bands, **shape, **tile)
    return Canvas(out, canvas.sizes)
