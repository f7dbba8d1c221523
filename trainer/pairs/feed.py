"""The training pairs of one rank: pictures are read, degraded on the device, and exchanged with the pool."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from trainer.distributed.batch import BatchPlan
from trainer.images.crops import ImageBatch
from trainer.images.loader import ImageLoader
from trainer.images.positions import Positions
from trainer.images.reading import TrainingDataset
from trainer.images.unreadable import UnreadableImages
from trainer.pairs.pool import Pool
from trainer.pairs.side_stream import SideStream
from trainer.pairs.stream import Stream
from trainer.pairs.synthesis import Pairs, Synthesis
from trainer.telemetry.timers import Stopwatch


@dataclass(frozen=True, slots=True)
class PairFactory:
    """What it takes to make the pairs of a rank."""

    samples: TrainingDataset
    """Pictures by position."""
    stream: Stream
    batch: BatchPlan
    rank: int
    device: torch.device
    synthesis: Synthesis
    pool: Pool | None
    unreadable: UnreadableImages
    watch: Stopwatch

    def images(self, positions: Iterable[list[int]]) -> ImageLoader:
        """The micro-batches of pictures for lists of positions."""
        return ImageLoader(self.samples, positions, pin_memory=self.device.type == "cuda")

    def fresh(self, batch: ImageBatch) -> Pairs:
        """New pairs of a micro-batch of pictures, which counts as used."""
        self.unreadable.note(batch.unreadable, batch.reasons)
        self.stream.lengths.update(batch.lengths)
        with self.watch.device("degradation"):
            return self.synthesis.made(batch, self.device)

    def exchanged(self, fresh: Pairs, step: int, number: int) -> Pairs:
        """What fresh pairs, of micro-batch `number` of a step, take the place of in the pool; themselves without one.

        Collective where there is a pool.
        """
        if self.pool is None:
            return fresh
        with self.watch.device("pool"):
            return self.pool.swap(fresh, step, number)

    def fill_pool(self) -> None:
        """Make the pairs that lie in the pool before the first step: slot s gets the s-th coming position."""
        if self.pool is None:
            return
        first, start = self.pool.first, self.stream.position
        mine = range(start + first, start + first + len(self.pool.rows))
        size = self.batch.per_device
        for batch in self.images([list(mine[at : at + size]) for at in range(0, len(mine), size)]):
            fresh = self.fresh(batch)
            self.pool.put(int(fresh.positions[0]) - start, self.pool.shape.rows(fresh))
        self.stream.position += self.pool.layout.size


class Feed(Iterator[Pairs]):
    """This rank's micro-batches of pairs to train on, from where the run stands, without end.

    Pictures are read a step at a time, on the host alone: where they do not come, the run is as it was after the last
    step, on every device. Nothing is made before it is trained on, so a checkpoint holds the pool as it is. On a GPU
    the making runs beside the end of the step before all the same: the host is ahead of the device, and there is a
    stream for it.
    """

    def __init__(self, factory: PairFactory, step: int) -> None:
        """Begin with what `step` is trained on."""
        self.factory, self.step, self.number = factory, step, 0
        self.last: Pairs | None = None
        """What was made last."""
        batch = factory.batch
        self.images = factory.images(
            Positions(
                global_size=batch.global_size,
                per_device=batch.per_device,
                rank=factory.rank,
                world=batch.processes,
                start=factory.stream.position,
            )
        )
        self.read: deque[ImageBatch] = deque()
        self.side = SideStream(factory.device)

    def read_step(self) -> None:
        """Read what the coming step needs.

        Raises Mistake or GivenUp where it does not come: see `ImageLoader`.
        """
        with self.factory.watch.host("data"):
            while len(self.read) < self.factory.batch.accumulation - self.number:
                self.read.append(next(self.images))

    def __next__(self) -> Pairs:
        """The next micro-batch. Collective where there is a pool."""
        self.read_step()
        batch = self.read.popleft()
        self.last = self.side.make(lambda: self.factory.exchanged(self.factory.fresh(batch), self.step, self.number))
        self.number += 1
        if self.number == self.factory.batch.accumulation:
            self.step, self.number = self.step + 1, 0
        return self.last
