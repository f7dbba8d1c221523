"""The training stream as a function of the position: the order of the images, and the share of each rank.

Training sample number `p` counts over the whole run and all ranks. Nothing here is stored in a checkpoint:
the number of the step gives the positions, a position gives its image, and keyed words give the rest.
"""

from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache
from math import isqrt

from torch.utils.data import Sampler

from degradations.keyed_random import words


class DataPurpose(IntEnum):
    """Purposes of the trainer's keyed draws. No two share a number; `degradations` has those below 64."""

    ORDER = 64
    """Order of the images within an epoch; keyed by the epoch in place of the position."""
    CROP = 65
    """Place of a crop in its image."""
    FLIP = 66
    """Flips and transposition of a crop."""
    REPLACEMENT = 67
    """Replacement for an image that cannot be decoded."""
    POOL = 68
    """Slots of the training-pair pool that a step takes; keyed by the step in place of the position."""
    GIVEN = 69
    """Choice between a given pair and a picture to degrade."""
    MIXING = 70
    """MixUp, CutMix or CutBlur of a training pair."""


ROUNDS = 8
"""Rounds of the Feistel network; the proven constructions need four, small domains benefit from more."""


def image_at(position: int, n: int, seed: int) -> int:
    """The image, of `n`, for training sample `position`: every image once per epoch of `n` positions."""
    epoch, index = divmod(position, n)
    return shuffled(index, n, seed, epoch)


def shuffled(index: int, n: int, seed: int, epoch: int) -> int:
    """Image of `index` under a keyed permutation of `range(n)`, without ever storing the permutation.

    A generalised Feistel network (Black and Rogaway 2002, "Ciphers with arbitrary finite domains") on pairs
    below `side` = ceil(sqrt(n)) permutes `range(side**2)`; walking along the cycle until the number is below
    `n` makes it a permutation of `range(n)`. `side**2` exceeds `n` by 2 sqrt(n) at most: long walks are rare.

    Raises:
        IndexError: `index` is not in `range(n)`.
    """
    if not 0 <= index < n:
        raise IndexError(f"index {index} is not in range({n})")
    side = isqrt(n - 1) + 1
    keys = _round_keys(seed, epoch)
    while True:
        left, right = divmod(index, side)
        for key in keys:
            left, right = right, (left + _mixed(right, key)) % side
        index = left * side + right
        if index < n:
            return index


@lru_cache(maxsize=4)  # a batch may lie across two epochs
def _round_keys(seed: int, epoch: int) -> tuple[int, ...]:
    return tuple(words(seed, epoch, DataPurpose.ORDER, ROUNDS))


def _mixed(value: int, key: int) -> int:
    """A 32-bit hash of `value` under `key`: the finaliser of MurmurHash3 over their sum."""
    h = (value * 0x9E3779B1 + key) & 0xFFFFFFFF
    h = ((h ^ (h >> 16)) * 0x85EBCA6B) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 0xC2B2AE35) & 0xFFFFFFFF
    return h ^ (h >> 16)


class Positions(Sampler[list[int]]):
    """The positions of this rank's micro-batches, from a given one on, without end.

    From position `start` on, each step consumes the next `global_size` ones. A rank takes its contiguous part and hands
    it out `per_device` at a time: the union over the ranks depends neither on their number nor on accumulation.
    """

    def __init__(self, *, global_size: int, per_device: int, rank: int, world: int, start: int = 0) -> None:
        """Share a global batch out.

        Args:
            global_size: samples per optimizer step over all ranks; a multiple of `world * per_device`.
            per_device: samples per micro-batch.
            rank: this process, in `range(world)`.
            world: number of processes.
            start: the first position of the coming step, 0 for a new run.
        """
        if global_size % (world * per_device):
            share = f"{world} ranks x {per_device} per device"
            raise ValueError(f"global_size {global_size} is not a multiple of {share}")
        self.global_size, self.per_device, self.start = global_size, per_device, start
        self.rank, self.per_rank = rank, global_size // world

    def __iter__(self) -> Iterator[list[int]]:
        """Yield lists of `per_device` positions, `global_size / (world * per_device)` of them per step."""
        first = self.start + self.rank * self.per_rank
        while True:
            for start in range(first, first + self.per_rank, self.per_device):
                yield list(range(start, start + self.per_device))
            first += self.global_size
