"""The smoothed generator: ema-pytorch with the arguments that fit, on every rank."""

from dataclasses import dataclass
from typing import Any

import torch
from ema_pytorch import EMA
from torch import nn
from torch.optim import Optimizer

from trainer.optim.optimizers import averages_itself


@dataclass(frozen=True, kw_only=True, slots=True)
class EMAConfig:
    """The exponential moving average that is validated, exported and used; a schedule-free optimizer's in its place."""

    decay: float = 0.999
    """The decay once warm; its mean age is 1 / (1 - decay) steps. 0 averages nothing: the live weights are used."""
    warmup_power: float = 0.75
    """The decay at the n-th update is 1 - n**-power, at most `decay`: the average forgets the first steps at once (2/3
    for long runs, 3/4 for short ones; k-diffusion's rule). 0 keeps the decay constant, as upstream does."""
    update_after_step: int = 0
    """Until this step the average is a copy of the live weights."""

    def __post_init__(self) -> None:
        if not 0 <= self.decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {self.decay}")
        if self.warmup_power < 0 or self.update_after_step < 0:
            raise ValueError("warmup_power and update_after_step must not be negative")

    def settled(self) -> int:
        """The step from which on the average holds less than 5 % of the initial weights."""
        return self.update_after_step + (0 if self.warmup_power else round(3 / (1 - self.decay)))


def smoothed(net: nn.Module, config: EMAConfig, optimizer: Optimizer | None = None) -> EMA:
    """The average of `net`, a bare module already on its device; call `.update()` after every optimizer step.

    A schedule-free `optimizer` of `net` gives its own average. The wrapper itself is never moved: its step counter
    stays on the CPU, where reading it does not stall a GPU.
    """
    if optimizer is not None and averages_itself(optimizer):
        return OptimizerAverage(net, optimizer)
    ema = EMA(
        net,
        beta=config.decay,
        update_after_step=config.update_after_step,
        update_every=1,  # ema-pytorch applies beta per update, so 10 would make the average ten times as old
        power=config.warmup_power or 1.0,
        min_value=0.0 if config.warmup_power else config.decay,
        include_online_model=False,
        use_foreach=True,
    )
    ema.ema_model.eval()
    return ema


class OptimizerAverage(EMA):  # type: ignore[misc] # it has no annotations
    """The average that a schedule-free optimizer keeps (x of Defazio et al. 2024), as an average of ema-pytorch.

    The network itself holds y, at which gradients are taken. `optimizer.eval()` turns y into x, in place and not
    exactly undone by `train()`: the weights are copied before and put back after, so an update costs a copy of them.
    Buffers, such as running statistics, are those of the network.
    """

    def __init__(self, net: nn.Module, optimizer: Any) -> None:
        super().__init__(net, beta=0.0, include_online_model=False)
        self.optimizer = optimizer
        self.ema_model.eval()

    @torch.no_grad()
    def update(self) -> None:
        """Copy the optimizer's average; the network stays as it is, to the last bit."""
        weights = list(self.model.parameters())
        trained = [weight.clone() for weight in weights]
        self.optimizer.eval()
        self.copy_params_from_model_to_ema()
        self.optimizer.train()
        torch._foreach_copy_(weights, trained)
        self.step += 1
        self.initted.fill_(True)
