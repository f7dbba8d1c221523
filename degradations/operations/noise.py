"""Gaussian and Poisson noise, coloured or gray, with a field of its own for every sample.

Models and ranges are those of BasicSR (`basicsr/data/degradations.py`, `random_add_gaussian_noise_pt` and
`random_add_poisson_noise_pt`). Noise is made from standard normal fields, so that it is keyed and can be replayed.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from degradations.checks import check_probability, check_range
from degradations.keyed_random import Keys, between, normal_fields
from degradations.recipes import Recipe

GAUSSIAN, POISSON, NONE = 0, 1, 2
_CHUNK = 1 << 15  # numbers for one pass over Poisson's formula on a CPU: its dozen arrays then stay in the cache
_LUMA = (0.2989, 0.587, 0.114)  # torchvision's rgb_to_grayscale, which upstream calls


@dataclass(frozen=True, slots=True)
class NoiseRecipe(Recipe):
    """Noise of a batch.

    Args:
        kind: int64 [B], `GAUSSIAN`, `POISSON` or `NONE`.
        strength: float32 [B], sigma in 8-bit levels for Gaussian noise, the factor on Poisson noise.
        gray: bool [B], one field for all channels.
    """

    kind: Tensor
    strength: Tensor
    gray: Tensor

    def describe(self, i: int) -> str:
        """Sample `i` in words; empty if there is no noise."""
        kind, strength = int(self.kind[i]), float(self.strength[i])
        if kind == NONE:
            return ""
        text = f"gauss {strength:.0f}" if kind == GAUSSIAN else f"poisson {strength:.2f}"
        return text + (" gray" if bool(self.gray[i]) else "")


def to_gray(image: Tensor) -> Tensor:
    """[C, H, W] -> [1, H, W]: luma of three channels, the mean of any other number."""
    if image.shape[0] != 3:
        return image.mean(0, keepdim=True)
    red, green, blue = image[0:1], image[1:2], image[2:3]
    return _LUMA[0] * red + _LUMA[1] * green + _LUMA[2] * blue


def add_gaussian(image: Tensor, sigma: float, field: Tensor) -> Tensor:
    """Additive noise.

    Args:
        image: float32 [C, H, W] in [0, 1].
        sigma: standard deviation, 8-bit levels.
        field: standard normal, float32 [C, H, W] or [1, H, W] (gray).

    Returns:
        float32 [C, H, W], clamped to [0, 1].
    """
    return torch.add(image, field, alpha=sigma / 255).clamp_(0, 1)


def quantise(image: Tensor) -> Tensor:
    """Clamp to [0, 1] and round to k / 255."""
    return (image * 255).round_().clamp_(0, 255).div_(255)


def poisson_peak(levels: Tensor) -> Tensor:
    """Photons at white: 2^ceil(log2(number of distinct 8-bit levels)), a float32 scalar tensor.

    Upstream's rule, with levels counted over all channels of the sample.

    Args:
        levels: k / 255, any shape.
    """
    whole = (levels * 255).round_().to(torch.uint8).flatten()
    if whole.is_cuda:  # bincount would synchronise there; a scatter is slower on a CPU
        present = torch.zeros(256, device=whole.device).scatter_(0, whole.long(), 1.0)
    else:
        present = torch.bincount(whole, minlength=256)
    return torch.exp2(present.count_nonzero().float().log2().ceil())


def poisson_quantile(rate: Tensor, normal: Tensor) -> Tensor:
    """Poisson numbers from standard normal ones, through the quantile function's expansion for large rates.

    Giles (2016), "Algorithm 955: Approximation of the inverse Poisson cumulative distribution function", eq. 6-8.
    Total variation distance to the Poisson law: 6e-3 at rate 1, 2e-4 at 8, below 1e-4 from 16 on. (At rate 0.3 the
    mean is 4 % high; rates below 1 occur in images of few levels only.)

    Args:
        rate: float32, at least 0. normal: float32 of the same shape.

    Returns:
        float32 of whole numbers, 0 where the rate is below 0.02.
    """
    safe = rate.clamp_min(0.02)
    root = safe.sqrt()
    square = normal * normal
    wide = square + 2
    count = (root * normal).add_(safe).add_(wide / 6)
    count.add_(wide.mul_(normal).div_(root.mul_(-72)))
    third = (square * square).mul_(3).add_(square.mul_(7)).sub_(16).div_(safe.mul_(810))
    count.add_(third).floor_().clamp_min_(0)
    return count.mul_(rate >= 0.02)


def add_poisson(image: Tensor, scale: float, field: Tensor) -> Tensor:
    """Shot noise: ``image + scale * (Poisson(levels * peak) / peak - levels)``, levels being the image in 8 bits.

    Args:
        image: float32 [C, H, W] in [0, 1].
        scale: factor on the noise.
        field: standard normal, float32 [C, H, W] or [1, H, W] (gray: noise of the luma, the same in all channels).

    Returns:
        float32 [C, H, W], clamped to [0, 1].
    """
    levels = quantise(to_gray(image) if field.shape[0] < image.shape[0] else image)
    peak = poisson_peak(levels)
    size = levels.numel() if levels.is_cuda else _CHUNK
    noise = torch.cat([
        poisson_quantile(part * peak, normal).div_(peak).sub_(part)
        for part, normal in zip(*(torch.split(whole.flatten(), size) for whole in (levels, field)), strict=True)
    ])  # fmt: skip
    return torch.add(image, noise.view_as(levels), alpha=scale).clamp_(0, 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Noise:
    """Random Gaussian or Poisson noise, as either order of Real-ESRGAN (defaults: its first).

    Args:
        noise_prob: probability of any noise (upstream: always).
        gaussian_noise_prob: probability that the noise is Gaussian, else Poisson.
        noise_range: sigma of Gaussian noise, 8-bit levels.
        poisson_scale_range: factor on Poisson noise.
        gray_noise_prob: probability that all channels share one field.
    """

    noise_prob: float = 1.0
    gaussian_noise_prob: float = 0.5
    noise_range: tuple[float, float] = (1.0, 30.0)
    poisson_scale_range: tuple[float, float] = (0.05, 3.0)
    gray_noise_prob: float = 0.4

    def __post_init__(self) -> None:
        for name in ("noise_prob", "gaussian_noise_prob", "gray_noise_prob"):
            check_probability(name, getattr(self, name))
        check_range("noise_range", self.noise_range, 0, 255)
        check_range("poisson_scale_range", self.poisson_scale_range, 0, math.inf)

    def draw(self, u: Tensor) -> NoiseRecipe:
        """Noise parameters from uniform numbers, float32 [B, 4] or more columns: family, strength, gray, any."""
        kind = torch.where(u[:, 0] < self.gaussian_noise_prob, GAUSSIAN, POISSON)
        strength = torch.where(
            kind == GAUSSIAN,
            between(u[:, 1], *self.noise_range),
            between(u[:, 1], *self.poisson_scale_range),
        )
        kind = torch.where(u[:, 3] < self.noise_prob, kind, NONE)
        return NoiseRecipe(kind, strength, u[:, 2] < self.gray_noise_prob)

    def apply(self, images: Sequence[Tensor], recipe: NoiseRecipe, keys: Keys, purpose: int) -> list[Tensor]:
        """Add noise `i` to image `i`, float32 [C, H, W] in [0, 1].

        Args:
            keys, purpose: the key of the noise fields, which are made on the images' device.
        """
        kinds, strengths, grays = recipe.kind.tolist(), recipe.strength.tolist(), recipe.gray.tolist()
        shapes = [(1 if gray else image.shape[0], *image.shape[-2:]) for image, gray in zip(images, grays, strict=True)]
        counts = [0 if kind == NONE else math.prod(shape) for kind, shape in zip(kinds, shapes, strict=True)]
        positions = keys.positions.to(images[0].device, non_blocking=True)
        fields = normal_fields(Keys(keys.seed, positions), purpose, counts)
        noisy = []
        for image, kind, strength, field, shape in zip(images, kinds, strengths, fields, shapes, strict=True):
            if kind == NONE:
                noisy.append(image)
            else:
                add = add_gaussian if kind == GAUSSIAN else add_poisson
                noisy.append(add(image, strength, field.view(shape)))
        return noisy
