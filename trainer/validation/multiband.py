"""Quality of multi-band pictures, in their own units: per-band PSNR and SSIM, SAM in degrees, ERGAS.

Reflectances are neither rounded to 8 bits nor clamped, so these figures do not compare with those of
`trainer.validation.psnr_ssim`. Everything is float64 on one picture.
"""

import torch
from torch import Tensor

from trainer.losses.ms_ssim import WINDOW
from trainer.validation.psnr_ssim import PSNR_CAP, similarity


def band_psnr(result: Tensor, target: Tensor, data_range: float = 1.0) -> Tensor:
    """10 log10(data_range^2 / MSE) of each band of two float [C, H, W]: float64 [C] in dB, at most 100."""
    error = (result.double() - target.double()).square().flatten(1).mean(1)
    ratio: Tensor = 10 * torch.log10(data_range**2 / error)  # inf where they are equal
    return ratio.clamp(max=PSNR_CAP)


def band_ssim(result: Tensor, target: Tensor, data_range: float = 1.0) -> Tensor:
    """Structural similarity (Wang et al. 2004) of each band of two float [C, H, W]: float64 [C], 1 where they agree.

    Gaussian window of 11 x 11, sigma 1.5, only where it fits; ValueError for less than 11 x 11 pixels.
    """
    if min(result.shape[1:]) < WINDOW:
        raise ValueError(f"SSIM needs {WINDOW}x{WINDOW} pixels, got {result.shape[2]}x{result.shape[1]}")
    return similarity(result.double(), target.double(), data_range).flatten(1).mean(1)


def sam_degrees(result: Tensor, target: Tensor) -> float:
    """The mean angle between spectra in degrees (Kruse et al. 1993) of two float [C, H, W] with C > 1.

    Over the pixels at which both spectra have a direction; 0 if there are none.
    """
    x, y = result.double().flatten(1), target.double().flatten(1)
    known = (x != 0).any(0) & (y != 0).any(0)
    u, v = (torch.nn.functional.normalize(spectra[:, known], dim=0) for spectra in (x, y))
    angles = 2 * torch.atan2((u - v).norm(dim=0), (u + v).norm(dim=0))
    return float(torch.rad2deg(angles).sum() / max(1, angles.numel()))


def ergas(result: Tensor, target: Tensor, scale: int) -> float:
    """Relative dimensionless global error (Wald 2000): 100/scale sqrt(mean over bands of MSE / mean(target)^2).

    Of two float [C, H, W]; 0 is perfect, less is better. Bands whose target is 0 on average have no relative error and
    are left out; NaN if all are.
    """
    x, y = result.double().flatten(1), target.double().flatten(1)
    level = y.mean(1)
    known = level != 0
    relative = (x - y).square().mean(1)[known] / level[known] ** 2
    return float(100 / scale * relative.mean().sqrt())
