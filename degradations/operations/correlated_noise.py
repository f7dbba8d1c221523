"""Noise of cameras and scanners: Gaussian noise correlated between channels, and speckle."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from degradations.checks import check_range
from degradations.keyed_random import Keys, between, normal_fields
from degradations.operations.operation import Operation, OperationContext
from degradations.recipes import Recipe


@dataclass(frozen=True, slots=True)
class StrengthRecipe(Recipe):
    """Noise of a batch: sigma in 8-bit levels, float32 [B], and the correlation of channels, float32 [B] in [0, 1]."""

    sigma: Tensor
    correlation: Tensor

    def describe(self, i: int) -> str:
        """Sample `i` in words."""
        return f"noise {float(self.sigma[i]):.0f} ρ{float(self.correlation[i]):.1f}"


def _fields(images: Sequence[Tensor], correlations: Sequence[float], context: OperationContext) -> list[Tensor]:
    """Standard normal fields [C, H, W] whose channels have the pairwise correlations given.

    One field more than there are channels is drawn, and mixed into all: sqrt(rho) common + sqrt(1 - rho) own.
    """
    device = images[0].device
    keys = Keys(context.keys.seed, context.keys.positions.to(device, non_blocking=True))
    shapes = [(image.shape[0] + 1, *image.shape[-2:]) for image in images]
    fields = normal_fields(keys, context.purpose, [math.prod(shape) for shape in shapes])
    mixed = []
    for field, shape, rho in zip(fields, shapes, correlations, strict=True):
        own = field.view(shape)
        mixed.append(torch.add(math.sqrt(1 - rho) * own[1:], own[:1], alpha=math.sqrt(rho)))
    return mixed


@dataclass(frozen=True, kw_only=True, slots=True)
class _CorrelatedFields(Operation[StrengthRecipe]):
    """Options and draws of noise with one random correlation between all pairs of channels."""

    noise_range: tuple[float, float] = (2.0, 25.0)
    """Standard deviation, 8-bit levels."""
    correlation_range: tuple[float, float] = (0.0, 1.0)
    """Correlation between channels, within [0, 1]."""

    def __post_init__(self) -> None:
        Operation.__post_init__(self)
        check_range("noise_range", self.noise_range, 0, 255)
        check_range("correlation_range", self.correlation_range, 0, 1)

    def draw(self, u: Tensor) -> StrengthRecipe:
        """Two numbers: sigma, correlation."""
        return StrengthRecipe(between(u[:, 0], *self.noise_range), between(u[:, 1], *self.correlation_range))


@dataclass(frozen=True, kw_only=True, slots=True)
class CorrelatedNoise(_CorrelatedFields):
    """Gaussian noise with a random correlation between all pairs of channels, for any number of bands.

    BSRGAN draws a random 3 x 3 covariance (`utils_blindsr.py`, `add_Gaussian_noise`); a single correlation keeps what
    matters, that channels are neither independent nor equal, and has a meaning that can be read off a recipe.
    """

    type: Literal["correlated_noise"] = "correlated_noise"

    def apply(self, images: Sequence[Tensor], recipe: StrengthRecipe, context: OperationContext) -> list[Tensor]:
        """Add noise to each image and clamp it to [0, 1]."""
        fields = _fields(images, recipe.correlation.tolist(), context)
        return [
            torch.add(image, field, alpha=sigma / 255).clamp_(0, 1)
            for image, field, sigma in zip(images, fields, recipe.sigma.tolist(), strict=True)
        ]


@dataclass(frozen=True, kw_only=True, slots=True)
class Speckle(_CorrelatedFields):
    """Multiplicative noise, image * (1 + sigma n), as of coherent light or radar (`add_speckle_noise` of BSRGAN)."""

    type: Literal["speckle"] = "speckle"
    noise_range: tuple[float, float] = (2.0, 25.0)
    """Standard deviation at white, 8-bit levels."""

    def apply(self, images: Sequence[Tensor], recipe: StrengthRecipe, context: OperationContext) -> list[Tensor]:
        """Scale each pixel at random and clamp it to [0, 1]."""
        fields = _fields(images, recipe.correlation.tolist(), context)
        return [
            torch.addcmul(image, image, field, value=sigma / 255).clamp_(0, 1)
            for image, field, sigma in zip(images, fields, recipe.sigma.tolist(), strict=True)
        ]
