"""MS-SSIM: structural similarity at several scales (Wang, Simoncelli and Bovik 2003)."""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.losses.full_precision import in_full_precision
from trainer.losses.weight import check_weight, side_problem

EXPONENTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)
"""Of each scale, the finest first; the paper's, found by people's judgement."""
WINDOW, SIGMA = 11, 1.5
C1, C2 = 0.01**2, 0.03**2  # of Wang et al. 2004, for the range [0, 1]
FLOOR = 1e-4  # a power below 1 has no finite slope at 0
LINE = [math.exp(-((tap - WINDOW // 2) ** 2) / (2 * SIGMA**2)) for tap in range(WINDOW)]
TAPS = [value / sum(LINE) for value in LINE]


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiScaleSSIM:
    """1 - MS-SSIM, each band by itself: eq. 7 of Wang et al. 2003 with eq. 6 of Wang et al. 2004 at the last scale.

    MS-SSIM = SSIM_M^w_M * prod_{j<M} CS_j^w_j, where CS is the term of contrast and structure, averaged over windows
    that fit entirely (11 x 11, Gaussian, sigma 1.5), and scale j + 1 is scale j averaged over 2 x 2 pixels. With fewer
    scales than five the exponents are divided by their sum, so that one scale is SSIM. A CS below 0.0001, as of
    opposite structures, counts as 0.0001 and has no gradient. The mean over pictures and bands, so micro-batches
    average to the batch.
    """

    weight: float = 1.0
    """The term's factor in the objective; 0 leaves it out. On a CPU 40 times the price of L1, and a
    hundredth of VGG19's."""
    scales: int = 5
    """The paper has 5, for a gt_size of 176 and more: 11 pixels times 2 for each scale after the first."""

    def __post_init__(self) -> None:
        check_weight(self.weight)
        if not 1 <= self.scales <= len(EXPONENTS):
            raise ValueError(f"scales: got {self.scales}; must be 1 to {len(EXPONENTS)}")

    def problem(self, gt_size: int) -> str | None:
        """Reason why patches of `gt_size` cannot be compared, naming the key, or None."""
        most = scales_of(gt_size)
        if self.scales <= most:
            return None
        if not most:
            return side_problem(gt_size, WINDOW)
        smallest = WINDOW * 2 ** (self.scales - 1)
        return f"scales: got {self.scales}, for patches of {smallest} pixels; {most} would do for gt_size {gt_size}"

    @in_full_precision
    def __call__(self, result: Tensor, target: Tensor) -> Tensor:
        """The unweighted loss, a scalar in [0, 1], of two float [B, C, H, W]; 0 where they are equal."""
        exponents = EXPONENTS[: self.scales]
        factor = 1.0 if self.scales == len(EXPONENTS) else 1 / sum(exponents)
        product = result.new_ones(())
        for scale, exponent in enumerate(exponents, 1):
            luminance, similarity = comparisons(result, target)
            if scale == self.scales:
                similarity = luminance * similarity
            else:
                result, target = F.avg_pool2d(result, 2), F.avg_pool2d(target, 2)
            product = product * similarity.mean((2, 3)).clamp(min=FLOOR) ** (factor * exponent)
        return 1 - product.mean()


def scales_of(gt_size: int) -> int:
    """The number of scales, up to five, that patches of `gt_size` have room for."""
    return sum(gt_size >= WINDOW * 2**scale for scale in range(len(EXPONENTS)))


def comparisons(x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """SSIM's luminance, and contrast times structure, around each pixel of float [B, C, H, W] with a whole window."""
    maps: Tensor = _Smoothing.apply(torch.stack([x, y, x * x, y * y, x * y]))  # type: ignore[no-untyped-call]
    mean_x, mean_y, xx, yy, xy = maps
    variances = (xx - mean_x.square()) + (yy - mean_y.square())
    luminance = (2 * mean_x * mean_y + C1) / (mean_x.square() + mean_y.square() + C1)
    return luminance, (2 * (xy - mean_x * mean_y) + C2) / (variances + C2)


class _Smoothing(torch.autograd.Function):
    """The Gaussian window over [..., H, W] where it fits: [..., H-10, W-10].

    Shifted sums, which no switch rounds: in TensorFloat-32 a convolution leaves a variance, as a difference of squares,
    no digits. The window is symmetric, so the gradient is smoothed by it too, with zeros around.
    """

    @staticmethod
    def forward(_: Any, maps: Tensor) -> Tensor:
        """The smoothed maps."""
        return smoothed(maps)

    @staticmethod
    def backward(_: Any, gradient: Tensor) -> Tensor:
        """The gradient of the maps."""
        return smoothed(F.pad(gradient, (WINDOW - 1,) * 4))


def smoothed(maps: Tensor) -> Tensor:
    """Smooth [N, C, H, W] by SSIM's Gaussian window, which is separable, where it fits: [N, C, H-10, W-10].

    By shifted sums: torch's float64 convolution of single channels takes ten times as long on a CPU.
    """
    for axis in (-2, -1):
        size = maps.shape[axis] - WINDOW + 1
        total = maps.narrow(axis, 0, size) * TAPS[0]
        for tap in range(1, WINDOW):
            total.add_(maps.narrow(axis, tap, size), alpha=TAPS[tap])
        maps = total
    return maps
