"""The processes of a run: how they join, and how one works for all."""

import os
import socket
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cache
from itertools import count
from pathlib import Path
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import (
    broadcast_object_list,
    gather_object,
)
from torch.distributed.distributed_c10d import Store

from trainer.distributed.waiting import WATCH, Stopped, say
from trainer.mistakes import Failure, Mistake, agreed

T = TypeVar("T")

STOPS = "wildsr/stops"
"""The store's key for why a rank ends before the first step, on request."""
LAST = 60.0
"""Seconds in which rank 0, which keeps the store, waits for the others to look there."""
GRACE = 5.0
"""Seconds after a stop request until work before the first step is ended: there is nothing to save."""


def leave() -> None:
    """Take this process out of its group: a thread of gloo's that still runs at Python's end can abort it."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def on_main(accelerator: Accelerator, work: Callable[[], T], what: str = "doing work for all") -> T:
    """Do `work` on rank 0 and give every rank its result; what it raises, every rank raises.

    However long it takes, no collective waits for it. `what` names it in the words that follow "rank 0 is".
    """
    outcome: list[T | Exception | None] = [None]
    if accelerator.is_main_process:
        with WATCH.phase(what, grace=GRACE):
            outcome = [_outcome(work)]
    meet(f"waiting for rank 0, which is {what}", [0])
    broadcast_object_list(outcome)
    if isinstance(outcome[0], Exception):
        raise _shared(outcome[0])
    return outcome[0]  # type: ignore[return-value]


def once_per_machine(accelerator: Accelerator, work: Callable[[], T], what: str) -> T:
    """Do `work` on one rank of each machine, before any other goes on; the first one's result, or what any raised."""
    answers: list[T | Exception] = []
    if accelerator.is_local_main_process:
        with WATCH.phase(what, grace=GRACE):
            answers = [_outcome(work)]
    meet(f"waiting for the first rank of each machine, which is {what}", range(accelerator.num_processes))
    answers = gather_object(answers)
    for answer in answers:
        if isinstance(answer, Exception):
            raise _shared(answer)
    return answers[0]  # type: ignore[return-value]


def _outcome(work: Callable[[], T]) -> T | Exception:
    """What `work` returns, or what it raises: a sentence as it is, anything else as a Failure."""
    try:
        return work()
    except (Mistake, Failure) as error:
        return error
    except Exception as error:  # of any kind: the other ranks wait for an answer
        traceback.print_exc()
        return Failure(f"{WATCH.rank}: {type(error).__name__}: {error}")


def _shared(error: Exception) -> Exception:
    """What one rank raised, for all to raise."""
    return agreed(error) if isinstance(error, Mistake | Failure) else error


@contextmanager
def telling_of_lost_ranks() -> Iterator[None]:
    """Say in a sentence that an exchange failed, and in what this rank was; Stopped where the other one was stopped."""
    try:
        yield
    except RuntimeError as error:
        if not is_of_peers(error):
            raise
        if (stopped := _word_of(STOPS)) is not None:
            raise Stopped(stopped) from error
        while_ = f" while {WATCH.broken}" if WATCH.broken else ""
        reason = str(error).splitlines()[0]
        raise Failure(f"{WATCH.rank}: another rank is gone{while_}: {reason}. {WATCH.words()}") from error


def stop_together(stopped: Stopped) -> None:
    """Let every rank end as this one does, which was asked to stop before the first step: there is nothing to save."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return
    store, rank = _store(), torch.distributed.get_rank()
    everyone = [f"{STOPS}/{one}" for one in range(torch.distributed.get_world_size())]
    try:
        store.set(STOPS, str(stopped))
        store.set(everyone[rank], "")
        hang_up()  # so that who is in an exchange with this rank looks there
        deadline = time.monotonic() + (LAST if rank == 0 else 0.0)  # the store ends with rank 0
        while time.monotonic() < deadline and not store.check(everyone):
            time.sleep(0.02)
    except torch.distributed.DistError:
        say(f"{WATCH.rank}: rank 0 is gone already.")


def is_of_peers(error: Exception) -> bool:
    """Whether it says that an exchange with other ranks failed, as it does when one of them is gone."""
    return isinstance(error, torch.distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def hang_up() -> None:
    """Break this process's connections, but for those of the store: who is in an exchange with it sees that at once.

    gloo breaks them itself only with the last reference to a group, and DDP keeps one.
    """
    store = int(os.environ["MASTER_PORT"])
    for link in list(Path("/proc/self/fd").iterdir()):
        try:
            handle = socket.socket(fileno=os.dup(int(link.name)))
        except OSError:  # no socket, or gone with the listing
            continue
        with handle:
            try:
                ends = handle.getsockname(), handle.getpeername()
            except OSError:  # it only listens
                continue
            if handle.family in (socket.AF_INET, socket.AF_INET6) and store not in (end[1] for end in ends):
                handle.shutdown(socket.SHUT_RDWR)


@cache
def _store() -> Store:
    """What the ranks joined by; it outlives their process group."""
    return torch.distributed.distributed_c10d._get_default_store()


def _word_of(key: str) -> str | None:
    """What some rank has left in the store under `key`, if any has, and if the store, which rank 0 keeps, still is."""
    if not torch.distributed.is_initialized():  # the processes did not find each other
        return None
    try:
        return _store().get(key).decode() if _store().check([key]) else None
    except torch.distributed.DistError:
        return None


_MEETINGS = count()


def meet(what: str, ranks: Iterable[int]) -> None:
    """Wait until `ranks` have come here, which all ranks do in the same order. No collective, so no timeout of one.

    Raises:
        Stopped, Failure: see `Watch.until`; a Failure too where rank 0, which keeps the list, is gone.
    """
    if not torch.distributed.is_initialized():
        return
    store, number = _store(), next(_MEETINGS)
    store.set(f"wildsr/{number}/{torch.distributed.get_rank()}", "here")
    missing = {rank: f"wildsr/{number}/{rank}" for rank in ranks}

    def all_here() -> bool | None:
        if (stopped := _word_of(STOPS)) is not None:
            raise Stopped(stopped)
        for rank in [rank for rank, key in missing.items() if store.check([key])]:
            del missing[rank]
        return not missing or None

    try:
        WATCH.until(all_here, what, lambda: f"rank {', '.join(map(str, missing))} is not there", pause=0.05)
    except torch.distributed.DistError as error:
        raise Failure(f"{WATCH.rank}: {what}: the store that rank 0 keeps is gone: {error}") from error
