"""The terms of the objectives; each is a callable beside its configuration."""

from dataclasses import dataclass, field

from trainer.losses.pixel import PixelLoss


@dataclass(frozen=True, kw_only=True, slots=True)
class LossesConfig:
    """The weighted terms that the generator minimises."""

    pixel: PixelLoss = field(default_factory=PixelLoss)


__all__ = ["LossesConfig", "PixelLoss"]
