"""The angle between spectra: how a pixel's bands differ from the target's, whatever its brightness."""

from dataclasses import dataclass

import torch
from torch import Tensor

from degradations.precision import no_autocast
from trainer.losses.weight import check_weight

FLOOR = 1e-2  # of the range [0, 1]: shorter spectra have no definite direction
ROUNDING = 1e-12  # squared: keeps the root's gradient finite where two spectra agree


def spectral_angles(result: Tensor, target: Tensor) -> Tensor:
    """The angle at each pixel, float32 [B, H, W] in radians, of two float tensors [B, C, H, W] with C > 1.

    2 atan2(|u - v|, |u + v|) for the unit spectra u and v (Kahan 2006, "How futile are mindless assessments of
    roundoff", section 12), which is exact at small angles, where arccos has neither digits nor a gradient. A spectrum
    shorter than 0.01 is divided by 0.01 and not by its length, so a pixel's gradient is at most 200; one of zeros
    is at a right angle to every other, and a pixel that is zero in the target, which means no data, counts as 0.
    ValueError for one band, whose angle has no meaning.
    """
    if result.shape[1] < 2:
        raise ValueError("the spectral angle needs at least two bands")
    with no_autocast(result.device):
        u, v = _unit(result.float()), _unit(target.float())
        apart, together = (u - v).square().sum(1), (u + v).square().sum(1)
        angles = 2 * torch.atan2((apart + ROUNDING).sqrt(), (together + ROUNDING).sqrt())
        return angles * (target != 0).any(dim=1)


def _unit(spectra: Tensor) -> Tensor:
    length = (spectra.square().sum(1, keepdim=True) + ROUNDING).sqrt()
    return spectra / length.clamp(min=FLOOR)


@dataclass(frozen=True, kw_only=True, slots=True)
class SpectralAngle:
    """SAM (Kruse et al. 1993): the mean spectral angle of the result and its target."""

    weight: float = 0.05
    """The term's factor in the objective; the guide's `sam_weight`."""

    def __post_init__(self) -> None:
        check_weight(self.weight)

    def __call__(self, result: Tensor, target: Tensor) -> Tensor:
        """The unweighted mean angle over all pixels, in radians, a scalar; see `spectral_angles`."""
        return spectral_angles(result, target).mean()
