"""The means that plateau schedules watch: kept by the training, since the last validation, whatever is reported."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor


class PlateauMeans:
    """Means over ranks and steps of some of the training's figures, on the device.

    A step where a figure is absent or not finite counts not. Each step's figures are exchanged at once, a few bytes, so
    the sums are the same on all ranks: a checkpoint holds them as they are.
    """

    def __init__(self, accelerator: Accelerator, names: Iterable[str]) -> None:
        self.accelerator, self.names = accelerator, sorted(set(names))
        self.sums = torch.zeros(len(self.names), dtype=torch.float64, device=accelerator.device)
        self.counts = torch.zeros_like(self.sums)
        self.objective = 0.0

    def add(self, report: Mapping[str, Tensor], objective: float) -> None:
        """Take in a step's scalars. Collective; every rank's report has the same figures.

        `objective` is the number of what the generator minimised: its figures compare only under the same, so another
        one begins their means anew.
        """
        if not (present := [number for number, name in enumerate(self.names) if name in report]):
            return
        own = [number for number, name in enumerate(self.names) if name.startswith("training/")]
        if objective != self.objective and not set(own).isdisjoint(present):
            self._forget(own)
            self.objective = objective
        values = torch.stack([report[self.names[number]].detach().double() for number in present])
        values = self.accelerator.reduce(values, reduction="mean")
        finite = values.isfinite()
        for number, value, counts in zip(present, values.nan_to_num(0.0, 0.0, 0.0), finite, strict=True):
            self.sums[number] += value
            self.counts[number] += counts

    def means(self) -> dict[str, float]:
        """The means since they were asked for last; they begin anew. The host waits here."""
        sums, counts = self.sums.tolist(), self.counts.tolist()
        self._forget(range(len(self.names)))
        return {name: total / count for name, total, count in zip(self.names, sums, counts, strict=True) if count}

    def counters(self) -> dict[str, Any]:
        """Its sums and counts for a checkpoint."""
        figures = zip(self.names, self.sums.tolist(), self.counts.tolist(), strict=True)
        return {"objective": self.objective, "figures": {name: [total, count] for name, total, count in figures}}

    def load(self, progress: Mapping[str, Any]) -> None:
        """Take over what `counters` returned once, as far as the same figures are watched."""
        self.objective = progress["objective"]
        for number, name in enumerate(self.names):
            self.sums[number], self.counts[number] = progress["figures"].get(name, (0.0, 0.0))

    def _forget(self, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.sums[number] = self.counts[number] = 0.0
