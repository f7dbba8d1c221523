"""The loss of each network: pure functions from a batch to named terms."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.adversarial.phases import Phase
from trainer.losses import LossesConfig
from trainer.losses.adversarial import AdversarialLoss
from trainer.losses.feature_matching import FeatureRecorder, feature_distance, not_recording

Distance = Callable[[Tensor, Tensor], Tensor]
"""Results and targets, [b, C, H, W], to a scalar."""
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
    contextual : the distance of features wherever they are, if `losses.contextual` has a weight
    modules : the losses of `losses.modules` that have a weight, by name
    features : the discriminator's layers, if `losses.feature_matching` has a weight
    """

    losses: LossesConfig
    perceptual: Callable[[Tensor, Tensor], dict[str, Tensor]] | None = None
    adversarial: AdversarialLoss | None = None
    pretrain_on_pixels: bool = False
    contextual: Distance | None = None
    modules: Mapping[str, Distance] = field(default_factory=dict)
    features: FeatureRecorder | None = None

    def generator(
        self,
        result: Tensor,
        targets: Targets,
        phase: Phase,
        discriminator: Judge | None,
        averaged: Callable[[], Tensor] | None = None,
    ) -> Terms:
        """The generator's terms for a result, float [b, C, H, W]; a term without weight at this step is left out.

        `discriminator` is frozen; it is not asked while `phase` is pretraining. `averaged` gives the moving average's
        result for the same input, without gradient; it is called for LDL alone.
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
        for name, loss in losses.of_pictures.items():
            terms[name] = Term(loss.weight, loss(result, targets.pixel))
        if losses.ldl and losses.ldl.weight and averaged:
            terms["ldl"] = Term(losses.ldl.weight, losses.ldl(result, targets.pixel, averaged()))
        if losses.contextual and self.contextual:
            terms["contextual"] = Term(losses.contextual.weight, self.contextual(result, targets.perceptual))
        for module in losses.modules:
            if distance := self.modules.get(module.name):
                terms[module.name] = Term(module.weight, distance(result, targets.pixel))
        if self.adversarial and discriminator and not phase.pretrain:
            terms |= self._reward(result, targets.adversarial, self.adversarial, discriminator, phase.adversarial)
        return terms

    def _reward(
        self, result: Tensor, target: Tensor, adversarial: AdversarialLoss, discriminator: Judge, share: float
    ) -> Terms:
        """The terms that the discriminator gives: it sees the result once, and the real pictures once if needed."""
        matching, recorder = self.losses.feature_matching, self.features
        recording = recorder.recording if recorder else not_recording
        real = None
        with torch.no_grad(), recording() as wanted:
            if adversarial.relativistic or recorder:
                real = discriminator(target)
        with recording() as got:
            fake = discriminator(result)
        terms = {"adversarial": Term(adversarial.weight * share, adversarial.generator(fake, real))}
        if matching and recorder:
            terms["feature_matching"] = Term(matching.weight * share, feature_distance(got, wanted))
        return terms

    def discriminator(self, real: Tensor, fake: Tensor) -> Terms:
        """The discriminator's terms for its logits of real pictures and of results."""
        assert self.adversarial is not None
        on_real, on_fake = self.adversarial.discriminator(real, fake)
        return {"real": Term(1.0, on_real), "fake": Term(1.0, on_fake)}


def logits_of(net: nn.Module, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    """The discriminator's logits of both: by one forward, which is cheaper; by two where a BatchNorm would mix them."""
    if any(isinstance(layer, _BatchNorm) and by_the_batch(layer) for layer in net.modules()):
        return net(real), net(fake)
    both = net(torch.cat([real, fake]))
    return both[: len(real)], both[len(real) :]


def by_the_batch(layer: _BatchNorm) -> bool:
    """True for a BatchNorm that normalises by the batch's own statistics; one of a frozen backbone does not."""
    return layer.training or layer.running_mean is None


def weighted_sum(terms: Terms) -> Tensor:
    """The scalar to differentiate."""
    first, *rest = (term.weight * term.value for term in terms.values())
    return sum(rest, first)
