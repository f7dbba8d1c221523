"""The phases of adversarial training: the networks that learn at a step, and the weight of the adversarial loss.

All of it is a function of the step, so nothing is saved and a resumed run is in the same phase. Steps are optimizer
steps of the loop, counted from 0; there is no second unit.
"""

import math
from dataclasses import dataclass
from itertools import count
from typing import Literal


@dataclass(frozen=True, slots=True)
class Phase:
    """The phase of one step."""

    pretrain: bool
    """The generator learns alone, before the discriminator joins."""
    train_generator: bool
    train_discriminator: bool
    adversarial: float
    """The share, in [0, 1], of the adversarial weight that is in force."""

    @property
    def objective(self) -> float:
        """A number for the generator's objective: losses of two steps compare only if it is the same."""
        return -1.0 if self.pretrain else self.adversarial


SOLO = Phase(pretrain=False, train_generator=True, train_discriminator=False, adversarial=0.0)
"""Every step of a run without a discriminator."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PhasesConfig:
    """The step at which the discriminator joins, and the rise of the adversarial weight."""

    pretrain_g_only: bool = False
    """Begin with the generator alone, for `g_pretrain_steps`."""
    g_pretrain_steps: int = 0
    """Steps of the pretraining (`pretrain_g_only`); -1 never ends it."""
    pretrain_objective: Literal["l1", "content"] = "l1"
    """The generator's objective meanwhile: the pixel term alone, or all terms but those of the discriminator."""
    adv_loss_ramp_steps: int = 0
    """Steps over which the adversarial weight rises from 0 once the discriminator has joined; 0 is at once."""
    adv_loss_schedule: Literal["linear", "cosine"] = "cosine"
    """The shape of the adversarial weight's rise."""
    net_d_iters: int = 1
    """The generator learns at every so many steps, the discriminator at each (Real-ESRGAN)."""
    net_d_init_iters: int = 0
    """The generator does not learn during the first so many steps with the discriminator (Real-ESRGAN)."""

    def __post_init__(self) -> None:
        if self.g_pretrain_steps < -1:
            raise ValueError(f"g_pretrain_steps must be at least -1, got {self.g_pretrain_steps}")
        if self.pretrain_g_only != (self.g_pretrain_steps != 0):
            raise ValueError(
                f"pretrain_g_only is {str(self.pretrain_g_only).lower()} but g_pretrain_steps is "
                f"{self.g_pretrain_steps}; wanted both, or neither"
            )
        if self.net_d_iters < 1 or self.net_d_init_iters < 0 or self.adv_loss_ramp_steps < 0:
            raise ValueError("net_d_iters must be at least 1, net_d_init_iters and adv_loss_ramp_steps at least 0")

    def phase(self, step: int) -> Phase:
        """The networks that learn at `step`, and the share of the adversarial weight."""
        start = self.g_pretrain_steps
        if start == -1 or step < start:
            return Phase(pretrain=True, train_generator=True, train_discriminator=False, adversarial=0.0)
        number = step - start + 1  # upstream counts from 1
        learns = number % self.net_d_iters == 0 and number > self.net_d_init_iters
        return Phase(False, learns, True, self._ramp(step - start))

    def generator_learns(self, step: int) -> bool:
        """True if the generator was trained within the `net_d_iters` steps up to `step`."""
        if self.phase(step - 1).pretrain:
            return True
        first = max(self.g_pretrain_steps, step - self.net_d_iters)
        return any(self.phase(number).train_generator for number in range(first, step))

    def first_steps(self) -> list[int]:
        """The first step of the run, of the discriminator, and of both networks; of a pretraining without end, one."""
        joined = self.g_pretrain_steps
        if joined == -1:
            return [0]
        both = next(step for step in count(joined) if self.phase(step).train_generator)
        return sorted({0, joined, both})

    def _ramp(self, since: int) -> float:
        if since >= self.adv_loss_ramp_steps:
            return 1.0
        share = since / self.adv_loss_ramp_steps
        return share if self.adv_loss_schedule == "linear" else 0.5 - 0.5 * math.cos(math.pi * share)
