"""Learning rates as functions of the step: nothing to save, nothing that depends on the number of processes.

(A scheduler that Accelerate prepares steps once per process, and diffusers' cosine rises again after its end.)
"""

import math
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True, slots=True)
class Warmup:
    """The rise from 0 that every schedule may begin with."""

    lr_warmup_steps: int = 0
    """Optimizer steps over which the rate rises from 0; 0 starts at the full rate."""
    lr_warmup_type: Literal["linear", "cosine"] = "linear"
    """The shape of the warm-up's rise."""

    def __post_init__(self) -> None:
        if self.lr_warmup_steps < 0:
            raise ValueError(f"lr_warmup_steps must be at least 0, got {self.lr_warmup_steps}")

    def warmup(self, step: int) -> float:
        """The factor in [0, 1] by which the warm-up holds the rate back at `step` (0-based)."""
        if step >= self.lr_warmup_steps:
            return 1.0
        share = step / self.lr_warmup_steps
        return share if self.lr_warmup_type == "linear" else 0.5 - 0.5 * math.cos(math.pi * share)

    def progress(self, step: int, total: int) -> float:
        """The place of `step` between the end of the warm-up, 0, and the end of the run, 1."""
        return min(1.0, max(0, step - self.lr_warmup_steps) / max(1, total - self.lr_warmup_steps))


@dataclass(frozen=True, kw_only=True, slots=True)
class Constant(Warmup):
    """The same rate throughout: what Real-ESRGAN's options come to."""

    type: Literal["constant"] = "constant"

    def multiple(self, step: int, total: int) -> float:  # noqa: ARG002 - one signature for all schedules
        """The multiple of the base rate that optimizer step `step` of `total` takes."""
        return self.warmup(step)


@dataclass(frozen=True, kw_only=True, slots=True)
class MultiStep(Warmup):
    """The rate times `gamma` at each milestone, as torch's MultiStepLR."""

    type: Literal["multistep"] = "multistep"
    milestones: tuple[int, ...]
    """Steps at which the rate falls, rising."""
    gamma: float = 0.5
    """The factor of each fall."""

    def __post_init__(self) -> None:
        Warmup.__post_init__(self)
        if list(self.milestones) != sorted(set(self.milestones)) or not self.milestones or self.milestones[0] < 1:
            raise ValueError(f"milestones must be rising positive steps, got {list(self.milestones)}")

    def multiple(self, step: int, total: int) -> float:  # noqa: ARG002
        """The multiple of the base rate that optimizer step `step` of `total` takes."""
        return self.warmup(step) * self.gamma ** sum(step >= milestone for milestone in self.milestones)


@dataclass(frozen=True, kw_only=True, slots=True)
class Cosine(Warmup):
    """Half a cosine from the full rate down to `min_factor` at the end of the run (Loshchilov & Hutter 2017)."""

    type: Literal["cosine"] = "cosine"
    min_factor: float = 0.0
    """The share of the rate at the last step."""

    def multiple(self, step: int, total: int) -> float:
        """The multiple of the base rate that optimizer step `step` of `total` takes."""
        fall = 0.5 + 0.5 * math.cos(math.pi * self.progress(step, total))
        return self.warmup(step) * (self.min_factor + (1 - self.min_factor) * fall)


@dataclass(frozen=True, kw_only=True, slots=True)
class Linear(Warmup):
    """A straight line from the full rate down to `min_factor` at the end of the run."""

    type: Literal["linear"] = "linear"
    min_factor: float = 0.0
    """The share of the rate at the last step."""

    def multiple(self, step: int, total: int) -> float:
        """The multiple of the base rate that optimizer step `step` of `total` takes."""
        return self.warmup(step) * (1 - (1 - self.min_factor) * self.progress(step, total))
