"""Lifecycle of the decoding processes: forked by a server, and ended with the training process.

They are forked by a fork server, because forking the training process itself, which has threads (collectives,
tracker, pinned memory) and a CUDA context, can leave a child waiting for a lock that nobody holds.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from pathlib import Path
from threading import Thread
from types import ModuleType
from typing import TYPE_CHECKING

from trainer.distributed.signals import SIGNALS

if TYPE_CHECKING:
    from multiprocessing.context import ForkServerContext  # Windows has none

ROOT = str(Path(__file__).resolve().parents[2])
"""The folder of the packages `trainer` and `degradations`."""


def fork_server() -> "ForkServerContext":
    """The multiprocessing context for workers that stop signals do not reach, with torch loaded before they are forked.

    Launchers and Slurm send stop signals to every process of the job; only the training process answers, with a last
    checkpoint, and until then it needs its batches.
    """
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["trainer.images.crops"])
    # Blocked signals stay blocked in children, across exec too. In this process a signal is only delayed, never lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    resource_tracker.ensure_running()
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # again: starting the tracker unblocks two of them
    with _own_modules():
        forkserver.ensure_running()
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return context


@contextmanager
def _own_modules() -> Iterator[None]:
    """Let Python processes that start now import this program's modules, whatever lies where the command was typed.

    A fork server is begun by `python -c`, which looks in the current folder first: a folder `trainer` there, as of
    another checkout, would decode the pictures.
    """
    wanted = {"PYTHONSAFEPATH": "1", "PYTHONPATH": os.pathsep.join(filter(None, [ROOT, os.environ.get("PYTHONPATH")]))}
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def without_program() -> Iterator[None]:
    """Start workers that do not run the program's own file again.

    They would, as `multiprocessing` has it, to find the classes of `__main__`: a script that calls `train` without
    `if __name__ == "__main__"` would be started anew in each. No object of `__main__` is sent to them.
    """
    program = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = program


def end_with(leash: Connection, _worker: int) -> None:
    """Make a worker exit as soon as the other end of the pipe `leash` is closed: by its loader, or by any death of the
    trainer.

    DataLoader itself asks its workers to end. If that does not reach them, because the loader was collected as garbage
    or killed, it relies on SIGTERM and on a change of getppid(): the first is blocked, the second never comes below a
    fork server.
    """
    Thread(target=_end, args=(leash,), daemon=True).start()


def _end(leash: Connection) -> None:
    with suppress(EOFError):
        leash.recv()  # nothing is ever sent
    os._exit(0)
