"""A rate that falls when a figure no longer improves: the one schedule that has a state."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from trainer.optim.lr_schedules import Constant, Cosine, Linear, MultiStep, Warmup


@dataclass(frozen=True, slots=True)
class PlateauState:
    """The state of a plateau schedule between validations."""

    best: float | None = None
    waited: int = 0
    """Validations without improvement since the last one or the last fall."""
    resting: int = 0
    """Validations of cooldown that are left."""
    multiple: float = 1.0
    """The share of the full rate that the falls so far have left."""
    watched: str = ""
    """The metric of `best`, and the objective under which it was reached."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Plateau(Warmup):
    """torch's ReduceLROnPlateau as a function from one state to the next, with the warm-up that every schedule has.

    It begins to watch once the warm-up is over. The generator's forgets what was best, but not how far the rate has
    fallen, when its objective changes: pretraining reaches values that adversarial training cannot, and a ramp
    raises its loss.
    """

    type: Literal["plateau"] = "plateau"
    metric: str
    """The reported figure to watch, such as training/loss or discriminator/loss (the guide's choice: each network's
    own loss), or validation/psnr."""
    mode: Literal["min", "max"] = "min"
    """min: lower is better; max: higher is."""
    patience: int = 10
    """Validations without improvement before the rate falls."""
    factor: float = 0.5
    """The factor of the rate at each fall."""
    cooldown: int = 0
    """Validations after a fall during which nothing is counted."""
    threshold: float = 1e-3
    """The least improvement that counts, as a share of the best."""
    min_lr: float = 1e-7
    """The rate never falls below this."""

    def __post_init__(self) -> None:
        Warmup.__post_init__(self)
        if not 0 < self.factor < 1:
            raise ValueError(f"factor must be in (0, 1), got {self.factor}")
        if self.patience < 0 or self.cooldown < 0:
            raise ValueError("patience and cooldown must not be negative")

    def multiple(self, step: int, total: int) -> float:  # noqa: ARG002 - one signature for all schedules
        """The warm-up's part of the rate; `PlateauState.multiple` is the rest."""
        return self.warmup(step)

    def observed(self, state: PlateauState, value: float, learning_rate: float, objective: float = 0.0) -> PlateauState:
        """The state after a validation that gave `value` under `objective`; one that is not finite is no observation.

        `learning_rate` is the full rate, which the floor is a share of.
        """
        if not math.isfinite(value):
            return state
        watched = f"{self.mode} of {self.metric} under {objective:g}"
        if watched != state.watched:
            state = replace(state, best=None, waited=0, watched=watched)
        improved = self._better(value, state.best)
        best = value if improved else state.best
        waited = 0 if improved or state.resting else state.waited + 1
        state = replace(state, best=best, waited=waited, resting=max(0, state.resting - 1))
        if waited <= self.patience:
            return state
        multiple = max(min(state.multiple, self.min_lr / learning_rate), state.multiple * self.factor)
        return replace(state, multiple=multiple, waited=0, resting=self.cooldown)

    def _better(self, value: float, best: float | None) -> bool:
        """Better by the threshold, which widens the gap whatever the sign of the figure."""
        if best is None:
            return True
        margin = abs(best) * self.threshold
        return value < best - margin if self.mode == "min" else value > best + margin


LRSchedule = Constant | MultiStep | Cosine | Linear | Plateau
