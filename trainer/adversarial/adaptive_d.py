"""`adaptive_d`: the discriminator waits while it is winning."""

from dataclasses import dataclass

import torch
from accelerate import Accelerator
from torch import Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class AdaptiveDConfig:
    """Throw the discriminator's step away while its lead, D(y) - D(G(x)), smoothed over steps, is above a threshold.

    traiNNer-redux's option of this name waits while the smoothed adversarial loss of the generator rises; here the
    lead itself is held, so that a discriminator which wins slowly is held too.
    """

    threshold: float = 0.8
    """The lead above which it waits; 0 is a draw, 1 is every picture told apart."""
    ema_decay: float = 0.9
    """Decay of the smoothing, over about 1 / (1 - ema_decay) steps; 0 looks at the present step alone."""

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1:
            raise ValueError(f"threshold must be in (0, 1), got {self.threshold}")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be in [0, 1), got {self.ema_decay}")


class AdaptiveD:
    """The pause of the discriminator, decided on the device by the very step in question: the host does not wait.

    The discriminator therefore runs forward and backward at every step, and what a held step saves is nothing: without
    the forward nobody would know when its lead is gone.
    """

    def __init__(self, accelerator: Accelerator, config: AdaptiveDConfig) -> None:
        self.accelerator, self.config = accelerator, config
        self.margin = torch.zeros((), device=accelerator.device)  # a draw, so the first steps are taken

    def pause(self, real: Tensor, fake: Tensor) -> Tensor:
        """1 if the step with these mean probabilities D(y) and D(G(x)) is to be thrown away, else 0.

        Scalars on the device. Collective: all ranks give their own figures and get one answer.
        """
        margin: Tensor = self.accelerator.reduce(real - fake, reduction="mean")
        decay = self.config.ema_decay
        smoothed = decay * self.margin + (1 - decay) * margin
        self.margin = torch.where(margin.isfinite(), smoothed, self.margin)  # a NaN would stay for ever
        return (self.margin > self.config.threshold).float()
