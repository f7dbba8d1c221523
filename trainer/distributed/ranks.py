"""Work of one rank for all, and the orderly end of ranks whose peers stop or die."""

import os
import socket
import sys
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
from accelerate.utils import broadcast_object_list, gather_object
from torch import Tensor
from torch.distributed.distributed_c10d import Store

from trainer.distributed.waiting import WATCH, Stopped, say_on_stderr
from trainer.mistakes import Failure, Mistake, agreed

T = TypeVar("T")

STOP_KEY = "wildsr/stops"
"""The store's key for the reason of a rank that ends before the first step, on request."""
END_KEY = "wildsr/ends"
"""The store's key for the number of ranks that ended the run by an error of their own, which the first prints."""
STORE_LINGER = 60.0
"""Seconds for which rank 0, which hosts the store, waits for the others to read it."""
START_GRACE = 5.0
"""Seconds after a stop request until work before the first step is ended; there is nothing to save yet."""


def leave_group() -> None:
    """Destroy the process group: a thread of gloo that still runs at Python's exit can abort the process."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def on_main(accelerator: Accelerator, work: Callable[[], T], what: str = "doing work for all") -> T:
    """Do `work` on rank 0 and return its result on every rank; an exception of it is raised on every rank.

    No collective waits meanwhile, so it may take long. `what` describes the work, after "rank 0 is".
    """
    outcome: list[T | Exception | None] = [None]
    if accelerator.is_main_process:
        with WATCH.phase(what, grace=START_GRACE):
            outcome = [_result_or_error(work)]
    wait_for_ranks(f"waiting for rank 0, which is {what}", [0])
    broadcast_object_list(outcome)
    if isinstance(outcome[0], Exception):
        raise _for_all_ranks(outcome[0])
    return outcome[0]  # type: ignore[return-value]


def once_per_machine(accelerator: Accelerator, work: Callable[[], T], what: str) -> T:
    """Do `work` on one rank of each machine while the others wait; the first result, or any exception, on all ranks."""
    answers: list[T | Exception] = []
    if accelerator.is_local_main_process:
        with WATCH.phase(what, grace=START_GRACE):
            answers = [_result_or_error(work)]
    wait_for_ranks(f"waiting for the first rank of each machine, which is {what}", range(accelerator.num_processes))
    answers = gather_object(answers)
    for answer in answers:
        if isinstance(answer, Exception):
            raise _for_all_ranks(answer)
    return answers[0]  # type: ignore[return-value]


def tensors_on_main(accelerator: Accelerator, own: Iterable[tuple[int, Tensor]]) -> list[tuple[int, Tensor]]:
    """The numbered tensors of all ranks, on rank 0's CPU in the order of their numbers; elsewhere empty. Collective.

    They go straight to rank 0: `gather_object` would fill each rank's device with the largest one times the ranks.
    """
    rank, main = accelerator.process_index, accelerator.is_main_process
    mine = dict(own)
    facts = [(number, rank, tuple(tensor.shape), tensor.dtype) for number, tensor in mine.items()]
    for number, owner, shape, dtype in sorted(gather_object(facts), key=lambda fact: fact[0]):
        if owner == 0:
            continue
        if main:
            mine[number] = torch.empty(shape, dtype=dtype, device=accelerator.device)
            torch.distributed.recv(mine[number], owner)
        elif rank == owner:
            torch.distributed.send(mine[number].to(accelerator.device).contiguous(), 0)
    return [(number, mine[number].cpu()) for number in sorted(mine)] if main else []


def _result_or_error(work: Callable[[], T]) -> T | Exception:
    """The result of `work`, or its exception: a Mistake or Failure as it is, any other as a Failure."""
    try:
        return work()
    except (Mistake, Failure) as error:
        return error
    except Exception as error:  # any class: the other ranks wait for an answer
        traceback.print_exc()
        return Failure(f"{WATCH.rank}: {type(error).__name__}: {error}")


def _for_all_ranks(error: Exception) -> Exception:
    """The exception of one rank, marked as raised by all if it is a Mistake or Failure."""
    return agreed(error) if isinstance(error, Mistake | Failure) else error


@contextmanager
def naming_lost_ranks() -> Iterator[None]:
    """Turn a failed exchange into a Failure that names this rank's phase, or into Stopped if the peer was stopped."""
    try:
        yield
    except RuntimeError as error:
        if not is_exchange_error(error):
            raise
        if (stopped := _read_store(STOP_KEY)) is not None:
            raise Stopped(stopped) from error
        if _read_store(END_KEY) is not None:
            failure = Failure(f"{WATCH.rank}: another rank has ended the run.")
            failure.prints = False
            raise failure from error
        while_ = f" while {WATCH.failed_phase}" if WATCH.failed_phase else ""
        reason = str(error).splitlines()[0]
        raise Failure(f"{WATCH.rank}: another rank is gone{while_}: {reason}. {WATCH.ask_last_words()}") from error


def end_together(stopped: str = "") -> None:
    """End every rank as this one: for the reason `stopped` before the first step, or as `is_first_to_end` has noted."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return
    store, rank = _store(), torch.distributed.get_rank()
    everyone = [f"{END_KEY}/{one}" for one in range(torch.distributed.get_world_size())]
    try:
        if stopped:
            store.set(STOP_KEY, stopped)
        store.set(everyone[rank], "")
        close_connections()  # so that ranks in an exchange with this one read the store
        deadline = time.monotonic() + (STORE_LINGER if rank == 0 else 0.0)  # the store dies with rank 0
        while time.monotonic() < deadline and not store.check(everyone):
            time.sleep(0.02)
    except torch.distributed.DistError:
        say_on_stderr(f"{WATCH.rank}: rank 0 is gone already.")


def is_first_to_end() -> bool:
    """True on the first rank that calls this, before it ends the run by an error that others may not meet."""
    if not torch.distributed.is_initialized():
        return True
    try:
        return _store().add(END_KEY, 1) == 1
    except torch.distributed.DistError:  # rank 0, which hosts it, is gone, perhaps for another reason
        return True


def is_exchange_error(error: Exception) -> bool:
    """True if an exchange with other ranks failed, as it does when one of them is gone."""
    return isinstance(error, torch.distributed.DistError) or (isinstance(error, RuntimeError) and "gloo" in str(error))


def close_connections() -> None:
    """Shut down this process's connections except those to the store: peers in an exchange with it fail at once.

    gloo closes them only with the last reference to a group, and DDP keeps one.
    """
    store = int(os.environ["MASTER_PORT"])
    descriptors = Path("/proc/self/fd" if sys.platform == "linux" else "/dev/fd")
    for link in list(descriptors.iterdir()):
        try:
            handle = socket.socket(fileno=os.dup(int(link.name)))
        except OSError:  # no socket, or closed since the listing
            continue
        with handle:
            try:
                ends = handle.getsockname(), handle.getpeername()
            except OSError:  # a listening socket
                continue
            if handle.family in (socket.AF_INET, socket.AF_INET6) and store not in (end[1] for end in ends):
                handle.shutdown(socket.SHUT_RDWR)


@cache
def _store() -> Store:
    """The store by which the ranks joined; it outlives their process group."""
    return torch.distributed.distributed_c10d._get_default_store()


def _read_store(key: str) -> str | None:
    """The value of `key` in the store; None if no rank has set it, or rank 0, which hosts the store, is gone."""
    if not torch.distributed.is_initialized():  # the processes have not joined
        return None
    try:
        return _store().get(key).decode() if _store().check([key]) else None
    except torch.distributed.DistError:
        return None


_WAITS = count()


def wait_for_ranks(what: str, ranks: Iterable[int]) -> None:
    """Wait until `ranks` have called this, which all do in the same order. No collective, so no timeout of one.

    Raises:
        Stopped, Failure: see `Watch.until`; Failure too if rank 0, which hosts the store, is gone.
    """
    if not torch.distributed.is_initialized():
        return
    store, number = _store(), next(_WAITS)
    store.set(f"wildsr/{number}/{torch.distributed.get_rank()}", "here")
    missing = {rank: f"wildsr/{number}/{rank}" for rank in ranks}

    def all_here() -> bool | None:
        if (stopped := _read_store(STOP_KEY)) is not None:
            raise Stopped(stopped)
        for rank in [rank for rank, key in missing.items() if store.check([key])]:
            del missing[rank]
        return not missing or None

    try:
        WATCH.until(all_here, what, lambda: f"rank {', '.join(map(str, missing))} is not there", pause=0.05)
    except torch.distributed.DistError as error:
        raise Failure(f"{WATCH.rank}: {what}: the store that rank 0 keeps is gone: {error}") from error
