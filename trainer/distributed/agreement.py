"""Decisions that all ranks take together, by one small all-reduce on the CPU per step.

It runs on gloo between hosts, which are a step ahead of their devices, so no GPU waits for it.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from trainer.distributed.signals import BY_FILE, REQUEST, StopRequest
from trainer.distributed.waiting import EXCHANGE_GRACE, WATCH, GivenUp, Stopped
from trainer.files.write_policy import Disk
from trainer.mistakes import Mistake


class AsyncScalar:
    """A device scalar read without waiting: on a GPU the host's value may be a few steps old."""

    def __init__(self) -> None:
        self.value = 0
        self.copy: Tensor | None = None
        self.arrived: torch.Event | None = None

    def read(self, scalar: Tensor) -> int:
        """The newest value that has reached the host; starts an asynchronous copy of `scalar`."""
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


SIGNAL, TIME, DISK, DATA = "signal", "time budget", "disk", "data"
REASONS = ("", SIGNAL, BY_FILE, TIME, DISK, DATA)
"""Reasons to stop, by ascending priority: of those of several ranks the last one counts."""


@dataclass(frozen=True, slots=True)
class Decision:
    """The ranks' decision after a step."""

    stop: str
    """Reason to stop, empty to go on."""
    skipped: int
    """Steps skipped in a row: the largest number over the ranks."""


class StopConsensus:
    """Agreement of the ranks to stop for a signal, a STOP file, the time budget, or a disk or data error of any rank.

    Parameters
    ----------
    folder : the run folder; a file STOP in it asks the run to stop
    max_hours : the time budget from now on, or None
    disk : the write policy, whose `problem` on any rank stops the run
    """

    def __init__(
        self, folder: Path, max_hours: float | None, request: StopRequest = REQUEST, disk: Disk | None = None
    ) -> None:
        self.stop_file, self.request, self.disk = folder / "STOP", request, disk or Disk()
        self.deadline = None if max_hours is None else time.monotonic() + 3600 * max_hours
        self.group = dist.new_group(backend="gloo", timeout=WATCH.group_timeout) if dist.is_initialized() else None
        self.rank = dist.get_rank() if dist.is_initialized() else 0
        self.data_error: GivenUp | Mistake | None = None
        """Error for which this rank cannot take the next step."""

    def agree(self, skipped: int) -> Decision:
        """Decide with all ranks; `skipped` counts this rank's skipped steps in a row. Collective, once per step."""
        seen = torch.tensor([REASONS.index(self._reason()), skipped])
        if self.group is not None:
            with WATCH.phase("waiting for the other ranks' word", grace=EXCHANGE_GRACE):
                dist.all_reduce(seen, dist.ReduceOp.MAX, group=self.group)
        reason, most = seen.tolist()
        return Decision(REASONS[reason], most)

    def _reason(self) -> str:
        if self.data_error and not isinstance(self.data_error, Stopped):
            return DATA
        if self.disk.problem:
            return DISK
        if self.request.name is not None:
            return SIGNAL
        if self.rank == 0 and self.stop_file.exists():
            return BY_FILE
        return TIME if self.deadline is not None and time.monotonic() > self.deadline else ""
