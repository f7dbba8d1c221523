"""Micro-batches of training images for one rank, without end, decoded in worker processes."""

import atexit
from collections.abc import Iterable, Iterator
from functools import partial
from multiprocessing import Pipe
from weakref import WeakSet, finalize

import torch
from torch.utils.data import DataLoader

from trainer.images.crops import ImageBatch, TrainingImages
from trainer.images.given import TrainingMixture
from trainer.images.stream_reader import TrainingStream
from trainer.images.worker import end_with, fork_server
from trainer.mistakes import Mistake


class ImageLoader(Iterator[ImageBatch]):
    """The micro-batches of one rank in the order of the stream (law 1); there is no state to save.

    The workers start with the object, and end with `close()`, with the object, or with the process.
    """

    def __init__(
        self,
        images: TrainingImages | TrainingMixture | TrainingStream,
        positions: Iterable[list[int]],
        *,
        pin_memory: bool,
    ) -> None:
        """Start to read.

        Args:
            images: samples by position, the same on every rank.
            positions: what this rank reads, a list for each micro-batch, such as `Positions`.
            pin_memory: deliver in page-locked memory; for a CUDA device.
        """
        workers = images.processes
        context = fork_server() if workers else None
        held, self._leash = Pipe(duplex=False)
        loader = DataLoader(
            images,
            batch_sampler=positions,
            collate_fn=images.collate,
            num_workers=workers,
            worker_init_fn=partial(end_with, held),
            multiprocessing_context=context,
            pin_memory=pin_memory,
            # Its only use is a seed for workers' RNGs, which nothing reads; by default it would be drawn from the
            # global generator, and so change what is initialised after.
            generator=torch.Generator().manual_seed(0),
        )
        self._batches: Iterator[ImageBatch] | None = iter(loader)
        held.close()  # the workers have theirs
        finalize(self, self._leash.close)
        _LOADERS.add(self)

    def __next__(self) -> ImageBatch:
        """The next micro-batch.

        Raises:
            Mistake: no picture could be decoded in its place: see `TrainingImages`.
        """
        if self._batches is None:
            raise StopIteration
        try:
            return next(self._batches)
        except Mistake as error:
            # From a worker it comes as the text of a traceback, which ends in the sentence.
            raise Mistake(str(error).rsplit("Mistake: ", 1)[-1].strip()) from None

    def close(self) -> None:
        """End the workers; a second call does nothing."""
        self._batches = None  # which ends them, unless a traceback holds it too
        self._leash.close()


_LOADERS: WeakSet[ImageLoader] = WeakSet()


@atexit.register  # so before multiprocessing's own exit, which would wait for them
def _close_all() -> None:
    for loader in list(_LOADERS):
        loader.close()
