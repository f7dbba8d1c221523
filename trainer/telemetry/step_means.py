"""Means of what steps report, summed on the device and over the ranks, with speeds and memory."""

import sys
from collections import Counter
from collections.abc import Mapping

import torch
from accelerate import Accelerator
from torch import Tensor

from trainer.telemetry.timers import Stopwatch

SHARES = {
    "data": "speed/data_wait_share",
    "degradation": "speed/degradation_share",
    "pool": "speed/pool_share",
}
"""Parts of a step by the stopwatch's names, and the figures of what they cost: shares of the time of the training. What
a GPU does beside the training, and what the host reads while the GPU is at work, costs nothing."""
OUTSIDE = ("validation", "checkpoint")  # not training: left out of images per second
COUNTING = "counting"  # what the operations of a step are counted in, once


class StepMeans:
    """The sums since the last report, on the device: to add to them makes the host wait for nothing."""

    def __init__(self, accelerator: Accelerator, stopwatch: Stopwatch) -> None:
        self.accelerator, self.stopwatch = accelerator, stopwatch
        self.sums: dict[str, Tensor] = {}
        self.skipped: dict[str, Tensor | int] = {}
        """For a gradient's norm: how many of the steps that had it were skipped."""
        self.counts: Counter[str] = Counter()
        self.steps = 0
        self.taken, self.outside = 0, 0.0
        """Steps of all reports of this process, and the seconds of validations and checkpoints among them."""

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one optimizer step's scalars, on the device."""
        for name, value in values.items():
            value = value.detach().double()
            if name.endswith("grad_norm"):  # of a step that was skipped it is not finite
                self.skipped[name] = self.skipped.get(name, 0) + (~value.isfinite()).double()
                value = value.nan_to_num(0.0, 0.0, 0.0)
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts.update(values.keys())
        self.steps += 1

    def take(self, global_size: int, remaining: int) -> dict[str, float]:
        """The means, and speeds and memory, of the steps since they were taken last; the host waits here. Collective.

        A mean is over the ranks and over those steps that had the value: not every step trains every network. That of
        a gradient's norm is over the steps that were taken; NaN if there is none. `global_size` is the images of a
        step; `remaining` steps are left of the run, which it validates and saves as often as before.
        """
        names = sorted(self.sums)
        times = self.stopwatch.read()
        outside = sum(times.cost.get(name, 0.0) for name in OUTSIDE)
        training = times.total - outside - times.cost.get(COUNTING, 0.0)
        self.taken, self.outside = self.taken + self.steps, self.outside + outside
        own = [self.sums[name] / (self.counts[name] - self.skipped.get(name, 0)) for name in names]
        host = [times.cost.get(part, 0.0) / training for part in SHARES] + [peak_memory(self.accelerator.device)]
        row = torch.stack([*own, *torch.tensor(host, dtype=torch.float64, device=self.accelerator.device)])
        rows = self.accelerator.gather(row[None]).cpu()
        rate = self.steps / training
        self.sums, self.skipped, self.counts, self.steps = {}, {}, Counter(), 0
        return {
            **dict(zip([*names, *SHARES.values()], rows.mean(0).tolist(), strict=False)),
            "speed/images_per_second": rate * global_size,
            "speed/peak_memory_gib": rows[:, -1].max().item(),
            "speed/eta_seconds": remaining * (1 / rate + self.outside / self.taken),
        }


def peak_memory(device: torch.device) -> float:
    """GiB that this process has held at most: of the GPU where there is one, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    import resource  # Windows has none, where this is imported and nothing is trained

    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
