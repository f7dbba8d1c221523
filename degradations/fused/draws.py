"""Building blocks of draws in Triton: the words of the generator, and blur kernels from their parameters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from degradations.constants import resident
from degradations.fused.canvas import PLAIN
from degradations.operations import kernels as reference

_SINC, _PULSE = tl.constexpr(reference.SINC), tl.constexpr(reference.PULSE)
_PI = tl.constexpr(math.pi)


def seed_words(seed: int) -> tuple[int, int]:
    """Low and high word of a seed as signed int32, so that all seeds use one compiled kernel."""
    low, high = seed & 0xFFFFFFFF, (seed >> 32) & 0xFFFFFFFF
    return low - ((low >> 31) << 32), high - ((high >> 31) << 32)


@triton.jit
def words(block, seed_low, seed_high, position, purpose):
    """`keyed_random.philox` of a stream: four words for each block, uint32 in the shape of `block`."""
    block = block.to(tl.uint32)
    nothing = block * 0
    low, high = (position & 0xFFFFFFFF).to(tl.uint32), (position >> 32).to(tl.uint32)
    return tl.philox_impl(
        block,
        nothing + low,
        nothing + high,
        nothing + purpose.to(tl.uint32),
        nothing + seed_low.to(tl.uint32, bitcast=True),
        nothing + seed_high.to(tl.uint32, bitcast=True),
    )


@lru_cache(maxsize=8)
def _sines(side: int, device: torch.device) -> Tensor:
    """Sines of the quadrature angles of `kernels._low_pass_filters`, float32 [Q]."""
    count = 13 + math.ceil(math.pi * math.hypot(side // 2, side // 2) / 4)
    angles = (torch.arange(count, dtype=torch.float64) + 0.5) * (math.pi / 2 / count)
    return resident(angles.sin().float(), device)


@triton.jit(do_not_specialize=("stride", "batch"))
def _build(
    kinds, spans, sigmas_x, sigmas_y, thetas, betas, omegas, sines, out, stride, batch,
    SIDE: tl.constexpr, SPACE: tl.constexpr, ANGLES: tl.constexpr,
):  # fmt: skip
    """One kernel, in a square whose side is a power of two; for the formulas see `degradations.operations.kernels`."""
    sample = tl.program_id(1) * stride + tl.program_id(0)
    kind, reach = tl.load(kinds + sample), tl.load(spans + sample).to(tl.int32) // 2
    place = tl.arange(0, SPACE) - SIDE // 2
    y, x = place[:, None].to(tl.float32), place[None, :].to(tl.float32)
    inside = (tl.abs(place) <= reach)[:, None] & (tl.abs(place) <= reach)[None, :]
    if kind == _PULSE:
        value = tl.where((x == 0) & (y == 0), 1.0, 0.0)
    elif kind == _SINC:
        omega = tl.load(omegas + sample)
        radius = tl.sqrt(x * x + y * y)
        bessel = tl.zeros([SPACE, SPACE], tl.float32)
        for angle in range(ANGLES):
            sine = tl.load(sines + angle)
            bessel += tl.sin(omega * (radius * sine)) * sine
        ripple = omega * (bessel / ANGLES) / (2 * _PI * tl.maximum(radius, 0.5))
        value = tl.where(radius == 0, omega * omega / (4 * _PI), ripple)
    else:
        sigma_x = tl.load(sigmas_x + sample)
        sigma_y, theta = sigma_x, 0.0
        if kind % 2 == 1:
            sigma_y, theta = tl.load(sigmas_y + sample), tl.load(thetas + sample)
        cos, sin = tl.cos(theta), tl.sin(theta)
        along, across = (cos * x + sin * y) / sigma_x, (cos * y - sin * x) / sigma_y
        m = along * along + across * across
        if kind >= 2:
            m = tl.where(m > 0, tl.exp2(tl.load(betas + sample) * tl.log2(tl.maximum(m, 1e-30))), 0.0)
        value = tl.where(kind // 2 == 2, 1 / (1 + m), tl.exp(-m / 2))
    value = tl.where(inside, value, 0.0)
    value = value / tl.sum(value)
    i = tl.arange(0, SPACE)
    held = (i < SIDE)[:, None] & (i < SIDE)[None, :]
    out += (tl.program_id(1) * batch + tl.program_id(0)) * SIDE * SIDE
    tl.store(out + i[:, None] * SIDE + i[None, :], value, mask=held)


def build_kernels(parameters: Sequence[Tensor], canvas: int) -> Tensor:
    """`kernels.build_kernels` in float32, for one or more kernels of each sample.

    Args:
        parameters: kind, size, sigma_x, sigma_y, theta, beta, omega as there, each [N, B] with the same distance from
            row to row.
        canvas: side of the result.

    Returns:
        float32 [N, B, canvas, canvas].
    """
    kind = parameters[0]
    number, batch = kind.shape
    out = torch.empty(number, batch, canvas, canvas, device=kind.device)
    sines = _sines(canvas, kind.device)
    _build[(batch, number)](
        *parameters, sines, out, kind.stride(0), batch,
        SIDE=canvas, SPACE=triton.next_power_of_2(canvas), ANGLES=len(sines), **PLAIN,
    )  # fmt: skip
    return out
