"""Counter-based random numbers: every draw is a pure function of (seed, position, purpose).

The generator is Philox 4x32-10 (Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3",
SC 2011; constants and test vectors from the Random123 library). It has no state: sample `position` gets the same
numbers on any rank, in any batch, in any order, on any device, before and after a restart.

The counter is ``(index, position low, position high, purpose)`` and the key is ``(seed low, seed high)``: one block
of four 32-bit words per index, word ``j`` of a stream being lane ``j % 4`` of block ``j // 4``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from typing import TypeVar

import torch
from torch import Tensor

from degradations.constants import int64_constant

WORD = 0xFFFFFFFF
_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_ROUNDS = 10
_CHUNK = 1 << 15  # blocks per pass over a noise field on a CPU: 256 KiB an array, so that the rounds stay in the cache
_GPU_CHUNK = 1 << 22  # where launches cost more than memory

Word = TypeVar("Word", int, Tensor)


class Purpose(IntEnum):
    """Purpose of a draw, a word of the counter. Numbers 0..63 belong to `degradations`; other packages use 64 on."""

    BLUR_1 = 0
    RESIZE_1 = 1
    NOISE_1 = 2
    NOISE_1_FIELD = 3
    JPEG_1 = 4
    BLUR_2 = 5
    RESIZE_2 = 6
    NOISE_2 = 7
    NOISE_2_FIELD = 8
    JPEG_2 = 9
    RESIZE_3 = 10
    SINC = 11
    ORDER = 12
    CROP = 13
    PIPELINE = 16  # a general pipeline uses PIPELINE .. 63, two for each operation


@dataclass(frozen=True, slots=True)
class Keys:
    """Seed and positions of the samples to draw.

    Args:
        seed: the run's seed; its lower 64 bits are used.
        positions: int64 [B], at least 0, the number of each sample in the whole run. Draws are made on its device.
    """

    seed: int
    positions: Tensor

    def __post_init__(self) -> None:
        if self.positions.dtype != torch.int64 or self.positions.ndim != 1:
            raise ValueError(f"positions must be int64 [B], got {self.positions.dtype} {tuple(self.positions.shape)}")

    def __len__(self) -> int:
        return self.positions.shape[0]


def _multiply(word: Word, multiplier: int) -> tuple[Word, Word]:
    """High and low 32 bits of an unsigned 32 x 32 bit product, without leaving signed 64 bits.

    Both multipliers have their top bit set, so ``multiplier - 2**32`` is a small negative number and
    ``word * (multiplier - 2**32)`` stays above -2**62; the floor shift then lacks exactly one `word`. A product that
    wrapped would be undefined behaviour in compiled C++, and Inductor did turn it into wrong draws.
    """
    product = word * (multiplier - (1 << 32))
    high = product >> 32
    high += word  # augmented assignments work in place on tensors, in half of the time, and rebind ints
    product &= WORD
    return high, product


def philox(counter: tuple[Word, Word, Word, Word], key: tuple[int, int]) -> tuple[Word, Word, Word, Word]:
    """Philox 4x32-10 on Python ints or on int64 tensors of one shape.

    Args:
        counter: four words in [0, 2**32).
        key: two ints in [0, 2**32).

    Returns:
        Four words in [0, 2**32), int64 if the counter is a tensor.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(_ROUNDS):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        high1 ^= c1
        high1 ^= k0
        high0 ^= c3
        high0 ^= k1
        c0, c1, c2, c3 = high1, low1, high0, low0
        k0, k1 = (k0 + _WEYL[0]) & WORD, (k1 + _WEYL[1]) & WORD
    return c0, c1, c2, c3


def _key(seed: int) -> tuple[int, int]:
    return seed & WORD, (seed >> 32) & WORD


def words(seed: int, position: int, purpose: int, count: int) -> list[int]:
    """`count` unsigned 32-bit words of one sample, in pure Python (about 10 microseconds for four)."""
    key = _key(seed)
    drawn: list[int] = []
    for index in range(-(-count // 4)):
        drawn.extend(philox((index, position & WORD, position >> 32, purpose), key))
    return drawn[:count]


def _to_unit(drawn: Tensor) -> Tensor:
    """Words -> float32 in (0, 1): odd multiples of 2**-24, so neither end occurs and every value is exact."""
    return ((drawn >> 9).to(torch.float32) + 0.5) * 2.0**-23


def uniform_table(keys: Keys, purposes: Sequence[int], count: int) -> Tensor:
    """Uniform numbers for several purposes in one pass of the generator.

    Returns:
        float32 [len(purposes), B, count] in (0, 1), on the device of the keys; row `p` equals
        ``uniforms(keys, purposes[p], count)``.
    """
    device = keys.positions.device
    shape = (len(purposes), len(keys), -(-count // 4))
    index = torch.arange(shape[2], device=device).expand(shape)
    purpose = int64_constant(tuple(int(p) for p in purposes), device)[:, None, None].expand(shape)
    position = keys.positions[:, None].expand(shape)
    lanes = philox((index, position & WORD, position >> 32, purpose), _key(keys.seed))
    return _to_unit(torch.stack(lanes, dim=-1).flatten(2)[..., :count])


def uniforms(keys: Keys, purpose: int, count: int) -> Tensor:
    """float32 [B, count] in (0, 1), made of the words that `words` returns for each position."""
    return uniform_table(keys, (purpose,), count)[0]


def _circle(steps: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine of angles that are counted in 4096ths of a turn, from 1/2 on: float32."""
    angle = (steps.to(torch.float32) + 0.5).mul_(2 * math.pi / (1 << 12))
    return angle.cos(), angle.sin_()


@lru_cache(maxsize=1)
def _whole_circle() -> tuple[Tensor, Tensor]:
    """`_circle` of all angles that there are, on the CPU, where to look them up takes half of the time."""
    return _circle(torch.arange(1 << 12))


def _fill_normals(out: Tensor, lanes: Sequence[Tensor]) -> None:
    """Standard normals [N, 8] from four words [N] (Box and Muller 1958).

    The upper 20 bits of a word are a radius (at most 5.4), the lower 12 an angle: two normals for a word. For noise
    in 8-bit images that is as good as two words for a pair, and Philox is most of the work.
    """
    plain = out.device.type == "cpu" and not torch.compiler.is_compiling()
    tables = _whole_circle() if plain else None
    for column, lane in zip((0, 2, 4, 6), lanes, strict=True):
        angle = lane & 0xFFF
        cosine, sine = [table.index_select(0, angle) for table in tables] if tables else _circle(angle)
        radius = ((lane >> 12).to(torch.float32) + 0.5).mul_(2.0**-20).log_().mul_(-2).sqrt_()
        torch.mul(radius, cosine, out=out[:, column])
        torch.mul(radius, sine, out=out[:, column + 1])


def _runs(blocks: Sequence[int], limit: int) -> Iterator[list[tuple[int, int, int]]]:
    """Cut blocks 0 .. blocks[i] of every sample i into runs (i, start, stop), at most `limit` blocks at a time."""
    group: list[tuple[int, int, int]] = []
    room = limit
    for i, count in enumerate(blocks):
        start = 0
        while start < count:
            stop = min(count, start + room)
            group.append((i, start, stop))
            room -= stop - start
            start = stop
            if room == 0:
                yield group
                group, room = [], limit
    if group:
        yield group


def normal_fields(keys: Keys, purpose: int, counts: Sequence[int]) -> list[Tensor]:
    """Standard normal numbers, `counts[i]` for sample `i`: noise fields of images of different sizes.

    Element `e` of sample `i` is a function of (seed, position i, purpose, e) alone. Exact on one kind of device;
    between kinds the last bits of log, cos and sin may differ.

    Returns:
        One float32 [counts[i]] for each sample, on the device of the keys.
    """
    if len(counts) != len(keys):
        raise ValueError(f"counts must name a size for each of {len(keys)} samples, got {len(counts)}")
    positions = keys.positions
    blocks = [-(-count // 8) for count in counts]
    drawn = torch.empty(sum(blocks), 8, device=positions.device)
    done = 0
    for group in _runs(blocks, _CHUNK if positions.device.type == "cpu" else _GPU_CHUNK):
        index = torch.cat([torch.arange(start, stop, device=positions.device) for _, start, stop in group])
        position = torch.cat([positions[i].expand(stop - start) for i, start, stop in group])
        counter = (index, position & WORD, position >> 32, torch.full_like(index, int(purpose)))
        _fill_normals(drawn[done : done + len(index)], philox(counter, _key(keys.seed)))
        done += len(index)
    fields = torch.split(drawn.flatten(), [8 * n for n in blocks])
    return [field[:count] for field, count in zip(fields, counts, strict=True)]


def normals(keys: Keys, purpose: int, count: int) -> Tensor:
    """Standard normal numbers, float32 [B, count]: `normal_fields` where all samples have one size."""
    return torch.stack(normal_fields(keys, purpose, [count] * len(keys)))


def choose(uniform: Tensor, weights: Sequence[float]) -> Tensor:
    """Index of a choice for each uniform number, with probabilities proportional to `weights`.

    Args:
        uniform: float32 [B] in (0, 1).
        weights: non-negative, with a positive sum.

    Returns:
        int64 [B] in [0, len(weights)).
    """
    total, running, drawn = math.fsum(weights), 0.0, torch.zeros_like(uniform, dtype=torch.int64)
    for weight in weights[:-1]:
        running += weight
        drawn = drawn + (uniform >= running / total)
    return drawn


def between(uniform: Tensor, low: float | Tensor, high: float | Tensor) -> Tensor:
    """Uniform numbers of (0, 1) stretched to (low, high)."""
    return low + uniform * (high - low)
