"""MixUp, CutMix and CutBlur of training pairs, on the device; at most one of them for each pair.

The laws are those of clovaai/cutblur's `augments.py` (Yoo, Ahn and Sohn, "Rethinking Data Augmentation for Image
Super-resolution", CVPR 2020), with these differences: every pair has a draw of its own, keyed by its place in the run,
so that the result does not depend on processes, `batch.per_device` or accumulation; the partner of a place is its even
or odd neighbour, always of the same micro-batch; and CutBlur, which there needs inputs enlarged to the ground truth's
size, puts the ground truth averaged over each pixel of the low-quality grid into the box, and leaves the rest alone.
Every result is exact in float32, so that all devices round it alike.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Literal

import torch
from einops import reduce
from torch import Tensor

from degradations.keyed_random import Keys, uniforms
from trainer.distributed.batch import BatchConfig, BatchPlan
from trainer.images.levels import bits
from trainer.images.positions import DataPurpose
from trainer.mistakes import Mistake
from trainer.pairs.synthesis import PairBatch

SHARES = 256
"""Steps of MixUp's share: with 16 bits of a picture, products and sums have at most 24, which float32 holds exactly."""
SPREAD = 0.01
"""Standard deviation of a box's side about alpha, as a share of the picture's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MixUpConfig:
    """A pair blended with its partner, both pictures by one share, of the law Beta(alpha, alpha)."""

    prob: float
    """Share of the pairs that are blended."""
    alpha: float = 1.2
    """Below 1 mostly one of the two shows, above 1 mostly both."""

    def __post_init__(self) -> None:
        _check_probability(self.prob)
        if not 0 < self.alpha < math.inf:
            raise ValueError(f"alpha must be positive, got {self.alpha}")


@dataclass(frozen=True, kw_only=True, slots=True)
class CutMixConfig:
    """A box of a pair replaced by its partner's, in both pictures at the same place."""

    prob: float
    """Share of the pairs that get a box."""
    alpha: float = 0.7
    """Sides of the box over the picture's, on average."""

    def __post_init__(self) -> None:
        _check_probability(self.prob)
        _check_side(self.alpha)


@dataclass(frozen=True, kw_only=True, slots=True)
class CutBlurConfig:
    """A box of the low-quality picture, or all but the box, replaced by the ground truth at its resolution."""

    prob: float
    """Share of the pairs that get a box."""
    alpha: float = 0.7
    """Sides of the box over the picture's, on average."""

    def __post_init__(self) -> None:
        _check_probability(self.prob)
        _check_side(self.alpha)


@dataclass(frozen=True, kw_only=True, slots=True)
class MixingConfig:
    """Augmentations that mix training pairs, at most one for each pair."""

    mixup: MixUpConfig | None = None
    """Blends pairs; the `prob` of the three add up to 1 at most."""
    cutmix: CutMixConfig | None = None
    """Puts a box of another pair into a pair."""
    cutblur: CutBlurConfig | None = None
    """Puts clean pixels into a low-quality picture, which teaches a network where to leave a picture alone."""

    def __post_init__(self) -> None:
        total = sum(getattr(self, f.name).prob for f in fields(self) if getattr(self, f.name))
        if total > 1 + 1e-9:
            raise ValueError(f"mixup.prob, cutmix.prob and cutblur.prob must add up to 1 at most, got {total:g}")

    @property
    def pairs_up(self) -> bool:
        """True if a pair may need a partner."""
        return bool((self.mixup and self.mixup.prob) or (self.cutmix and self.cutmix.prob))

    def problem(self, batch: BatchConfig) -> str | None:
        """The reason why no number of processes could train with this batch."""
        if self.pairs_up and batch.global_size % 2:
            return f"got {batch.global_size}; mixup and cutmix (mixing) pair neighbours up, so it must be even"
        return None

    def check(self, plan: BatchPlan) -> None:
        """Raise Mistake where a micro-batch has an odd number of pairs, one of which would have no partner."""
        if not self.pairs_up or not plan.per_device % 2:
            return
        share = plan.per_process
        even = ", ".join(str(size) for size in range(2, share + 1, 2) if not share % size)
        ways = f"batch.per_device: {even} would do" if even else f"{2 * plan.processes} must divide batch.global_size"
        raise Mistake(
            f"mixing: mixup and cutmix pair neighbours up, and a micro-batch has {plan.per_device} ({plan}); {ways}."
        )


def _check_probability(prob: float) -> None:
    if not 0 <= prob <= 1:
        raise ValueError(f"prob must be in [0, 1], got {prob}")


def _check_side(alpha: float) -> None:
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha must be in (0, 1], got {alpha}")


@dataclass(frozen=True, slots=True)
class Mix:
    """The augmentation drawn for one pair."""

    kind: Literal["none", "mixup", "cutmix", "cutblur"] = "none"
    share: float = 1.0
    """MixUp: the pair's own share, a multiple of 1 / SHARES."""
    box: tuple[int, int, int, int] = (0, 0, 0, 0)
    """Top, bottom, left and right of the box in the low-quality picture, ends exclusive."""
    inside: bool = True
    """CutBlur: the box is clean, else all around it."""


def draw(config: MixingConfig, keys: Keys, height: int, width: int) -> list[Mix]:
    """The augmentation of each of the places `keys`, for low-quality pictures [height, width]."""
    cpu = Keys(keys.seed, keys.positions.cpu())
    return [_mix(config, row, height, width) for row in uniforms(cpu, DataPurpose.MIXING, 6).tolist()]


def _mix(config: MixingConfig, drawn: Sequence[float], height: int, width: int) -> Mix:
    choice, first, second, y, x, side = drawn
    mixup, cutmix, cutblur = config.mixup, config.cutmix, config.cutblur
    if mixup and choice < mixup.prob:
        return Mix("mixup", share=round(symmetric_beta(mixup.alpha, first, second) * SHARES) / SHARES)
    choice -= mixup.prob if mixup else 0
    if cutmix and choice < cutmix.prob:
        return Mix("cutmix", box=_box(cutmix.alpha, first, second, y, x, height, width))
    choice -= cutmix.prob if cutmix else 0
    if cutblur and choice < cutblur.prob:
        return Mix("cutblur", box=_box(cutblur.alpha, first, second, y, x, height, width), inside=side < 0.5)
    return Mix()


def symmetric_beta(alpha: float, first: float, second: float) -> float:
    """A number of the law Beta(alpha, alpha), made of two uniform ones in (0, 1) without rejection.

    Devroye, "Non-uniform random variate generation" (1986), IX.4: Bailey's polar method for Student's t, whose
    distribution with 2 alpha degrees of freedom is this one stretched.
    """
    power, cosine = first ** (1 / alpha), math.cos(2 * math.pi * second)
    root = math.sqrt(1 - power) * cosine
    return 0.5 + 0.5 * root / math.sqrt(power + root * root)


def _box(
    alpha: float, first: float, second: float, y: float, x: float, height: int, width: int
) -> tuple[int, int, int, int]:
    """A box within a picture, with sides about `alpha` of its own, by uniform numbers in (0, 1)."""
    normal = math.sqrt(-2 * math.log(first)) * math.cos(2 * math.pi * second)
    ratio = min(max(alpha + SPREAD * normal, 0), 1)
    h, w = max(1, int(height * ratio)), max(1, int(width * ratio))
    top, left = int(y * (height - h + 1)), int(x * (width - w + 1))
    return top, top + h, left, left + w


@torch.no_grad()
def mixed(pairs: PairBatch, config: MixingConfig, keys: Keys) -> PairBatch:
    """The pairs of a micro-batch with the augmentations drawn for their places, of the same type; `pairs` stay.

    Pair number i has `keys.positions[i]`, and number i ^ 1 for its partner, as it was before any mixing.

    Raises:
        Mistake: the number of pairs is odd, and pairs are mixed with each other.
    """
    if config.pairs_up and len(pairs.lq) % 2:
        raise Mistake(
            f"mixing: got {len(pairs.lq)} pairs at a time; mixup and cutmix pair neighbours up, so it must be even."
        )
    draws = draw(config, keys, *pairs.lq.shape[-2:])
    lq, gt = pairs.lq, pairs.gt
    apply: Callable[[PairBatch, Tensor, list[Mix]], tuple[Tensor, Tensor]]
    for kind, apply in (("mixup", _blended), ("cutmix", _cut), ("cutblur", _cleaned)):
        if rows := [number for number, mix in enumerate(draws) if mix.kind == kind]:
            here = torch.tensor(rows).to(lq.device, non_blocking=True)
            new = apply(pairs, here, [draws[number] for number in rows])
            lq, gt = (
                bits(old).index_copy(0, here, bits(part)).view(old.dtype)
                for old, part in zip((lq, gt), new, strict=True)
            )
    return PairBatch(lq, gt, pairs.positions)


def _blended(pairs: PairBatch, here: Tensor, mixes: list[Mix]) -> tuple[Tensor, Tensor]:
    share = torch.tensor([mix.share for mix in mixes]).to(here.device, non_blocking=True)[:, None, None, None]

    def blend(pictures: Tensor) -> Tensor:
        own, other = (_at(pictures, rows).float() for rows in (here, here ^ 1))
        return (share * own + (1 - share) * other).round().to(pictures.dtype)

    return blend(pairs.lq), blend(pairs.gt)


def _cut(pairs: PairBatch, here: Tensor, mixes: list[Mix]) -> tuple[Tensor, Tensor]:
    boxes = torch.tensor([mix.box for mix in mixes]).to(here.device, non_blocking=True)

    def cut(pictures: Tensor, scale: int) -> Tensor:
        other, own = (bits(_at(pictures, rows)) for rows in (here ^ 1, here))
        return torch.where(_inside(boxes * scale, pictures), other, own).view(pictures.dtype)

    return cut(pairs.lq, 1), cut(pairs.gt, _scale(pairs))


def _cleaned(pairs: PairBatch, here: Tensor, mixes: list[Mix]) -> tuple[Tensor, Tensor]:
    boxes = torch.tensor([mix.box for mix in mixes]).to(here.device, non_blocking=True)
    outside = torch.tensor([not mix.inside for mix in mixes]).to(here.device, non_blocking=True)[:, None, None, None]
    gt, s = _at(pairs.gt, here), _scale(pairs)
    clean = (reduce(gt.float(), "b c (h y) (w x) -> b c h w", "sum", y=s, x=s) / s**2).round().to(gt.dtype)
    replaced = _inside(boxes, pairs.lq) ^ outside
    return torch.where(replaced, bits(clean), bits(_at(pairs.lq, here))).view(gt.dtype), gt


def _at(pictures: Tensor, rows: Tensor) -> Tensor:
    return bits(pictures)[rows].view(pictures.dtype)


def _scale(pairs: PairBatch) -> int:
    return pairs.gt.shape[-1] // pairs.lq.shape[-1]


def _inside(boxes: Tensor, pictures: Tensor) -> Tensor:
    """bool [n, 1, H, W]: the pixels of pictures [..., H, W] that lie in boxes int64 [n, 4]."""
    top, bottom, left, right = boxes[:, :, None].unbind(1)
    y, x = (torch.arange(side, device=boxes.device) for side in pictures.shape[-2:])
    return (((y >= top) & (y < bottom))[:, :, None] & ((x >= left) & (x < right))[:, None, :])[:, None]
