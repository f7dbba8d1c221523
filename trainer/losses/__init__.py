"""The terms of the objectives; each is a callable beside its configuration."""

from dataclasses import dataclass, field

from trainer.losses.learned import DISTSLoss, LPIPSLoss
from trainer.losses.perceptual import PerceptualLoss
from trainer.losses.pixel import PixelLoss
from trainer.losses.spectral import SpectralAngle
from trainer.losses.variation import TotalVariation


@dataclass(frozen=True, kw_only=True, slots=True)
class LossesConfig:
    """The weighted terms that the generator minimises, the adversarial one apart."""

    pixel: PixelLoss = field(default_factory=PixelLoss)
    perceptual: PerceptualLoss | LPIPSLoss | DISTSLoss | None = None
    """The distance in the features of a network; null has none."""
    sam: SpectralAngle | None = None
    """The angle between the spectra of multi-band pictures."""
    tv: TotalVariation | None = None
    """Total variation of the result."""


__all__ = [
    "DISTSLoss",
    "LPIPSLoss",
    "LossesConfig",
    "PerceptualLoss",
    "PixelLoss",
    "SpectralAngle",
    "TotalVariation",
]
