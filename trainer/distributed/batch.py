"""Batch arithmetic: global size = processes x per_device x accumulation.

The global batch is the configuration's on any number of processes, and each process has an equal share of it: gradients
are averaged over processes, so unequal shares would weigh some pictures more. `per_device` is what may yield: where it
does not divide a share, the largest divisor below it is used, so that the memory that it was chosen for suffices. A
number of processes that does not divide the global batch is a mistake; `wildsr train`, which chooses the number itself,
takes the largest that does.
"""

from dataclasses import dataclass
from typing import Literal

from trainer.mistakes import Mistake


@dataclass(frozen=True, kw_only=True, slots=True)
class BatchConfig:
    """Training pairs per optimizer step, and per device at a time."""

    global_size: int = 48
    """Pairs per optimizer step over all processes; it does not depend on the number of processes."""
    per_device: int | Literal["auto"] = 12
    """Pairs in a forward pass of one process, at most: the largest number up to it that divides the process's share of
    `global_size`; gradients are accumulated over the share. `auto` is the largest that fits into its memory, found by
    steps of real size when a run begins, and kept when it is resumed."""

    def __post_init__(self) -> None:
        for name, value in {"global_size": self.global_size, "per_device": self.per_device}.items():
            if (name, value) != ("per_device", "auto") and (not isinstance(value, int) or value < 1):
                raise ValueError(f"{name} must be at least 1, got {value}")


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
    """Derive the pairs at a time and the accumulation; Mistake, with values that work, if ranks had unequal shares.

    `auto` counts as a process's whole share, which is the most that it can be.
    """
    share, uneven = divmod(config.global_size, processes)
    if uneven:
        fewer = most_processes(config, processes)
        raise Mistake(
            f"batch: global_size {config.global_size} does not divide by {processes} processes; "
            f"{sizes_that_divide(config, processes)} would do, or {fewer} process{'es' * (fewer > 1)}."
        )
    most = share if config.per_device == "auto" else config.per_device
    accumulation = next(parts for parts in range(1, share + 1) if not share % parts and share <= parts * most)
    return BatchPlan(config.global_size, share // accumulation, processes, accumulation)


def sizes_that_divide(config: BatchConfig, processes: int) -> str:
    """The nearest global batches that divide by a number of processes, as words."""
    lower = config.global_size // processes * processes
    return " or ".join(str(size) for size in (lower, lower + processes) if size)


def most_processes(config: BatchConfig, processes: int) -> int:
    """The largest number of processes, `processes` at most, by which the global batch divides."""
    return next(number for number in range(processes, 0, -1) if not config.global_size % number)


def notes_on_batch(config: BatchConfig, processes: int) -> list[str]:
    """A sentence where fewer pairs at a time are taken than `per_device`, though each process has more in a step."""
    plan = plan_batch(config, processes)
    if config.per_device in ("auto", plan.per_device):
        return []
    return [
        f"batch.per_device: got {config.per_device}; {plan.per_device} are used, as each process has "
        f"{plan.per_process} pairs of a step (the sum of their gradients is the same)"
    ]
