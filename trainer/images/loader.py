"""Micro-batches of training images for one rank, without end, decoded in worker processes.

The training process never blocks in a read: a thread asks the workers, and the process waits by `WATCH.until`. Samples
follow from their positions, so after an interruption (a killed worker, an unavailable disk) reading begins again at the
same position, and the stream is unchanged.
"""

import atexit
import time
from collections import deque
from collections.abc import Iterable, Iterator
from weakref import WeakSet

from trainer.distributed.waiting import WATCH, GivenUp, say_on_stderr
from trainer.images.away import Away
from trainer.images.crops import ImageBatch
from trainer.images.reading import BatchReader, PositionQueue, TrainingDataset
from trainer.mistakes import Mistake

TICK = 0.2
"""Seconds between two looks, during a wait, for a stop request and for workers that died."""
GRACE = 10.0
"""Seconds that a batch may still take after a stop request: the state can be saved without it."""
MOST_DEATHS, WITHIN_BATCHES = 3, 1000
"""Deaths of workers that are allowed, and the number of batches within which they are counted."""
DEATH_DELAY = 1.0
"""Seconds to wait for a worker's death to show, after an error that may come of it."""
PAUSE, LONGEST_PAUSE = 1.0, 30.0
"""Seconds until an unavailable disk is tried again, and the limit up to which they are doubled each time."""


class ImageLoader(Iterator[ImageBatch]):
    """Iterator over the micro-batches of one rank, in the order of the stream; there is no state to save.

    The workers start with the object, and end with `close()`, with the object, or with the process.
    """

    def __init__(self, images: TrainingDataset, positions: Iterable[list[int]], *, pin_memory: bool) -> None:
        """Start to read.

        Args:
            images: samples by position, the same on every rank.
            positions: those that this rank reads, a list for each micro-batch, such as `Positions`.
            pin_memory: deliver in page-locked memory; for a CUDA device.
        """
        self.images, self.queue, self.pin_memory = images, PositionQueue(positions), pin_memory
        self.reader: BatchReader | None = BatchReader(images, self.queue, pin_memory)
        self.delivered = 0
        self.deaths: deque[int] = deque(maxlen=MOST_DEATHS + 1)
        self.away, self.pause, self.again_at = "", PAUSE, 0.0
        _LOADERS.add(self)

    def __next__(self) -> ImageBatch:
        """The next micro-batch.

        Raises:
            Mistake: neither a picture nor its replacements could be decoded: see `TrainingImages`.
            GivenUp: none came within the limit or after a stop request, or workers die again and again.
        """
        if self.reader is None:
            raise StopIteration
        self.reader.ask()
        batches = WATCH.until(self._poll, "waiting for a batch", self._describe_wait, grace=GRACE, pause=0)
        if not batches:
            self.close()
            raise StopIteration
        self.queue.deliver()
        self.delivered += 1
        self.away, self.pause = "", PAUSE
        return batches[0]

    def _poll(self) -> list[ImageBatch] | None:
        """The next batch in a list, an empty list at the end, or None if nothing has come yet."""
        if self.reader is None:  # the disk is unavailable
            time.sleep(TICK)
            if time.monotonic() > self.again_at:
                self._begin_again()
            return None
        answer = self.reader.answer(TICK)
        if isinstance(answer, ImageBatch | StopIteration):
            return [answer] if isinstance(answer, ImageBatch) else []
        if isinstance(answer, Mistake):
            # A worker's exception arrives as the text of a traceback, which ends in the sentence.
            raise Mistake(str(answer).rsplit("Mistake: ", 1)[-1].strip()) from None
        if isinstance(answer, Away):
            self.away = str(answer).rsplit("Away: ", 1)[-1].strip()
            self.again_at, self.pause = time.monotonic() + self.pause, min(2 * self.pause, LONGEST_PAUSE)
            self.close()
        elif dead := self.reader.dead(0 if answer is None else DEATH_DELAY):
            self._replace_workers(dead)
        elif answer is not None:
            raise answer
        return None

    def _replace_workers(self, dead: list[int]) -> None:
        """Start new workers in place of dead ones; GivenUp if they die too often."""
        self.deaths.append(self.delivered)
        sentence = f"{WATCH.rank}: a process that decodes pictures was killed ({', '.join(map(str, dead))})"
        if len(self.deaths) > MOST_DEATHS and self.delivered - self.deaths[0] <= WITHIN_BATCHES:
            self.close()
            raise GivenUp(
                f"{sentence}, for the {len(self.deaths)}th time within {WITHIN_BATCHES} batches: is the machine short "
                "of memory? A smaller images.dataloader_num_workers or images.cache_mib needs less."
            )
        say_on_stderr(f"{sentence}; another one does its work.")
        self._begin_again()

    def _begin_again(self) -> None:
        self.close()
        self.queue.rewind()
        self.reader = BatchReader(self.images, self.queue, self.pin_memory)
        self.reader.ask()

    def _describe_wait(self) -> str:
        """The samples that are being read for the batch, for the message of a long wait."""
        if self.away:
            return f"{self.away}; it is tried again"
        wanted = self.queue.first()
        in_hand = [place for place in self.reader.places if place in wanted] if self.reader else []
        if in_hand:
            return ", ".join(map(self.images.describe, in_hand))
        more = f" and {len(wanted) - 1} more" if len(wanted) > 1 else ""
        return f"{self.images.describe(wanted[0])}{more}, which no process is reading" if wanted else ""

    def close(self) -> None:
        """End the workers; a second call does nothing."""
        if self.reader:
            self.reader.end()
        self.reader = None


_LOADERS: WeakSet[ImageLoader] = WeakSet()


@atexit.register  # runs before multiprocessing's own exit handler, which would wait for the workers
def _close_all() -> None:
    for loader in list(_LOADERS):
        loader.close()
