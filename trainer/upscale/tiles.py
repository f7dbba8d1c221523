"""Tiling: the receptive radius of a network, and parts that together give the result of the whole picture.

A network of convolutions, each with zeros around its input, gives for a part what it gives for the whole, except near
the part's inner borders. So a part is read with a margin of the receptive radius, and the margin of its result is
dropped.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

FARTHEST = 1024
"""Pixels up to which a receptive radius is searched for; larger ones count as unbounded. RRDBNet with 23 blocks has
349."""


@torch.inference_mode()
def receptive_radius(net: nn.Module, scale: int, bands: int, multiple: int) -> int | None:
    """Receptive radius of `net` in input pixels, rounded up to `multiple`; None if it is unbounded or cannot be found.

    It is found by how far NaN spreads, which no weight can hide, on a strip along each axis. `net` is in float32, in
    evaluation mode and on the CPU, whose convolutions are direct ones, and treats all places alike that lie
    `multiple` apart.
    """
    radii = [_radius_along(net, scale, bands, multiple, axis) for axis in (2, 3)]
    finite = [radius for radius in radii if radius is not None]
    return max(finite) if len(finite) == len(radii) else None


def _radius_along(net: nn.Module, scale: int, bands: int, multiple: int, axis: int) -> int | None:
    reach = 64
    while reach <= FARTHEST:
        before = -(-reach // multiple) * multiple
        shape = [1, bands, multiple, multiple]
        shape[axis] = before + multiple + before
        strip = torch.zeros(shape)
        strip.narrow(axis, before, multiple).fill_(torch.nan)
        try:
            touched = net(strip).isnan()[0].any(dim=0).any(dim=3 - axis).nonzero()
        except Exception:  # an imported network may refuse so narrow a strip, as those that pad by reflection do
            return None
        if not len(touched):  # the network removes NaN from its input
            return None
        first, last = int(touched[0]), int(touched[-1])
        if first > 0 and last < scale * shape[axis] - 1:
            far = max(scale * before - first, last + 1 - scale * (before + multiple))
            return -(-far // (scale * multiple)) * multiple
        reach *= 4
    return None


@dataclass(frozen=True, slots=True)
class Part:
    """A rectangle of a picture, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def split(self, side: int, multiple: int) -> Iterator["Part"]:
        """Parts of about equal size and of at most `side`, cut at multiples of `multiple`, from the top left on."""
        for top, height in _cuts(self.height, side, multiple):
            for left, width in _cuts(self.width, side, multiple):
                yield Part(self.top + top, self.left + left, height, width)

    def grown(self, margin: int, whole: "Part") -> "Part":
        """The rectangle with a margin on each side, as far as `whole` goes."""
        top, left = max(self.top - margin, whole.top), max(self.left - margin, whole.left)
        bottom = min(self.top + self.height + margin, whole.top + whole.height)
        right = min(self.left + self.width + margin, whole.left + whole.width)
        return Part(top, left, bottom - top, right - left)

    def times(self, scale: int) -> "Part":
        """The same rectangle of the picture enlarged."""
        return Part(self.top * scale, self.left * scale, self.height * scale, self.width * scale)

    def within(self, other: "Part") -> tuple[slice, slice]:
        """Its rows and columns, counted from where `other` begins."""
        top, left = self.top - other.top, self.left - other.left
        return slice(top, top + self.height), slice(left, left + self.width)


def _cuts(length: int, side: int, multiple: int) -> Iterator[tuple[int, int]]:
    """Begin and length of each piece."""
    number = -(-length // side)
    step = max(multiple, -(-length // (number * multiple)) * multiple)
    for begin in range(0, length, step):
        yield begin, min(step, length - begin)


def blend_weights(part: Part, kept: Part, whole: Part, fade: int) -> Tensor:
    """Blending weights of a part in its result `kept`, float32 [kept.height, kept.width]: 1 within, and a slope of
    `fade` to both sides of each inner border.

    Parts that cover `whole` without overlapping, each grown by `fade`, have weights that sum to 1 everywhere.
    """
    down = _slopes(part.top, part.height, kept.top, kept.height, whole.height, fade)
    across = _slopes(part.left, part.width, kept.left, kept.width, whole.width, fade)
    return down[:, None] * across


def _slopes(begin: int, length: int, kept_begin: int, kept_length: int, whole: int, fade: int) -> Tensor:
    places = torch.arange(kept_begin, kept_begin + kept_length) + 0.5

    def ramp(border: int) -> Tensor:
        return ((places - border) / (2 * fade) + 0.5).clamp(0, 1)

    first = torch.ones_like(places) if begin == 0 else ramp(begin)
    return first if begin + length == whole else first - ramp(begin + length)
