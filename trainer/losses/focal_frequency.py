"""Focal frequency loss: distance of spectra, where the hardest frequencies count most (Jiang et al. 2021, ICCV)."""

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from trainer.losses.full_precision import in_full_precision
from trainer.losses.weight import check_weight


@dataclass(frozen=True, kw_only=True, slots=True)
class FocalFrequency:
    """mean over (u, v) of w |F_result - F_target|^2 with w = |F_result - F_target|^alpha / its maximum (eq. 7 to 9).

    F is the orthonormal discrete Fourier transform of each band, and w has no gradient. The maximum is that of one
    picture's band (and patch), as in the authors' code, so micro-batches average to the batch.
    """

    weight: float = 1.0
    """The term's factor in the objective; 0 leaves it out. On a CPU 5 times the price of L1."""
    alpha: float = 1.0
    """The exponent of w: 0 is the squared distance of the pictures, more looks at the hardest frequencies alone."""
    patch_factor: int = 1
    """Each side is cut into so many patches, which have spectra of their own; it must divide gt_size."""

    def __post_init__(self) -> None:
        check_weight(self.weight)
        if self.alpha < 0:
            raise ValueError(f"alpha: got {self.alpha}; must be at least 0")
        if self.patch_factor < 1:
            raise ValueError(f"patch_factor: got {self.patch_factor}; must be at least 1")

    def problem(self, gt_size: int) -> str | None:
        """Reason why patches of `gt_size` cannot be compared, naming the key, or None."""
        return (
            f"patch_factor: got {self.patch_factor}; must divide gt_size {gt_size}"
            if gt_size % self.patch_factor
            else None
        )

    @in_full_precision
    def __call__(self, result: Tensor, target: Tensor) -> Tensor:
        """The unweighted loss, a scalar of at least 0, of two float [B, C, H, W]; 0 where they are equal."""
        pattern = "batch band (row h) (column w) -> batch row column band h w"
        patches = rearrange(result - target, pattern, row=self.patch_factor, column=self.patch_factor)
        half = torch.fft.rfft2(patches, norm="ortho")  # of real numbers: the other half is its conjugate
        squared = half.real.square() + half.imag.square()
        with torch.no_grad():
            weights = squared ** (self.alpha / 2)
            weights = weights / weights.amax((-2, -1), keepdim=True).clamp(min=torch.finfo(weights.dtype).tiny)
        focal = weights * squared
        once = focal[..., 0].sum() + (focal[..., -1].sum() if patches.shape[-1] % 2 == 0 else 0)
        total: Tensor = (2 * focal.sum() - once) / patches.numel()
        return total
