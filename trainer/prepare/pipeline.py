"""From pictures to shards: read and cut by threads, written in the order of the pictures."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event
from typing import TypeVar

from einops import rearrange
from PIL import Image
from tqdm import tqdm

from trainer.images.away import Away
from trainer.images.listing import printable
from trainer.images.machine import cores_of_a_process
from trainer.images.opened import Unreadable
from trainer.images.sources import Files
from trainer.mistakes import Failure
from trainer.prepare.shards import Prepared
from trainer.prepare.tiles import Cut, Tiles

Item = TypeVar("Item")
Made = TypeVar("Made")
Picture = tuple[Files, int]


def make_shards(prepared: Prepared, sources: Sequence[Files], cut: Cut, limit: int, workers: int | None) -> None:
    """Make the shards that are missing, each of the pictures with which its tiles reach `limit` bytes.

    As many threads as there are cores work, or `workers` if those are fewer. Raises OSError if the disk refuses.
    """
    pictures = [(source, index) for source in sources for index in range(len(source))]
    done, cores = prepared.total().pictures, cores_of_a_process(local=1)
    prepared.begin()
    with (
        in_order(
            lambda picture, stop: result(picture, cut, stop), pictures[done:], min(cores, workers or cores)
        ) as results,
        tqdm(
            results,
            total=len(pictures),
            initial=done,
            unit="picture",
            dynamic_ncols=True,
            disable=not sys.stderr.isatty(),
        ) as bar,
    ):
        named = iter(bar)
        try:
            while prepared.total().pictures < len(pictures):
                prepared.add(named, limit)
        except KeyboardInterrupt:
            prepared.save()  # it may have come between a shard and the manifest
            raise


def title(source: Files) -> str:
    """Name of a folder in the column `source`: its own, as the folders above it are of this machine only."""
    return printable(Path(source.root).resolve().name)


def result(picture: Picture, cut: Cut, stop: Event) -> tuple[str, Tiles | Unreadable]:
    """Name of a picture, and its tiles or why it cannot be read; Failure if its disk is unavailable."""
    source, index = picture
    name = f"{title(source)}/{printable(source.files[index])}"
    try:
        pixels = source.read(index)
    except Away as error:
        raise Failure(f"the pictures went away: {error}; the same command goes on.") from error
    except Unreadable as error:
        return name, error
    return name, cut.tiles(Image.fromarray(rearrange(pixels, "rgb row column -> row column rgb").numpy()), stop)


@contextmanager
def in_order(work: Callable[[Item, Event], Made], items: Iterable[Item], workers: int) -> Iterator[Iterator[Made]]:
    """The results of `work`, in the order of `items`, by threads; as many wait at most as there are threads.

    Threads are enough: Pillow decodes, reduces and encodes without the interpreter's lock. The event that `work` gets
    is set at the end: whatever it does then is wanted by nobody.
    """
    pool, stop = ThreadPoolExecutor(workers), Event()

    def results() -> Iterator[Made]:
        waiting: deque[Future[Made]] = deque()
        for item in items:
            waiting.append(pool.submit(work, item, stop))
            if len(waiting) > workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    try:
        yield results()
    finally:
        stop.set()
        pool.shutdown(cancel_futures=True)
