"""A DataLoader with its worker processes, driven by a thread."""

from collections import deque
from collections.abc import Iterable, Iterator, MutableSequence, Sequence
from functools import partial
from multiprocessing import Pipe, active_children
from multiprocessing.connection import Connection, wait
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any
from weakref import finalize

import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from trainer.images.crops import ImageBatch, TrainingImages
from trainer.images.machine import cores_of_a_process
from trainer.images.mixture import TrainingMixture
from trainer.images.streaming.reader import TrainingStream
from trainer.images.worker import end_with, fork_server, without_program

TrainingDataset = TrainingImages | TrainingMixture | TrainingStream
Answer = ImageBatch | Exception | None
IDLE = -1


class PositionQueue(Iterator[list[int]]):
    """Lists of positions that are handed out again until their batches are delivered."""

    def __init__(self, positions: Iterable[list[int]]) -> None:
        self.rest = iter(positions)
        self.out: deque[list[int]] = deque()
        self.again: deque[list[int]] = deque()

    def __next__(self) -> list[int]:
        """Hand out the next list."""
        self.out.append(self.again.popleft() if self.again else next(self.rest))
        return self.out[-1]

    def first(self) -> list[int]:
        """The list whose batch comes next; empty if none was handed out."""
        return next(iter((*self.out, *self.again)), [])

    def deliver(self) -> None:
        """Drop the first list: its batch was delivered."""
        self.out.popleft()

    def rewind(self) -> None:
        """Hand out again all that was handed out and not delivered."""
        self.again.extendleft(reversed(self.out))
        self.out.clear()


class TrackedImages(Dataset[Any]):
    """A dataset that records, for each worker, the position that it is reading."""

    def __init__(self, images: TrainingDataset, places: MutableSequence[int]) -> None:
        self.images, self.places = images, places

    def __getitems__(self, positions: Sequence[int]) -> list[Any]:
        """The samples of a micro-batch, all of whose positions DataLoader passes at once."""
        information = get_worker_info()
        worker = 0 if information is None else information.id
        if isinstance(self.images, TrainingStream):
            self.places[worker] = positions[0]
            samples: list[Any] = list(self.images.__getitems__(positions))
        else:
            samples = []
            for position in positions:
                self.places[worker] = position
                samples.append(self.images[position])
        self.places[worker] = IDLE
        return samples


class BatchReader:
    """Micro-batches read by worker processes, or by the thread itself if there are none."""

    def __init__(self, images: TrainingDataset, queue: PositionQueue, pin_memory: bool) -> None:
        workers = min(images.processes, cores_of_a_process())
        context = fork_server() if workers else None
        self.places: MutableSequence[int] = [IDLE]
        if context:
            self.places = context.RawArray("q", [IDLE] * workers)
        held, leash = Pipe(duplex=False)
        before = active_children()
        loader = DataLoader(
            TrackedImages(images, self.places),
            batch_sampler=queue,
            collate_fn=images.collate,
            num_workers=workers,
            worker_init_fn=partial(end_with, held),
            multiprocessing_context=context,
            pin_memory=pin_memory,
            # Its only use is a seed for workers' RNGs, which nothing reads; by default it would be drawn from the
            # global generator, and so change what is initialised after.
            generator=torch.Generator().manual_seed(0),
        )
        with without_program():
            batches = iter(loader)
        self.workers = [process for process in active_children() if process not in before]
        held.close()  # the workers hold copies of it
        self.requests: SimpleQueue[bool] = SimpleQueue()
        self.answers: SimpleQueue[Answer] = SimpleQueue()
        self.thread = Thread(target=_read, args=(batches, self.requests, self.answers), name="images", daemon=True)
        self.thread.start()
        self._release = finalize(self, _release, self.requests, leash)

    def ask(self) -> None:
        """Request the next micro-batch."""
        self.requests.put(True)

    def answer(self, seconds: float) -> Answer:
        """The result of a request, if it came within `seconds`: a micro-batch, StopIteration at the end, an error; or
        None."""
        try:
            return self.answers.get(timeout=seconds)
        except Empty:
            return None

    def dead(self, seconds: float = 0) -> list[int]:
        """Process ids of workers that have ended, or end within `seconds`."""
        gone = wait([process.sentinel for process in self.workers], seconds) if self.workers else []
        return [process.pid or 0 for process in self.workers if process.sentinel in gone]

    def end(self) -> None:
        """End workers and thread, also those that hang."""
        self._release()
        for process in self.workers:
            process.join(1)
            if process.is_alive():  # stopped, or in a read that never ends
                process.kill()
        self.thread.join(1)


def _read(batches: Iterator[ImageBatch], requests: SimpleQueue[bool], answers: SimpleQueue[Answer]) -> None:
    """Fetch a micro-batch for each request."""
    while requests.get():
        try:
            answers.put(next(batches))
        except Exception as error:  # of any kind: the caller of `answer` decides what it means
            answers.put(error.with_traceback(None))  # the traceback would keep the workers alive


def _release(requests: SimpleQueue[bool], leash: Connection) -> None:
    requests.put(False)
    leash.close()
