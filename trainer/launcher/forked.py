"""Start without new interpreters: check and ranks are forks of this process, which imports the trainer once for all.

On Linux without a GPU only: a process that has touched CUDA, even to count the devices, must not be forked.
"""

import gc
import os
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import NoReturn

from trainer import run
from trainer.distributed.signals import REQUEST
from trainer.launcher.programs import handling, run_first, status_of_failure

DEVICES = ("nvidia*", "nvhost*", "nvmap", "kfd", "dxg", "dri/render*")
"""Device files by which a GPU of NVIDIA, also a small board's, of AMD, under WSL, or of any maker shows itself."""
POLL_SECONDS = 0.1
"""Seconds between two looks at the ranks."""
GRACE_SECONDS = 30.0
"""Seconds for the other ranks to end after one has failed; those whom a person stops have SHUTDOWN's."""
SHUTDOWN = "TORCH_ELASTIC_SHUTDOWN_TIMEOUT"


class Fork:
    """A fork of this process that does `work`, to the process's end, and whose standard output is read."""

    def __init__(self, work: Callable[[], NoReturn]) -> None:
        reader, writer = os.pipe()

        def piped() -> NoReturn:
            os.close(reader)
            os.dup2(writer, 1)
            work()

        self.returncode = 0
        self.process: int | None = fork(piped)
        os.close(writer)
        self.output = os.fdopen(reader)

    def send_signal(self, sig: int) -> None:
        """Send it a signal, if it has not ended."""
        if self.process is not None:
            os.kill(self.process, sig)

    def communicate(self) -> tuple[str, None]:
        """Wait for its end; its output."""
        with self.output:
            output = self.output.read()
        process, self.process = self.process, None  # before its number may be another's
        self.returncode = os.waitstatus_to_exitcode(os.waitpid(process or 0, 0)[1])
        return output, None


class Ranks:
    """Forks of this process that train together, by rank: their numbers, and the exit statuses of those that ended."""

    def __init__(self) -> None:
        self.alive: dict[int, int] = {}
        self.ended: dict[int, int] = {}
        self.failed: int | None = None
        self.asked: int | None = None
        self.deadline = float("inf")

    def hand_on(self, number: int, _frame: FrameType | None) -> None:
        """Handle a signal: the ranks stop together, within the time that a person has set."""
        if self.asked is None:
            self.asked = number
            self.deadline = time.monotonic() + float(os.environ[SHUTDOWN])
        self.send(number)

    def send(self, number: int) -> None:
        """Send a signal to all that are there."""
        for process in self.alive.values():
            os.kill(process, number)

    def wait(self) -> None:
        """Wait for the end of all; after a failure the others are asked to stop, and killed if they do not."""
        while self.alive:
            for rank, process in list(self.alive.items()):
                if os.waitid(os.P_PID, process, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                    del self.alive[rank]  # before its number may be another's, to which a signal would go
                    self.ended[rank] = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
            bad = next((rank for rank, code in self.ended.items() if code), None)
            if bad is not None and self.failed is None:
                self.failed = bad
                self.deadline = min(self.deadline, time.monotonic() + GRACE_SECONDS)
                self.send(signal.SIGTERM)
            if time.monotonic() > self.deadline:
                self.send(signal.SIGKILL)
            time.sleep(POLL_SECONDS)

    @property
    def status(self) -> int:
        """The exit status of the training: of the first rank that failed, or by the signal that asked to stop."""
        if self.asked is not None:
            return 128 + self.asked
        return 0 if self.failed is None else status_of_failure(self.failed, self.ended[self.failed])


def can_fork(devices: Path = Path("/dev")) -> bool:
    """True where no GPU can be there, found without torch."""
    return sys.platform == "linux" and not any(any(devices.glob(name)) for name in DEVICES)


def import_trainer() -> None:
    """Import all that the forks need; the environment must be what they are to inherit, as OpenMP reads it now."""
    gc.disable()  # as in trainer/run.py
    import trainer.command  # noqa: F401

    gc.freeze()
    gc.enable()


def last_line_of(arguments: Sequence[str]) -> str:
    """Run the trainer's command line in a fork; the last line of its output. Raises Ended as `programs.first`."""
    return run_first(lambda: Fork(lambda: run_here(arguments)))


def settings_for(arguments: Sequence[str]) -> str:
    """Run `trainer.photos` in a fork, as `last_line_of`: the path of the configuration that it has written."""
    from trainer.photos.__main__ import main

    return run_first(lambda: Fork(lambda: run.exit_process(main(arguments))))


def run_here(arguments: Sequence[str]) -> NoReturn:
    """Run the trainer's command line in this process, to the process's end."""
    REQUEST.listen()
    run.exit_process(run.main(arguments) or REQUEST.status)


def launch(number: int, arguments: Sequence[str]) -> int:
    """Start the ranks, which meet at a store of this process, and wait for their end; the exit status."""
    from torch.distributed import TCPStore  # type: ignore[attr-defined]

    os.environ.update(
        WORLD_SIZE=str(number),
        LOCAL_WORLD_SIZE=str(number),
        ACCELERATE_MIXED_PRECISION="no",  # by which the ranks know that they have a launcher
        TORCHELASTIC_USE_AGENT_STORE="True",
    )
    ranks = Ranks()
    with socket.socket() as door, handling(ranks.hand_on):
        door.bind(("127.0.0.1", 0))
        door.listen(number)
        port = door.getsockname()[1]
        os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))

        def rank(number: int) -> NoReturn:
            door.close()
            os.environ.update(RANK=str(number), LOCAL_RANK=str(number))
            run_here(arguments)

        for place in range(number):
            ranks.alive[place] = fork(partial(rank, place))
        # after the forks, which would inherit its thread's locks
        store = TCPStore("127.0.0.1", port, is_master=True, wait_for_workers=False, master_listen_fd=door.detach())
        ranks.wait()
        del store
    return ranks.status


def fork(work: Callable[[], NoReturn]) -> int:
    """Do `work` in a fork of this process; its number. Nothing of the parent's is done twice."""
    sys.stdout.flush()
    sys.stderr.flush()
    if process := os.fork():
        return process
    try:
        work()
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(1)
