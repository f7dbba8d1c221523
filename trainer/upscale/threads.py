"""Threaded pipeline, read -> work -> write, with bounded look-ahead."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Read = TypeVar("Read")
Made = TypeVar("Made")

DEPTH = 2
"""Number of files read ahead, and of those written behind: it bounds the pictures in memory."""


def pipelined(
    items: Iterable[Item],
    read: Callable[[Item], Read],
    work: Callable[[Read], Made],
    write: Callable[[Item, Made], None],
    caught: tuple[type[Exception], ...],
) -> Iterator[tuple[Item, Exception | None]]:
    """Read, work on and write each item; yield it once written, with None or the exception.

    `work` is called here, one item at a time; `read` and `write` in threads. Exceptions of other kinds than `caught`
    end all.
    """
    with ThreadPoolExecutor(DEPTH) as readers, ThreadPoolExecutor(DEPTH) as writers:
        written: deque[tuple[Item, Future[None]]] = deque()
        for item, reading in _ahead(readers, read, items):
            try:
                made = work(reading.result())
            except caught as error:
                yield item, error
                continue
            written.append((item, writers.submit(write, item, made)))
            del made  # the writer holds it, and frees it when it is done
            while len(written) > DEPTH or (written and written[0][1].done()):
                yield _settled(*written.popleft(), caught)
        while written:
            yield _settled(*written.popleft(), caught)


def _ahead(
    readers: ThreadPoolExecutor, read: Callable[[Item], Read], items: Iterable[Item]
) -> Iterator[tuple[Item, Future[Read]]]:
    started: deque[tuple[Item, Future[Read]]] = deque()
    for item in items:
        started.append((item, readers.submit(read, item)))
        if len(started) > DEPTH:
            yield started.popleft()
    while started:
        yield started.popleft()


def _settled(item: Item, writing: Future[None], caught: tuple[type[Exception], ...]) -> tuple[Item, Exception | None]:
    try:
        writing.result()
    except caught as error:
        return item, error
    return item, None
