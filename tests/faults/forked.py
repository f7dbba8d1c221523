"""Ranks of a run as forked processes: what the launcher starts, without waiting ten seconds for imports each time."""

import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import RLock

from tqdm import tqdm

import trainer.command  # noqa: F401 - imported before the forks, so that they need not
from trainer.distributed.signals import REQUEST
from trainer.run import main

Work = Callable[[Sequence[str]], int]
TINY = Path(__file__).parents[1] / "launch" / "tiny.yaml"


class Job:
    """The processes of one run; each writes its output to `log`."""

    def __init__(self, world: int, log: Path, arguments: Sequence[str] = (), work: Work = main) -> None:
        """Start `world` ranks, each of which does `work(arguments)`: the command line."""
        port = free_port()
        self.processes = [_fork(rank, world, port, log, lambda: work(arguments)) for rank in range(world)]
        self.codes: dict[int, int] = {}

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to one rank, if it is still there."""
        if self.processes[rank] not in self.codes:
            try:
                os.kill(self.processes[rank], number)
            except ProcessLookupError:
                return

    def wait(self, seconds: float) -> list[int] | None:
        """The exit status of every rank, minus the signal that ended it; None if one is there after `seconds`."""
        deadline = time.monotonic() + seconds
        while len(self.codes) < len(self.processes):
            for process in self.processes:
                if process not in self.codes:
                    ended, status = os.waitpid(process, os.WNOHANG)
                    if ended:
                        self.codes[process] = os.waitstatus_to_exitcode(status)
            if time.monotonic() > deadline:
                return None
            time.sleep(0.005)
        return [self.codes[process] for process in self.processes]

    def end(self) -> None:
        """Kill the ranks that still run."""
        for rank in range(len(self.processes)):
            self.kill(rank)
        self.wait(60)


def free_port() -> int:
    """A port on which nothing listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _fork(rank: int, world: int, port: int, log: Path, work: Callable[[], int]) -> int:
    child = os.fork()
    if child:
        return child
    os.environ["ACCELERATE_USE_CPU"] = "true"
    if world > 1:
        where = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": world, "LOCAL_WORLD_SIZE": world}
        os.environ.update({key: str(value) for key, value in where.items()})
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)  # pytest's go elsewhere
    # Theirs is a semaphore that forks share: a rank that is killed while it holds it would stop this process for good.
    tqdm.set_lock(RLock())
    code = 70
    try:
        REQUEST.listen()
        code = work()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
