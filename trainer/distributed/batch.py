"""Batch arithmetic: global size = processes x per_device x accumulation."""

from dataclasses import dataclass

from trainer.mistakes import Mistake


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchConfig:
    """Training pairs per optimizer step, and per device at a time."""

    global_size: int = 48
    """Pairs per optimizer step over all processes; it does not depend on the number of processes."""
    per_device: int = 12
    """Pairs in a forward pass of one process; gradients are accumulated up to `global_size`."""

    def __post_init__(self) -> None:
        for name in ("global_size", "per_device"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """The batch on a given number of processes."""

    global_size: int
    per_device: int
    processes: int
    accumulation: int

    @property
    def per_process(self) -> int:
        """Pairs that one process contributes to a step."""
        return self.per_device * self.accumulation

    def positions(self, step: int, rank: int, number: int) -> range:
        """Positions in the run's sample stream of micro-batch `number` of a rank: sample p of step t has t * B + p."""
        first = step * self.global_size + rank * self.per_process + number * self.per_device
        return range(first, first + self.per_device)

    def __str__(self) -> str:
        parts = f"{self.processes} process{'es' * (self.processes > 1)} x {self.per_device} per device"
        return f"{self.global_size} = {parts} x {self.accumulation} accumulation"


def plan_batch(config: BatchConfig, processes: int) -> BatchPlan:
    """Derive the accumulation from the number of processes; Mistake, with values that work, if it is no integer."""
    accumulation, rest = divmod(config.global_size, processes * config.per_device)
    if not rest:
        return BatchPlan(config.global_size, config.per_device, processes, accumulation)
    share, uneven = divmod(config.global_size, processes)
    if uneven:
        lower = config.global_size - uneven
        sizes = " or ".join(str(size) for size in (lower, lower + processes) if size)
        fix = f"global_size must be a multiple of the {processes} processes: {sizes} would do"
    else:
        fits = [n for n in range(1, share + 1) if share % n == 0]
        fix = f"each process has {share} of them, so per_device may be {', '.join(map(str, fits))}"
    raise Mistake(
        f"batch: global_size {config.global_size} does not divide by {processes} process{'es' * (processes > 1)} "
        f"x per_device {config.per_device}; {fix}."
    )
