"""Micro-batches of training images for one rank, without end, decoded in worker processes."""

import atexit
from collections.abc import Iterator
from types import TracebackType

import torch
from torch.utils.data import DataLoader

from trainer.images.crops import ImageBatch, TrainingImages, TrainingImagesConfig, collate
from trainer.images.positions import Positions
from trainer.images.sources import ImageSource
from trainer.images.worker import follow_parent, fork_server
from trainer.mistakes import Mistake


class ImageLoader(Iterator[ImageBatch]):
    """The micro-batches of one rank in the order of the stream (law 1); there is no state to save.

    The workers start with the object and end with `close()`, with its context, or with the process.
    """

    def __init__(
        self,
        source: ImageSource,
        config: TrainingImagesConfig,
        *,
        seed: int,
        positions: Positions,
        pin_memory: bool,
    ) -> None:
        """Start to read.

        Args:
            source: the opened pictures, the same on every rank.
            config: how to cut them, and with how many workers.
            seed: the run's seed.
            positions: what this rank reads, beginning at the step to train next.
            pin_memory: deliver in page-locked memory; for a CUDA device.
        """
        workers = config.dataloader_num_workers
        loader = DataLoader(
            TrainingImages(source, config, seed),
            batch_sampler=positions,
            collate_fn=collate,
            num_workers=workers,
            worker_init_fn=follow_parent,
            multiprocessing_context=fork_server() if workers else None,
            pin_memory=pin_memory,
            # Its only use is a seed for workers' RNGs, which nothing reads; the default would be drawn from the
            # global generator, and so change what is initialised after.
            generator=torch.Generator().manual_seed(0),
        )
        self._batches: Iterator[ImageBatch] | None = iter(loader)
        atexit.register(self.close)  # it comes before multiprocessing's own exit, which would wait for them

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
        """End the workers, and wait for that; a second call does nothing."""
        self._batches = None
        atexit.unregister(self.close)

    def __enter__(self) -> "ImageLoader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
