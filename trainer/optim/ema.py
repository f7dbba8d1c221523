"""The smoothed generator: ema-pytorch with the arguments that fit, on every rank."""

from dataclasses import dataclass

from ema_pytorch import EMA
from torch import nn


@dataclass(frozen=True, kw_only=True, slots=True)
class EMAConfig:
    """The exponential moving average that is validated, exported and used."""

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


def smoothed(net: nn.Module, config: EMAConfig) -> EMA:
    """The average of `net`, a bare module already on its device; call `.update()` after every optimizer step.

    The wrapper itself is never moved: its step counter stays on the CPU, where reading it does not stall a GPU.
    """
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
