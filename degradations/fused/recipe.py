"""`SecondOrder.draw` on the device in three launches: kernels agree to 1e-6, all else to the last bit.

A lane draws for one sample, by the formulas of the reference. The options are small tables in memory, so that one
compiled kernel serves every configuration.
"""

from __future__ import annotations

import math
from functools import lru_cache
from itertools import accumulate

import torch
import triton
import triton.language as tl
from torch import Tensor

from degradations.constants import float64_constant
from degradations.fused.canvas import PLAIN
from degradations.fused.draws import build_kernels, seed_words, words
from degradations.keyed_random import Keys, Purpose
from degradations.operations.jpeg import Jpeg, JpegRecipe
from degradations.operations.kernels import FAMILIES, PULSE, SINC, SMALLEST, BlurKernels, KernelRecipe
from degradations.operations.noise import GAUSSIAN, NONE, POISSON, Noise, NoiseRecipe
from degradations.operations.resize import Resize, ResizeRecipe
from degradations.second_order import SecondOrder, SecondOrderRecipe

_PI = tl.constexpr(math.pi)
_SMALLEST, _SINC, _PULSE = tl.constexpr(SMALLEST), tl.constexpr(SINC), tl.constexpr(PULSE)
_GAUSSIAN, _POISSON, _NONE = tl.constexpr(GAUSSIAN), tl.constexpr(POISSON), tl.constexpr(NONE)
_BLUR_1, _BLUR_2, _SINC_FILTER = (tl.constexpr(int(p)) for p in (Purpose.BLUR_1, Purpose.BLUR_2, Purpose.SINC))
_RESIZE_1, _RESIZE_2, _RESIZE_3 = (tl.constexpr(int(p)) for p in (Purpose.RESIZE_1, Purpose.RESIZE_2, Purpose.RESIZE_3))
_NOISE_1, _NOISE_2, _JPEG_1, _JPEG_2 = (
    tl.constexpr(int(p)) for p in (Purpose.NOISE_1, Purpose.NOISE_2, Purpose.JPEG_1, Purpose.JPEG_2)
)
_ORDER, _CROP = tl.constexpr(int(Purpose.ORDER)), tl.constexpr(int(Purpose.CROP))
# first place of each operation's options in the table
_RESIZES, _NOISES, _JPEGS, _FILTER, _END = (tl.constexpr(place) for place in (0, 12, 26, 32, 36))
_LANES = 32


@triton.jit
def _option(settings, place):
    """One option as float32, rounded as PyTorch rounds a number that meets a float32 tensor."""
    return tl.load(settings + place).to(tl.float32)


@triton.jit
def _unit(word):
    return ((word >> 9).to(tl.int32).to(tl.float32) + 0.5) * 1.1920928955078125e-7


@triton.jit
def _four(block, seed_low, seed_high, position, purpose):
    """Uniform numbers 4 block .. 4 block + 3 of each position."""
    nothing = position * 0
    a, b, c, d = words(nothing + block, seed_low, seed_high, position, nothing + purpose)
    return _unit(a), _unit(b), _unit(c), _unit(d)


@triton.jit
def _size(uniform, count):
    return 2 * tl.floor(uniform * count).to(tl.int64) + _SMALLEST


@triton.jit
def _blur(settings, seed_low, seed_high, position, shared, purpose):
    """`BlurKernels.draw`: kind, size, both sigmas, theta, beta, omega."""
    u0, u1, u2, u3 = _four(0, seed_low, seed_high, position, purpose)
    u4, u5, u6, u7 = _four(1, seed_low, seed_high, position, purpose)
    u8 = _four(2, seed_low, seed_high, position, purpose)[0]
    u9 = _four(2, seed_low, seed_high, shared, purpose)[1]
    size = _size(u0, _option(settings, 0))
    kind = position * 0
    for family in range(tl.load(settings + 9).to(tl.int32)):
        number = tl.load(settings + 11 + 2 * family).to(tl.int64)
        kind = tl.where(u2 >= _option(settings, 10 + 2 * family), number, kind)
    plateau = kind // 2 == 2
    low = tl.where(plateau, _option(settings, 7), _option(settings, 5))
    high = tl.where(plateau, _option(settings, 8), _option(settings, 6))
    beta = tl.where(u6 < 0.5, low + u7 * (1.0 - low), 1.0 + u7 * (high - 1.0))
    lowest = tl.where(size < 13, _PI / 3, _PI / 5)
    kind = tl.where(u1 < _option(settings, 1), _SINC, kind)
    kind = tl.where(u9 < _option(settings, 2), kind, _PULSE)
    sigma, span = _option(settings, 3), _option(settings, 4)
    omega = lowest - u8 * (lowest - _PI)
    return kind, size, sigma + u3 * span, sigma + u4 * span, u5 * (2 * _PI) - _PI, beta, omega


@triton.jit
def _resize(settings, seed_low, seed_high, position, purpose):
    """`Resize.draw`: factor, height, width, mode."""
    drawn = _four(0, seed_low, seed_high, position, purpose)
    place = drawn[1].to(tl.float64)
    low, high = tl.load(settings + 2), tl.load(settings + 3)
    kept = tl.where(drawn[0] < _option(settings, 1), low + place * (1.0 - low), 1.0)
    factor = tl.where(drawn[0] < _option(settings, 0), 1.0 + place * (high - 1.0), kept)
    height = tl.maximum(tl.floor(factor * tl.load(settings + 4)).to(tl.int64), 1)
    width = tl.maximum(tl.floor(factor * tl.load(settings + 5)).to(tl.int64), 1)
    return factor, height, width, tl.floor(drawn[2] * 3).to(tl.int64)


@triton.jit
def _noise(settings, seed_low, seed_high, position, shared, purpose):
    """`Noise.draw`: kind, strength, gray."""
    drawn = _four(0, seed_low, seed_high, position, purpose)
    gaussian = _four(0, seed_low, seed_high, shared, purpose)[0] < _option(settings, 0)
    sigma = _option(settings, 1) + drawn[1] * _option(settings, 2)
    factor = _option(settings, 3) + drawn[1] * _option(settings, 4)
    kind = tl.where(drawn[3] < _option(settings, 6), tl.where(gaussian, _GAUSSIAN, _POISSON), _NONE)
    return kind.to(tl.int64), tl.where(gaussian, sigma, factor), drawn[2] < _option(settings, 5)


@triton.jit
def _quality(settings, seed_low, seed_high, position, purpose):
    """`Jpeg.draw` for libjpeg."""
    u0 = _four(0, seed_low, seed_high, position, purpose)[0]
    drawn = tl.floor(_option(settings, 0) + u0 * _option(settings, 1)).to(tl.int64)
    return tl.minimum(drawn, tl.load(settings + 2).to(tl.int64))


@triton.jit
def _draw_filters(
    settings, settings1, settings2, whole, numbers, seed_low, seed_high, position, shared, stride, held
):  # fmt: skip
    """Rows of the three filters: `whole` kinds, then sizes; `numbers` sigmas, theta, beta, omega."""
    for order in tl.static_range(2):
        if order == 0:
            drawn = _blur(settings1, seed_low, seed_high, position, position, _BLUR_1)
        else:
            drawn = _blur(settings2, seed_low, seed_high, position, shared, _BLUR_2)
        tl.store(whole + order * stride, drawn[0], mask=held)
        tl.store(whole + (3 + order) * stride, drawn[1], mask=held)
        for number in tl.static_range(5):
            tl.store(numbers + (3 * number + order) * stride, drawn[2 + number], mask=held)
    drawn = _four(0, seed_low, seed_high, position, _SINC_FILTER)
    tl.store(whole + 2 * stride, tl.where(drawn[1] < _option(settings, 0), _SINC, _PULSE).to(tl.int64), mask=held)
    tl.store(whole + 5 * stride, _size(drawn[0], _option(settings, 1)), mask=held)
    for number in tl.static_range(4):  # theta is zero, sigmas and beta are one
        tl.store(numbers + (3 * number + 2) * stride, drawn[0] * 0 + (0.0 if number == 2 else 1.0), mask=held)
    tl.store(numbers + 14 * stride, _option(settings, 2) + drawn[2] * _option(settings, 3), mask=held)


@triton.jit(do_not_specialize=("seed_low", "seed_high", "batch", "stride"))
def _draw(
    positions, settings, settings1, settings2, whole, sizes, numbers, scales, flags, seed_low, seed_high, batch, stride,
    SHARED: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """Rows of the tables in the order in which `draw` reads them, `stride` elements apart. SHARED: ``draws: batch``."""
    sample = tl.program_id(0) * LANES + tl.arange(0, LANES)
    held = sample < batch
    position = tl.load(positions + sample, mask=held, other=0)
    nothing = position * 0
    shared = position
    if SHARED:
        shared = nothing + tl.load(positions)
    whole, sizes, numbers = whole + sample, sizes + 2 * sample, numbers + sample
    scales, flags = scales + sample, flags + sample
    _draw_filters(
        settings + _FILTER, settings1, settings2, whole, numbers, seed_low, seed_high, position, shared, stride, held
    )
    for order in tl.static_range(2):
        resize, noise, jpeg = (
            settings + _RESIZES + 6 * order,
            settings + _NOISES + 7 * order,
            settings + _JPEGS + 3 * order,
        )
        if order == 0:
            factor, height, width, mode = _resize(resize, seed_low, seed_high, shared, _RESIZE_1)
            kind, strength, gray = _noise(noise, seed_low, seed_high, position, shared, _NOISE_1)
            quality = _quality(jpeg, seed_low, seed_high, position, _JPEG_1)
        else:
            factor, height, width, mode = _resize(resize, seed_low, seed_high, shared, _RESIZE_2)
            kind, strength, gray = _noise(noise, seed_low, seed_high, position, shared, _NOISE_2)
            quality = _quality(jpeg, seed_low, seed_high, position, _JPEG_2)
        tl.store(scales + order * stride, factor, mask=held)
        tl.store(sizes + 2 * order * stride, height, mask=held)
        tl.store(sizes + 2 * order * stride + 1, width, mask=held)
        tl.store(whole + (6 + order) * stride, mode, mask=held)
        tl.store(whole + (9 + order) * stride, kind, mask=held)
        tl.store(whole + (11 + order) * stride, quality, mask=held)
        tl.store(numbers + (15 + order) * stride, strength, mask=held)
        tl.store(flags + order * stride, gray, mask=held)

    last = settings + _END  # the last resize: factor, height, width; the crop: number of places on each axis
    tl.store(scales + 2 * stride, nothing.to(tl.float64) + tl.load(last), mask=held)
    tl.store(sizes + 4 * stride, nothing + tl.load(last + 1).to(tl.int64), mask=held)
    tl.store(sizes + 4 * stride + 1, nothing + tl.load(last + 2).to(tl.int64), mask=held)
    drawn = _four(0, seed_low, seed_high, shared, _RESIZE_3)
    tl.store(whole + 8 * stride, tl.floor(drawn[0] * 3).to(tl.int64), mask=held)
    drawn = _four(0, seed_low, seed_high, shared, _ORDER)
    tl.store(flags + 2 * stride, drawn[0] < 0.5, mask=held)
    drawn = _four(0, seed_low, seed_high, position, _CROP)
    for axis in tl.static_range(2):
        corner = tl.floor(drawn[axis].to(tl.float64) * tl.load(last + 3 + axis)).to(tl.int64)
        tl.store(whole + (13 + axis) * stride, corner, mask=held)


def _span(low: float, high: float) -> tuple[float, float]:
    return low, high - low


def _sizes(canvas: int) -> int:
    return (canvas - SMALLEST) // 2 + 1


def _blur_options(kernels: BlurKernels) -> tuple[float, ...]:
    """Options of `_blur`; each family follows the uniform number from which on it is chosen."""
    total, running = math.fsum(kernels.kernel_prob), accumulate(kernels.kernel_prob[:-1])
    starts = (-1.0, *(weight / total for weight in running))
    families = (FAMILIES.index(name) for name in kernels.kernel_list)
    return (
        _sizes(kernels.blur_kernel_size), kernels.sinc_prob, kernels.blur_prob, *_span(*kernels.blur_sigma),
        *kernels.betag_range, *kernels.betap_range, len(starts),
        *(number for pair in zip(starts, families, strict=True) for number in pair),
    )  # fmt: skip


def _resize_options(resize: Resize, height: int, width: int) -> tuple[float, ...]:
    up, down, _ = resize.resize_prob
    total = math.fsum(resize.resize_prob)
    return (up / total, (up + down) / total, *resize.resize_range, height, width)


def _noise_options(noise: Noise) -> tuple[float, ...]:
    ranges = (*_span(*noise.noise_range), *_span(*noise.poisson_scale_range))
    return (noise.gaussian_noise_prob, *ranges, noise.gray_noise_prob, noise.noise_prob)


def _jpeg_options(jpeg: Jpeg) -> tuple[float, ...]:
    low, high = (round(quality) for quality in jpeg.jpeg_range)
    return low, high - low + 1, high


@lru_cache(maxsize=64)
def _options(
    config: SecondOrder, height: int, width: int, scale: int, side: int
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]:
    """The options of `_draw` and of both its blurs."""
    blur1, resize1, noise1, jpeg1 = config.first()
    blur2, resize2, noise2, jpeg2, sinc = config.second()
    lq = (height // scale, width // scale)
    options = (
        *_resize_options(resize1, height, width), *_resize_options(resize2, *lq),
        *_noise_options(noise1), *_noise_options(noise2), *_jpeg_options(jpeg1), *_jpeg_options(jpeg2),
        sinc.final_sinc_prob, _sizes(sinc.blur_kernel_size),
        *_span(math.pi / 3, math.pi), 1 / scale, *lq, *(length - side + 1 for length in lq),
    )  # fmt: skip
    return options, _blur_options(blur1), _blur_options(blur2)


def draw(
    config: SecondOrder, keys: Keys, height: int, width: int, scale: int, side: int
) -> tuple[SecondOrderRecipe, tuple[Tensor, Tensor]]:
    """`SecondOrder.draw` and `draw_crops` on the device of the keys; kernels agree to 1e-6, all else to the last bit.

    Args:
        side: of the crop, low-quality pixels.

    Returns:
        The recipe and the corners (top, left) of the crops.
    """
    positions, count = keys.positions.contiguous(), len(keys)
    device, stride = positions.device, -(-count // 16) * 16  # rows are aligned for wide loads
    whole = torch.empty(15, stride, dtype=torch.int64, device=device)
    sizes = torch.empty(3, stride, 2, dtype=torch.int64, device=device)
    numbers = torch.empty(17, stride, device=device)
    scales = torch.empty(3, stride, dtype=torch.float64, device=device)
    flags = torch.empty(3, stride, dtype=torch.bool, device=device)
    options = (float64_constant(part, device) for part in _options(config, height, width, scale, side))
    _draw[(triton.cdiv(count, _LANES),)](
        positions, *options, whole, sizes, numbers, scales, flags, *seed_words(keys.seed), count, stride,
        SHARED=config.draws == "batch", LANES=_LANES, num_warps=1, **PLAIN,
    )  # fmt: skip
    filters = [*whole[:6].view(2, 3, stride), *numbers[:15].view(5, 3, stride)]
    blur1 = _kernels([part[:1, :count] for part in filters], config.blur_kernel_size)
    blur2, sinc = _kernels([part[1:, :count] for part in filters], config.blur_kernel_size2)
    w, n, f = whole[:, :count], numbers[:, :count], flags[:, :count]
    resizes = [ResizeRecipe(*part) for part in zip(scales[:, :count], sizes[:, :count], w[6:9], strict=True)]
    noises = [NoiseRecipe(*part) for part in zip(w[9:11], n[15:17], f[:2], strict=True)]
    recipe = SecondOrderRecipe(
        blur1=blur1[0],
        resize1=resizes[0],
        noise1=noises[0],
        jpeg1=JpegRecipe(w[11]),
        blur2=blur2,
        resize2=resizes[1],
        noise2=noises[1],
        jpeg2=JpegRecipe(w[12]),
        resize3=resizes[2],
        sinc=sinc,
        jpeg_last=f[2],
        positions=positions,
        seed=keys.seed,
        height=height,
        width=width,
        scale=scale,
    )
    return recipe, (w[13], w[14])


def _kernels(parameters: list[Tensor], canvas: int) -> list[KernelRecipe]:
    """Kernels of one or more filters; parameters [N, B] in the order of `KernelRecipe`."""
    kernels = build_kernels(parameters, canvas)
    return [KernelRecipe(*parts) for parts in zip(kernels, *parameters, strict=True)]
