"""Adversarial losses of generator and discriminator, and R1: logits in, unweighted scalars out, in float32 under
autocast too."""

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.losses.weight import check_weight

GANType = Literal["vanilla", "lsgan", "hinge", "wgan", "wgan_softplus"]
LABELLED = ("vanilla", "lsgan")  # the losses that compare with a label
RELATIVISTIC = ("vanilla", "lsgan", "hinge")


def gan_loss(kind: GANType, logits: Tensor, label: float) -> Tensor:
    """GAN loss of `logits`, float of any shape, for `label` (1 is real, 0 is not): a scalar to be minimised.

    `vanilla` is binary cross-entropy (Goodfellow et al. 2014), `lsgan` the squared distance (Mao et al. 2017), `hinge`
    max(0, 1 -+ x) (Lim and Ye 2017), `wgan` -+x (Arjovsky et al. 2017), `wgan_softplus` StyleGAN2's logistic loss; all
    as in BasicSR's `gan_loss.py`. Labels between 0 and 1 mean something to the first two only.
    """
    logits = logits.float()
    if kind == "vanilla":
        return F.binary_cross_entropy_with_logits(logits, torch.full_like(logits, label))
    if kind == "lsgan":
        return (logits - label).square().mean()
    signed = -logits if label > 0.5 else logits
    if kind == "hinge":
        return F.relu(1 + signed).mean()
    return F.softplus(signed).mean() if kind == "wgan_softplus" else signed.mean()


@dataclass(frozen=True, kw_only=True, slots=True)
class AdversarialLoss:
    """The generator's adversarial loss, and the discriminator's two losses."""

    type: GANType = "vanilla"
    """vanilla (the guide's `bce`), lsgan, hinge, wgan (the guide's `wasserstein`) or wgan_softplus."""
    weight: float = 0.1
    """The term's factor in the generator's objective, after any ramp (the guide's `adv_loss_beta`)."""
    relativistic: bool = False
    """Compare each side with the mean of the other (the guide's `relativistic_average_d`). The means are those of the
    micro-batch at hand, so the update depends on how the global batch is divided among ranks and accumulation."""
    label_smoothing: float = 0.0
    """Real pictures are labelled 1 minus this in the discriminator's loss; the guide's `true` is 0.1."""
    discriminator_weight: float = 1.0
    """Factor of the discriminator's two losses; the guide's framework comes to 0.5, and to 2 if relativistic."""

    def __post_init__(self) -> None:
        check_weight(self.weight)
        if not 0 <= self.label_smoothing < 0.5:
            raise ValueError(f"label_smoothing: got {self.label_smoothing}; must be at least 0 and less than 0.5")
        if self.label_smoothing and self.type not in LABELLED:
            raise ValueError(f"label_smoothing: got {self.label_smoothing}; type {self.type} has no labels to smooth")
        if self.relativistic and self.type not in RELATIVISTIC:
            raise ValueError(f"relativistic: got true with type {self.type}; must be {', '.join(RELATIVISTIC)}")
        if self.discriminator_weight <= 0:
            raise ValueError(f"discriminator_weight: got {self.discriminator_weight}; must be positive")

    @property
    def probabilistic(self) -> bool:
        """True if logits mean a probability of being real; a critic's and relativistic ones only compare."""
        return self.type != "wgan" and not self.relativistic

    def probability(self, logits: Tensor) -> Tensor:
        """Mean probability, by the discriminator, that its pictures are real: a scalar in [0, 1] without a graph.

        The guide's `D(y)_prob` and `D(G(x))_prob`. The sigmoid of what cross-entropy trained; what squared distances
        trained is itself a probability (Mao et al. 2017, eq. 5); a hinge's margins -1 and 1 are taken for 0 and 1. Not
        `probabilistic`, it is the sigmoid too: no probability, only a bounded figure.
        """
        logits = logits.detach().float()
        if self.type == "lsgan":
            return logits.clamp(0, 1).mean()
        if self.type == "hinge":
            return ((logits + 1) / 2).clamp(0, 1).mean()
        return logits.sigmoid().mean()

    def generator(self, fake: Tensor, real: Tensor | None = None) -> Tensor:
        """The generator's loss for D(G(x)), and D(y) if it is relativistic. Its target is 1, never smoothed.

        `real` may be computed without a graph: the generator has no part in it. ValueError if it is needed and None.
        """
        if not self.relativistic:
            return -fake.float().mean() if self.type == "hinge" else gan_loss(self.type, fake, 1)
        if real is None:
            raise ValueError("a relativistic loss needs the logits of the real pictures in the generator's step too")
        return (self._relativistic(fake, real, 1) + self._relativistic(real, fake, 0)) / 2

    def discriminator(self, real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
        """The discriminator's losses for D(y) and for D(G(x)), each times `discriminator_weight`; it minimises the sum.

        Relativistic ones are halved first, as in BasicSR's ESRGAN.
        """
        label = 1 - self.label_smoothing
        if self.relativistic:
            on_real, on_fake = self._relativistic(real, fake, label) / 2, self._relativistic(fake, real, 0) / 2
        else:
            on_real, on_fake = gan_loss(self.type, real, label), gan_loss(self.type, fake, 0)
        return self.discriminator_weight * on_real, self.discriminator_weight * on_fake

    def _relativistic(self, logits: Tensor, other: Tensor, label: float) -> Tensor:
        """The relativistic average loss (Jolicoeur-Martineau 2018, arXiv 1807.00734), with BasicSR's labels 1 and 0."""
        return gan_loss(self.type, logits.float() - other.float().mean(), label)


@dataclass(frozen=True, kw_only=True, slots=True)
class R1Penalty:
    """gamma/2 E|grad D(y)|^2 on real pictures (Mescheder et al. 2018, eq. 9), lazily (StyleGAN2, section 3.1)."""

    gamma: float = 10.0
    """The penalty's weight; the guide's `r1_gamma`."""
    interval: int = 16
    """Optimizer steps from one penalty to the next; each counts `interval` times, so that `gamma` keeps its meaning."""

    def __post_init__(self) -> None:
        if self.gamma <= 0:
            raise ValueError(f"gamma: got {self.gamma}; must be positive")
        if self.interval < 1:
            raise ValueError(f"interval: got {self.interval}; must be at least 1")

    def due(self, step: int) -> bool:
        """True if optimizer step `step` of the discriminator, counted from 0, has a penalty."""
        return step % self.interval == 0

    def __call__(self, logits: Tensor, pictures: Tensor) -> Tensor:
        """The penalty to add to the discriminator's loss, a scalar: interval * gamma/2 * mean over pictures of
        |gradient|^2.

        Args:
            logits: D of `pictures`, any shape; a map of logits is summed over, as in BasicSR's `r1_penalty`.
            pictures: float32 [B, C, H, W] that required a gradient when `logits` were computed. A forward without
                autocast is advised: the penalty's gradient differentiates twice.
        """
        (gradient,) = torch.autograd.grad(logits.float().sum(), pictures, create_graph=True)
        return self.interval * self.gamma / 2 * gradient.float().square().flatten(1).sum(1).mean()
