"""The maker of training pairs: pictures are degraded on the device, and the pairs exchanged with the pool."""

from collections.abc import Mapping

import torch
from torch import Tensor

from trainer.images.crops import ImageBatch
from trainer.pairs.pool import Pool
from trainer.pairs.side_stream import SideStream
from trainer.pairs.synthesis import PairBatch, Synthesis
from trainer.telemetry.timers import Stopwatch


class PairMaker:
    """Makes this rank's training pairs, on a GPU on a stream of its own, beside the training.

    Nothing is made before it is trained on, so a checkpoint holds the pool as it is. On a GPU the making runs beside
    the end of the step before all the same, for the host is ahead of the device.
    """

    def __init__(self, synthesis: Synthesis, pool: Pool | None, device: torch.device, stopwatch: Stopwatch) -> None:
        self.synthesis, self.pool, self.device, self.stopwatch = synthesis, pool, device, stopwatch
        self._side: SideStream | None = None

    def make(self, batch: ImageBatch, step: int, number: int, kernels: Mapping[str, Tensor] | None = None) -> PairBatch:
        """The pairs to train on for pictures that are micro-batch `number` of `step`. Collective where there is a pool.

        With a pool these are the pairs that gave place to the new ones, or the new ones while it is not full.
        `kernels`: see `Synthesis.from_batch`.
        """
        side = self._side = self._side or SideStream(self.device)  # not before the pool is filled, which it waits for
        # Timed on the training's stream: what the making costs, and not how long it takes beside the training.
        with self.stopwatch.device("degradation"), side.beside():
            pairs = self.fresh(batch, kernels)
        if self.pool is not None:
            with self.stopwatch.device("pool"), side.beside():
                pairs = self._exchanged(pairs, self.pool, step, number)
        return side.hand_over(pairs)

    def fresh(self, batch: ImageBatch, kernels: Mapping[str, Tensor] | None = None) -> PairBatch:
        """New pairs of a micro-batch of pictures."""
        return self.synthesis.from_batch(batch, self.device, kernels)

    def _exchanged(self, fresh: PairBatch, pool: Pool, step: int, number: int) -> PairBatch:
        if pool.missing > 0:
            pool.offer(fresh)
            return fresh
        return pool.swap(fresh, step, number)
