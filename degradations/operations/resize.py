"""Resizing with a random scale and filter: the strongest part of the degradation.

`Resize` follows Real-ESRGAN's draw: up, down or keep, then a scale, then area, bilinear or bicubic interpolation
(PyTorch's, without anti-aliasing unless asked for).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from degradations.checks import check_range, check_weights
from degradations.keyed_random import between, choose
from degradations.recipes import Recipe

MODES = ("area", "bilinear", "bicubic")
Geometry = Literal["aligned", "realesrgan"]


@dataclass(frozen=True, slots=True)
class ResizeRecipe(Recipe):
    """Sizes and filters of a batch.

    Args:
        scale: float64 [B], the factor drawn (against the size that the draw is relative to).
        size: int64 [B, 2], height and width of the result, pixels.
        mode: int64 [B], index into `MODES`.
    """

    scale: Tensor
    size: Tensor
    mode: Tensor

    def describe(self, i: int) -> str:
        """Sample `i` in words."""
        return f"×{float(self.scale[i]):.2f} {MODES[int(self.mode[i])]}"


def resize(
    image: Tensor, size: tuple[int, int], mode: str, *, antialias: bool = False, scale: float | None = None
) -> Tensor:
    """Interpolate one image.

    Args:
        image: float32 [C, H, W].
        size: height and width of the result.
        mode: one of `MODES`. Area is the mean over the source pixels that a target pixel touches.
        antialias: widen bilinear and bicubic filters when shrinking, as Pillow does.
        scale: sample with step ``1 / scale`` in place of ``H / size[0]``: upstream's geometry, which lets the result
            drift against its source by up to one target pixel; `size` must then be ``floor(H * scale)``.

    Returns:
        float32 [C, *size]; bicubic overshoots the input's range.
    """
    if size == tuple(image.shape[-2:]):
        return image  # with a scale too, as PyTorch on a GPU, where upstream runs; its bicubic on a CPU resamples
    if mode == "area":
        return F.adaptive_avg_pool2d(image[None], size)[0]
    if scale is None:
        return F.interpolate(image[None], size=size, mode=mode, antialias=antialias)[0]
    return F.interpolate(image[None], scale_factor=scale, mode=mode, antialias=antialias)[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class Resize:
    """Random resize, as either order of Real-ESRGAN (defaults: its first).

    Args:
        resize_prob: weights of up, down, keep.
        resize_range: smallest and largest factor, (a <= 1, b >= 1). Up draws from (1, b), down from (a, 1).
        geometry: "aligned" keeps the content in place; "realesrgan" samples with step 1 / scale as upstream's first
            resize does, and shifts content by up to 6 GT pixels at the far edge.
        antialias: see `resize`.
    """

    resize_prob: tuple[float, float, float] = (0.2, 0.7, 0.1)
    resize_range: tuple[float, float] = (0.15, 1.5)
    geometry: Geometry = "aligned"
    antialias: bool = False

    def __post_init__(self) -> None:
        check_weights("resize_prob", self.resize_prob, 3)
        check_range("resize_range", self.resize_range, 1e-3, 1e3)
        if not self.resize_range[0] <= 1 <= self.resize_range[1]:
            raise ValueError(f"resize_range must contain 1, got {self.resize_range!r}")

    def draw(self, u: Tensor, height: float, width: float) -> ResizeRecipe:
        """Sizes from uniform numbers, float32 [B, 3] or more columns.

        Args:
            height, width: what the factor multiplies, pixels; sides are rounded down and at least 1.
        """
        low, high = self.resize_range
        direction = choose(u[:, 0], self.resize_prob)
        place = u[:, 1].double()
        up, down = between(place, 1.0, high), between(place, low, 1.0)
        scale = torch.where(direction == 0, up, torch.where(direction == 1, down, 1.0))
        sides = torch.stack([scale * height, scale * width], dim=1)
        return ResizeRecipe(scale, sides.floor().to(torch.int64).clamp_min(1), draw_mode(u[:, 2]))

    def apply(self, images: Sequence[Tensor], recipe: ResizeRecipe) -> list[Tensor]:
        """Resize image `i`, float32 [C, H, W], to the size and with the mode of sample `i`."""
        sizes, modes, scales = recipe.size.tolist(), recipe.mode.tolist(), recipe.scale.tolist()
        by_step = self.geometry == "realesrgan"
        return [
            resize(image, (h, w), MODES[m], antialias=self.antialias and m > 0, scale=s if by_step else None)
            for image, (h, w), m, s in zip(images, sizes, modes, scales, strict=True)
        ]


def draw_mode(uniform: Tensor) -> Tensor:
    """Uniform numbers [B] -> int64 [B], each of `MODES` equally likely."""
    return (uniform * len(MODES)).floor().to(torch.int64)
