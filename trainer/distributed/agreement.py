"""Decisions that all ranks take together: one small exchange on the CPU per step.

It runs on gloo, between hosts that are a step ahead of their devices, so no GPU waits for it.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from trainer.distributed.signals import BY_FILE, REQUEST, StopRequest
from trainer.distributed.waiting import HANGS, WATCH, GivenUp, Stopped
from trainer.files.write_policy import Disk
from trainer.mistakes import Mistake


class AsyncScalar:
    """A scalar of the device's as the host last saw it: never waited for, so on a GPU it may be a few steps old."""

    def __init__(self) -> None:
        self.value = 0
        self.copy: Tensor | None = None
        self.arrived: torch.Event | None = None

    def read(self, scalar: Tensor) -> int:
        """The newest value that has reached the host; begins to fetch `scalar`'s."""
        if scalar.device.type != "cuda":
            return int(scalar)
        if self.arrived is not None and self.copy is not None:
            if not self.arrived.query():
                return self.value
            self.value = int(self.copy)
        self.copy = torch.empty((), dtype=scalar.dtype, pin_memory=True).copy_(scalar, non_blocking=True)
        self.arrived = torch.Event("cuda")
        self.arrived.record()
        return self.value


DISK, DATA = "disk", "data"
REASONS = ("", "signal", BY_FILE, "time budget", DISK, DATA)


@dataclass(frozen=True, slots=True)
class Decision:
    """What the ranks agreed on."""

    stop: str
    """Why to stop, or nothing."""
    skipped: int
    """Steps skipped in a row, as seen by the rank that has seen most."""


class StopConsensus:
    """The ranks' agreement.

    Parameters
    ----------
    folder : the run folder; a file STOP in it asks the run to stop
    max_hours : the time budget from now on, or None
    disk : whose problem, on any rank, stops the run
    """

    def __init__(
        self, folder: Path, max_hours: float | None, request: StopRequest = REQUEST, disk: Disk | None = None
    ) -> None:
        self.stop_file, self.request, self.disk = folder / "STOP", request, disk or Disk()
        self.deadline = None if max_hours is None else time.monotonic() + 3600 * max_hours
        self.group = dist.new_group(backend="gloo", timeout=WATCH.patience) if dist.is_initialized() else None
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.absent: GivenUp | Mistake | None = None
        """Why this rank cannot take the coming step."""

    def agree(self, skipped: int) -> Decision:
        """What all ranks see, this one with so many steps `skipped` in a row. Collective, once per step."""
        seen = torch.tensor([self._reason(), skipped])
        if self.group is not None:
            with WATCH.phase("waiting for the other ranks' word", grace=HANGS):
                dist.all_reduce(seen, dist.ReduceOp.MAX, group=self.group)
        reason, most = seen.tolist()
        return Decision(REASONS[reason], most)

    def _reason(self) -> int:
        if self.absent and not isinstance(self.absent, Stopped):
            return REASONS.index(DATA)
        if self.disk.problem:
            return REASONS.index(DISK)
        if self.request.name is not None:
            return 1
        if self.rank == 0 and self.stop_file.exists():
            return 2
        return 3 if self.deadline is not None and time.monotonic() > self.deadline else 0
