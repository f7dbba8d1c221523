"""Gamma and colour jitter: a camera's tone curve and colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from degradations.checks import check_range
from degradations.keyed_random import between
from degradations.operations.noise import to_gray
from degradations.operations.operation import Operation, OperationContext
from degradations.recipes import Recipe


@dataclass(frozen=True, slots=True)
class CameraRecipe(Recipe):
    """Parameters of a camera, float32 [B] each: exponent, factors on brightness, contrast and saturation."""

    gamma: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor

    def describe(self, i: int) -> str:
        """Sample `i` in words."""
        return f"camera γ{float(self.gamma[i]):.2f}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera(Operation[CameraRecipe]):
    """Gamma and colour jitter: a stand-in for the unknown tone curve of a camera, for any number of bands.

    In order: brightness scales, contrast stretches about the image's mean, saturation moves bands from or to their
    gray (`noise.to_gray`; nothing for one band), gamma raises to a power.
    """

    type: Literal["camera"] = "camera"
    gamma_range: tuple[float, float] = (0.9, 1.1)
    """The power that values are raised to; positive, 1 changes nothing."""
    brightness_range: tuple[float, float] = (0.95, 1.05)
    """Factor on all values; positive, 1 changes nothing."""
    contrast_range: tuple[float, float] = (0.95, 1.05)
    """Factor on the distance from the image's mean; positive, 1 changes nothing."""
    saturation_range: tuple[float, float] = (0.9, 1.1)
    """Factor on the distance of each band from gray; positive, 1 changes nothing."""

    def __post_init__(self) -> None:
        Operation.__post_init__(self)
        for name in ("gamma_range", "brightness_range", "contrast_range", "saturation_range"):
            check_range(name, getattr(self, name), 0.01, 100)

    def draw(self, u: Tensor) -> CameraRecipe:
        """Four numbers, in the order of the recipe."""
        ranges = (self.gamma_range, self.brightness_range, self.contrast_range, self.saturation_range)
        return CameraRecipe(*(between(u[:, i], *bounds) for i, bounds in enumerate(ranges)))

    def apply(self, images: Sequence[Tensor], recipe: CameraRecipe, context: OperationContext) -> list[Tensor]:
        """Change each image's colours and clamp it to [0, 1]."""
        del context
        changed = []
        for i, image in enumerate(images):
            gamma, brightness, contrast, saturation = (
                float(values[i]) for values in (recipe.gamma, recipe.brightness, recipe.contrast, recipe.saturation)
            )
            image = image * brightness
            image = torch.lerp(image.mean(), image, contrast)
            if image.shape[0] > 1:
                image = torch.lerp(to_gray(image), image, saturation)
            changed.append(image.clamp(0, 1).pow(gamma))
        return changed
