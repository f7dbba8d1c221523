"""Pipeline steps made of the operations that the two-order degradation uses: blur, resize, fit, noise, JPEG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from degradations.checks import check_range
from degradations.keyed_random import between
from degradations.operations import blur, jpeg, noise, resize
from degradations.operations.jpeg_arithmetic import Subsampling
from degradations.operations.kernels import BlurOptions, KernelRecipe
from degradations.operations.operation import Operation, OperationContext, with_options_of
from degradations.recipes import Recipe


@dataclass(frozen=True, kw_only=True, slots=True)
class BlurStep(BlurOptions, Operation[KernelRecipe]):
    """Blur with a random kernel."""

    type: Literal["blur"] = "blur"

    def __post_init__(self) -> None:
        Operation.__post_init__(self)
        BlurOptions.__post_init__(self)

    def draw(self, u: Tensor) -> KernelRecipe:
        """See `BlurOptions.draw_kernels`."""
        return self.draw_kernels(u)

    def apply(self, images: Sequence[Tensor], recipe: KernelRecipe, context: OperationContext) -> list[Tensor]:
        """See `blur.blur`."""
        del context
        return blur.blur(images, recipe)


@dataclass(frozen=True, slots=True)
class ScaleRecipe(Recipe):
    """A factor, float64 [B], on the size that the image then has, and a filter, int64 [B], index into `MODES`."""

    scale: Tensor
    mode: Tensor

    def describe(self, i: int) -> str:
        """Sample `i` in words."""
        return f"×{float(self.scale[i]):.2f} {resize.MODES[int(self.mode[i])]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ResizeStep(Operation[ScaleRecipe]):
    """Resize by a factor on the present size. Sides are at least 8 pixels."""

    type: Literal["resize"] = "resize"
    resize_prob: tuple[float, float, float] = (0.2, 0.7, 0.1)
    """Weights of enlarging, shrinking and keeping the size."""
    resize_range: tuple[float, float] = (0.15, 1.5)
    """Smallest factor on the size, at most 1, and largest, at least 1."""
    antialias: bool = False
    """Filter bilinear and bicubic resizing when shrinking; upstream does not, nor do many real devices."""

    def __post_init__(self) -> None:
        Operation.__post_init__(self)
        with_options_of(self, resize.Resize)

    def draw(self, u: Tensor) -> ScaleRecipe:
        """See `resize.Resize.draw`."""
        drawn = with_options_of(self, resize.Resize).draw(u, 1, 1)
        return ScaleRecipe(drawn.scale, drawn.mode)

    def apply(self, images: Sequence[Tensor], recipe: ScaleRecipe, context: OperationContext) -> list[Tensor]:
        """Resize each image; the content stays in place."""
        return _resize_each(images, self.sizes(images, recipe, context), recipe.mode, self.antialias)

    def sizes(self, images: Sequence[Tensor], recipe: ScaleRecipe, context: OperationContext) -> list[tuple[int, int]]:
        """Height and width of each result."""
        del context
        scaled = []
        for image, scale in zip(images, recipe.scale.tolist(), strict=True):
            height, width = (max(int(side * scale), min(side, 8)) for side in image.shape[-2:])
            scaled.append((height, width))
        return scaled


def _resize_each(
    images: Sequence[Tensor], sizes: Sequence[tuple[int, int]], modes: Tensor, antialias: bool
) -> list[Tensor]:
    return [
        resize.resize(image, size, resize.MODES[mode], antialias=antialias and mode > 0)
        for image, size, mode in zip(images, sizes, modes.tolist(), strict=True)
    ]


@dataclass(frozen=True, slots=True)
class FitRecipe(Recipe):
    """A filter, int64 [B], index into `MODES`."""

    mode: Tensor

    def describe(self, i: int) -> str:
        """Sample `i` in words."""
        return f"fit {resize.MODES[int(self.mode[i])]}"


@dataclass(frozen=True, kw_only=True, slots=True)
class FitStep(Operation[FitRecipe]):
    """Resize to the final size, 1 / scale of the clean image, with a random filter. A pipeline needs one."""

    type: Literal["fit"] = "fit"
    antialias: bool = False
    """Filter bilinear and bicubic resizing when shrinking; upstream does not, nor do many real devices."""

    def draw(self, u: Tensor) -> FitRecipe:
        """Each filter is equally likely."""
        return FitRecipe(resize.draw_mode(u[:, 0]))

    def apply(self, images: Sequence[Tensor], recipe: FitRecipe, context: OperationContext) -> list[Tensor]:
        """Resize each image."""
        return _resize_each(images, self.sizes(images, recipe, context), recipe.mode, self.antialias)

    def sizes(self, images: Sequence[Tensor], recipe: FitRecipe, context: OperationContext) -> list[tuple[int, int]]:
        """Height and width of each result."""
        del recipe
        return [context.size] * len(images)


@dataclass(frozen=True, kw_only=True, slots=True)
class NoiseStep(Operation[noise.NoiseRecipe]):
    """Gaussian or Poisson noise, gray or coloured."""

    type: Literal["noise"] = "noise"
    gaussian_noise_prob: float = 0.5
    """Probability that the noise is Gaussian, else Poisson."""
    noise_range: tuple[float, float] = (1.0, 30.0)
    """Standard deviation of Gaussian noise, 8-bit levels."""
    poisson_scale_range: tuple[float, float] = (0.05, 3.0)
    """Factor on Poisson noise."""
    gray_noise_prob: float = 0.4
    """Probability that all channels share one noise field."""

    def __post_init__(self) -> None:
        Operation.__post_init__(self)
        self._noise()

    def _noise(self) -> noise.Noise:
        return with_options_of(self, noise.Noise)

    def draw(self, u: Tensor) -> noise.NoiseRecipe:
        """See `noise.Noise.draw`."""
        return self._noise().draw(u)

    def apply(self, images: Sequence[Tensor], recipe: noise.NoiseRecipe, context: OperationContext) -> list[Tensor]:
        """See `noise.Noise.apply`."""
        return self._noise().apply(images, recipe, context.keys, context.purpose)


@dataclass(frozen=True, kw_only=True, slots=True)
class JpegStep(Operation[jpeg.JpegRecipe]):
    """Exact JPEG, as libjpeg writes and reads it."""

    type: Literal["jpeg"] = "jpeg"
    jpeg_range: tuple[float, float] = (30, 95)
    """Lowest and highest quality, both included."""
    subsampling: Subsampling = "4:2:0"
    """Subsampling of the chroma; `4:2:0` is the default of encoders."""

    def __post_init__(self) -> None:
        Operation.__post_init__(self)
        self._jpeg()

    def _jpeg(self) -> jpeg.Jpeg:
        return with_options_of(self, jpeg.Jpeg)

    def draw(self, u: Tensor) -> jpeg.JpegRecipe:
        """See `jpeg.Jpeg.draw`."""
        return self._jpeg().draw(u)

    def apply(self, images: Sequence[Tensor], recipe: jpeg.JpegRecipe, context: OperationContext) -> list[Tensor]:
        """See `jpeg.Jpeg.apply`."""
        del context
        return self._jpeg().apply(images, recipe)


@dataclass(frozen=True, slots=True)
class NearestRecipe(Recipe):
    """Width of the blur before sampling, float32 [B], pixels."""

    sigma: Tensor

    def describe(self, i: int) -> str:
        """Sample `i` in words."""
        return f"nearest σ{float(self.sigma[i]):.1f}"


@dataclass(frozen=True, kw_only=True, slots=True)
class DownsampleNearestStep(Operation[NearestRecipe]):
    """Blur, then keep every `factor`-th pixel (BSRGAN: `utils_blindsr.py`, `downsample2`).

    The Gaussian is centred (factor - 1) / 2 pixels to the lower right of the pixel that is kept, so that the content
    stays in place. BSRGAN interpolates a shifted kernel; here the formula itself is shifted.
    """

    type: Literal["downsample_nearest"] = "downsample_nearest"
    factor: int = 4
    """Pixels a side for one that is kept."""
    sigma_range: tuple[float, float] = (0.1, 2.4)
    """Standard deviation of the Gaussian, pixels (BSRGAN: 0.1 to 0.6 times the factor)."""
    kernel_size: int = 25
    """Side of the Gaussian's kernel, pixels, odd and at least the factor."""

    def __post_init__(self) -> None:
        Operation.__post_init__(self)
        check_range("sigma_range", self.sigma_range, 1e-3, 100)
        if self.factor < 1:
            raise ValueError(f"factor must be at least 1, got {self.factor}")
        if self.kernel_size % 2 == 0 or self.kernel_size < self.factor:
            raise ValueError(f"kernel_size must be odd and at least the factor {self.factor}, got {self.kernel_size}")

    def draw(self, u: Tensor) -> NearestRecipe:
        """One number: sigma."""
        return NearestRecipe(between(u[:, 0], *self.sigma_range))

    def apply(self, images: Sequence[Tensor], recipe: NearestRecipe, context: OperationContext) -> list[Tensor]:
        """Blur and sample each image, to sides of ``round(side / factor)``."""
        del context
        sampled = []
        for image, sigma in zip(images, recipe.sigma, strict=True):
            offset = torch.arange(self.kernel_size) - self.kernel_size // 2 - (self.factor - 1) / 2
            # offset before squaring: for a narrow Gaussian between two pixels both must not underflow to 0 / 0
            exponent = offset**2 / (2 * sigma.cpu() ** 2)
            row = torch.exp(exponent.min() - exponent)
            row = (row / row.sum()).to(image.device, non_blocking=True)
            blurred = blur.filter2d(image, torch.outer(row, row))
            for axis in (1, 2):
                blurred = blurred.index_select(axis, self._sampled_pixels(image.shape[axis], image.device))
            sampled.append(blurred.clamp(0, 1))
        return sampled

    def _sampled_pixels(self, length: int, device: torch.device) -> Tensor:
        """Pixels that are kept: every factor-th, or nearest to an even spacing if the factor does not divide."""
        count = max(round(length / self.factor), 1)
        centre = (torch.arange(count, device=device) + 0.5) * (length / count) - 0.5
        return (centre - (self.factor - 1) / 2).round().long().clamp(0, length - 1)
