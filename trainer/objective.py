"""The loss of each network: pure functions from a batch to named terms."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.adversarial.phases import Phase
from trainer.losses import LossesConfig
from trainer.losses.adversarial import AdversarialLoss

Judge = Callable[[Tensor], Tensor]
"""Pictures [b, C, H, W] to logits [b, ...]."""


@dataclass(frozen=True, slots=True)
class Term:
    """One part of an objective: its weight and its value before weighting, a scalar on the device."""

    weight: float
    value: Tensor


Terms = dict[str, Term]


@dataclass(frozen=True, slots=True)
class Targets:
    """The ground truth of each loss, sharpened or not; all float [b, C, H, W] in [0, 1]."""

    pixel: Tensor
    perceptual: Tensor
    adversarial: Tensor


@dataclass(frozen=True, slots=True)
class Objective:
    """The terms of both networks.

    Parameters
    ----------
    perceptual : the distances of two pictures' features by name, if `losses.perceptual` is given
    adversarial : the adversarial loss, if there is a discriminator
    pretrain_on_pixels : the pixel term alone while the generator is pretrained
    """

    losses: LossesConfig
    perceptual: Callable[[Tensor, Tensor], dict[str, Tensor]] | None = None
    adversarial: AdversarialLoss | None = None
    pretrain_on_pixels: bool = False

    def generator(self, result: Tensor, targets: Targets, phase: Phase, discriminator: Judge | None) -> Terms:
        """The generator's terms for a result, float [b, C, H, W]; a term without weight at this step is left out.

        `discriminator` is frozen; it is not asked while `phase` is pretraining.
        """
        losses = self.losses
        terms = {"pixel": Term(losses.pixel.weight, losses.pixel(result, targets.pixel))}
        if phase.pretrain and self.pretrain_on_pixels:
            return terms
        if losses.perceptual and self.perceptual:
            distances = self.perceptual(result, targets.perceptual)
            terms |= {name: Term(losses.perceptual.terms[name], value) for name, value in distances.items()}
        if losses.sam:
            terms["sam"] = Term(losses.sam.weight, losses.sam(result, targets.pixel))
        if losses.tv:
            terms["tv"] = Term(losses.tv.weight, losses.tv(result))
        if self.adversarial and discriminator and not phase.pretrain:
            weight = self.adversarial.weight * phase.adversarial
            terms["adversarial"] = Term(weight, self._reward(result, targets, discriminator))
        return terms

    def _reward(self, result: Tensor, targets: Targets, discriminator: Judge) -> Tensor:
        assert self.adversarial is not None
        real = None
        if self.adversarial.relativistic:
            with torch.no_grad():
                real = discriminator(targets.adversarial)
        return self.adversarial.generator(discriminator(result), real)

    def discriminator(self, real: Tensor, fake: Tensor) -> Terms:
        """The discriminator's terms for its logits of real pictures and of results."""
        assert self.adversarial is not None
        on_real, on_fake = self.adversarial.discriminator(real, fake)
        return {"real": Term(1.0, on_real), "fake": Term(1.0, on_fake)}


def logits_of(net: nn.Module, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The discriminator's logits of both: by one forward, which is cheaper; by two where a BatchNorm would mix them."""
    if any(isinstance(layer, _BatchNorm) for layer in net.modules()):  # ours, and those of an imported network
        return net(real), net(fake)
    both = net(torch.cat([real, fake]))
    return both[: len(real)], both[len(real) :]


def weighted_sum(terms: Terms) -> Tensor:
    """The scalar to differentiate."""
    first, *rest = (term.weight * term.value for term in terms.values())
    return sum(rest, first)
