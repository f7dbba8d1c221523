"""Forks of an interpreter with one thread, as the trainer's are: `forked_ranks.py CASE` prints what came of them.

A worker of the tests has threads, whose locks a fork inherits as they are.
"""

import os
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from trainer.launcher.forked import SHUTDOWN, Fork, Ranks, fork
from trainer.launcher.programs import Ended, handling, run_first


def ends(status: int) -> NoReturn:
    os._exit(status)


def sleeps() -> NoReturn:
    """Until SIGTERM, which it obeys with status 0."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    time.sleep(60)
    os._exit(9)


def raises() -> NoReturn:
    raise ValueError("in the fork")


def kills_itself() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    os._exit(9)


def says(status: int) -> NoReturn:
    os.write(1, b"one\nlast\n")
    os._exit(status)


def first_fails(first: Callable[[], NoReturn]) -> tuple[int, dict[int, int]]:
    """Status and ends of two ranks of which the first fails."""
    ranks = Ranks()
    ranks.alive = {0: fork(first), 1: fork(sleeps)}
    ranks.wait()
    return ranks.status, ranks.ended


def asked() -> tuple[int, dict[int, int]]:
    """Those of two ranks whose parent gets a signal."""
    os.environ[SHUTDOWN] = "60"
    ranks = Ranks()
    ranks.alive = {rank: fork(sleeps) for rank in range(2)}
    with handling(ranks.hand_on):
        os.kill(os.getpid(), signal.SIGTERM)
        ranks.wait()
    return ranks.status, ranks.ended


def overdue() -> tuple[int, dict[int, int]]:
    """Those of a rank that does not hear a signal, and has no time to."""
    os.environ[SHUTDOWN] = "0"
    ranks = Ranks()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the fork
    ranks.alive = {0: fork(sleeps)}
    ranks.hand_on(signal.SIGINT, None)
    ranks.wait()
    return ranks.status, ranks.ended


def read() -> tuple[str, int]:
    """The last line of a fork that ends well, and the status raised for one that does not."""
    line = run_first(lambda: Fork(partial(says, 0)))
    try:
        run_first(lambda: Fork(partial(says, 2)))
    except Ended as ended:
        return line, ended.status
    return line, 0


CASES: dict[str, Callable[[], object]] = {
    "ends": lambda: first_fails(partial(ends, 3)),
    "raises": lambda: first_fails(raises),
    "kills_itself": lambda: first_fails(kills_itself),
    "asked": asked,
    "overdue": overdue,
    "read": read,
}

if __name__ == "__main__":
    print(CASES[sys.argv[1]]())
