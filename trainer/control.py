"""Decisions that all ranks take together: one small exchange on the CPU per step, whose answer is read a step later.

The exchange runs on gloo beside the training, so neither the host nor a GPU waits for it.
"""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor

from trainer.disk import Disk
from trainer.run_folder import BY_FILE
from trainer.stop import REQUEST, StopRequest
from trainer.waiting import HANGS, WATCH


class LateNumber:
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


DISK = "disk"
REASONS = ("", "signal", BY_FILE, "time budget", DISK)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the ranks agreed on."""

    stop: str
    """Why to stop, or nothing."""
    skipped: int
    """Steps skipped in a row, as seen by the rank that has seen most."""


class Control:
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
        self.sent = torch.zeros(2, dtype=torch.int64)
        self.work: dist.Work | None = None

    def agree(self, skipped: int) -> Verdict:
        """Send what this rank sees, and return what all of them saw at the call before. Collective, once per step."""
        if self.work is not None:
            with WATCH.phase("waiting for the other ranks' word", grace=HANGS):
                self.work.wait()
        reason, most = self.sent.tolist()
        self.sent = torch.tensor([self._reason(), skipped])
        if self.group is not None:
            self.work = dist.all_reduce(self.sent, dist.ReduceOp.MAX, group=self.group, async_op=True)
        return Verdict(REASONS[reason], most)

    def _reason(self) -> int:
        if self.disk.problem:
            return REASONS.index(DISK)
        if self.request.name is not None:
            return 1
        if self.rank == 0 and self.stop_file.exists():
            return 2
        return 3 if self.deadline is not None and time.monotonic() > self.deadline else 0
