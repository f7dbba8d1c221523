"""The pictures of one rank, a step at a time, in the order of their positions."""

from collections import deque
from collections.abc import Iterator

from trainer.distributed.batch import BatchPlan
from trainer.images.crops import ImageBatch
from trainer.images.loader import ImageLoader
from trainer.images.positions import Positions
from trainer.images.reading import TrainingDataset
from trainer.images.unreadable import UnreadableImages
from trainer.pairs.stream import Stream
from trainer.telemetry.timers import Stopwatch


class Feed:
    """Micro-batches of pictures in host memory, from where the run stands, without end.

    A step is read as a whole, on the host alone: where pictures do not come, the run is as it was after the last step,
    on every device.

    Parameters
    ----------
    samples : pictures by position
    rank : whose part of each global batch is read
    pin_memory : deliver in page-locked memory, for copies to a GPU that overlap
    """

    def __init__(
        self,
        samples: TrainingDataset,
        stream: Stream,
        batch: BatchPlan,
        rank: int,
        unreadable: UnreadableImages,
        stopwatch: Stopwatch,
        pin_memory: bool,
    ) -> None:
        self.samples, self.stream, self.batch, self.rank = samples, stream, batch, rank
        self.unreadable, self.stopwatch, self.pin_memory = unreadable, stopwatch, pin_memory
        self.read: deque[ImageBatch] = deque()
        """Micro-batches that were read and not yet taken."""
        self._loader: Iterator[ImageBatch] | None = None

    def read_step(self) -> None:
        """Read all pictures of the coming step that are not there yet.

        Raises Mistake or GivenUp where they do not come: see `ImageLoader`.
        """
        self._loader = self._loader or self._from_here()
        if len(self.read) >= self.batch.accumulation:
            return
        with self.stopwatch.device("data"):  # a GPU that still has work does not wait for them
            while len(self.read) < self.batch.accumulation:
                self.read.append(next(self._loader))

    def take_step(self) -> Iterator[ImageBatch]:
        """The micro-batches of the coming step, which count as used as they are taken."""
        self.read_step()
        for _ in range(self.batch.accumulation):
            yield self._noted(self.read.popleft())

    def at(self, positions: range) -> Iterator[ImageBatch]:
        """The pictures at some positions, in micro-batches, as those that fill the pool."""
        size = self.batch.per_device
        lists = [list(positions[first : first + size]) for first in range(0, len(positions), size)]
        return map(self._noted, ImageLoader(self.samples, lists, pin_memory=self.pin_memory))

    def _from_here(self) -> Iterator[ImageBatch]:
        batch = self.batch
        positions = Positions(
            global_size=batch.global_size,
            per_device=batch.per_device,
            rank=self.rank,
            world=batch.processes,
            start=self.stream.position,
        )
        return ImageLoader(self.samples, positions, pin_memory=self.pin_memory)

    def _noted(self, batch: ImageBatch) -> ImageBatch:
        """Remember what a micro-batch tells of its files: pictures that cannot be decoded, lengths of shards."""
        self.unreadable.note(batch.unreadable, batch.reasons)
        self.stream.lengths.update(batch.lengths)
        return batch
