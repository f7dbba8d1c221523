"""The terms of the objectives; each is a callable beside its configuration."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from trainer.losses.consistency import ColourConsistency, LumaConsistency
from trainer.losses.contextual import ContextualLoss
from trainer.losses.feature_matching import FeatureMatching
from trainer.losses.focal_frequency import FocalFrequency
from trainer.losses.gradient import GradientLoss
from trainer.losses.imported import ImportedLoss
from trainer.losses.ldl import LDL
from trainer.losses.learned import DISTSLoss, LPIPSLoss
from trainer.losses.ms_ssim import MultiScaleSSIM
from trainer.losses.perceptual import PerceptualLoss
from trainer.losses.pixel import PixelLoss
from trainer.losses.spectral import SpectralAngle
from trainer.losses.variation import TotalVariation

OfPictures = MultiScaleSSIM | FocalFrequency | GradientLoss | ColourConsistency | LumaConsistency
"""Losses of a result and its target alone."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LossesConfig:
    """The weighted terms that the generator minimises, the adversarial one apart.

    They compare the result with the pixel loss's target (`l1_gt_usm`), but for `perceptual` and `contextual`
    (`percep_gt_usm`) and `feature_matching` (`gan_gt_usm`).
    """

    pixel: PixelLoss = field(default_factory=PixelLoss)
    perceptual: PerceptualLoss | LPIPSLoss | DISTSLoss | None = None
    """The distance in the features of a network; null has none."""
    sam: SpectralAngle | None = None
    """The angle between the spectra of multi-band pictures."""
    tv: TotalVariation | None = None
    """Total variation of the result."""
    ms_ssim: MultiScaleSSIM | None = None
    """1 - MS-SSIM, structural similarity at several scales (Wang et al. 2003)."""
    focal_frequency: FocalFrequency | None = None
    """Distance of spectra, where the hardest frequencies count most (Jiang et al. 2021)."""
    gradient: GradientLoss | None = None
    """Distance of the differences between neighbouring pixels (SPSR, Ma et al. 2020, or Sobel's)."""
    colour: ColourConsistency | None = None
    """Distance of local colours: Oklab's chroma."""
    luma: LumaConsistency | None = None
    """Distance of lightness: CIELAB's L."""
    ldl: LDL | None = None
    """L1 where the result looks like artifacts and not like details (Liang et al. 2022); it needs an average,
    `ema.decay`."""
    contextual: ContextualLoss | None = None
    """Distance of VGG19's features matched wherever they are in the target (Mechrez et al. 2018)."""
    feature_matching: FeatureMatching | None = None
    """Distance in the discriminator's own features (pix2pixHD, Wang et al. 2018), once it has joined."""
    modules: tuple[ImportedLoss, ...] = ()
    """Losses of other packages, or of your own: [{name: mine, path: package.module.Class, weight: 0.1}]."""

    def __post_init__(self) -> None:
        names = [loss.name for loss in self.modules]
        for name in names:
            if names.count(name) > 1 or name in TERMS:
                raise ValueError(f"modules: got the name {name}, which another loss has")

    @property
    def of_pictures(self) -> dict[str, OfPictures]:
        """The losses of result and target alone, by term, that have a weight."""
        found = {name: getattr(self, name) for name in ("ms_ssim", "focal_frequency", "gradient", "colour", "luma")}
        return {name: loss for name, loss in found.items() if loss and loss.weight}

    @property
    def terms(self) -> list[str]:
        """The names of the terms of the objective, the adversarial one apart; without weight one is left out."""
        names = ["pixel", *(self.perceptual.terms if self.perceptual else ())]
        names += [name for name in ("sam", "tv") if getattr(self, name)]
        late = {name: getattr(self, name) for name in ("ldl", "contextual", "feature_matching")}
        names += [*self.of_pictures, *(name for name, loss in late.items() if loss and loss.weight)]
        return names + [loss.name for loss in self.modules if loss.weight]

    def problems(self, bands: int, gt_size: int) -> Iterator[str]:
        """Settings that pictures of `bands` channels, or patches of `gt_size`, do not allow: sentences that begin with
        the name of the section."""
        found = {name: getattr(self, name) for name in ("perceptual", "contextual")}
        reasons = {name: loss.problem(bands) for name, loss in found.items() if loss}
        if self.sam and bands < 2:
            reasons["sam"] = "must be null for pictures of one band, which have no spectrum"
        for name, loss in (("colour", self.colour), ("luma", self.luma)):
            reasons[name] = loss.problem(bands, gt_size) if loss else None
        for name in ("ms_ssim", "focal_frequency", "gradient", "ldl"):
            reasons[name] = loss.problem(gt_size) if (loss := getattr(self, name)) else None
        for name, reason in reasons.items():
            if reason:
                yield f"{name}: {reason}" if reason.startswith("must be null") else f"{name}.{reason}"


TERMS = frozenset(
    {"pixel", "perceptual", "style", "adversarial", *LossesConfig.__dataclass_fields__} - {"modules"},
)
"""Names that terms of this program have."""

__all__ = [
    "LDL",
    "ColourConsistency",
    "ContextualLoss",
    "DISTSLoss",
    "FeatureMatching",
    "FocalFrequency",
    "GradientLoss",
    "ImportedLoss",
    "LPIPSLoss",
    "LossesConfig",
    "LumaConsistency",
    "MultiScaleSSIM",
    "PerceptualLoss",
    "PixelLoss",
    "SpectralAngle",
    "TotalVariation",
]
