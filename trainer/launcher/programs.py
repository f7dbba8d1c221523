"""Programs before the training, each run to its end, and the one that takes this one's place."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, Protocol

FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP")


class Ended(Exception):
    """A program before the training ended with a `status`: it failed and has said why, or was asked to stop."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Child(Protocol):
    """A process whose output is read: `subprocess.Popen`, or a `Fork`."""

    returncode: int

    def send_signal(self, sig: int) -> None:
        """Send it a signal, if it has not ended."""

    def communicate(self) -> tuple[Any, Any]:
        """Wait for its end; its output."""


def first(*arguments: str) -> str:
    """`run_first` of Python with these arguments."""
    return run_first(lambda: subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True))


def run_first(start: Callable[[], Child]) -> str:
    """Run a program to its end; the last line of its output. Signals are handed on: it has its own words for them.

    Raises:
        Ended: its status is not 0, or a signal came.
    """
    asked: list[int] = []
    child: Child | None = None

    def hand_on(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        if child is not None:
            child.send_signal(number)

    with handling(hand_on):
        child = start()
        output, _ = child.communicate()
    if asked:
        if child.returncode in (0, -asked[0]):  # else it has its own words
            print("stopped before the training.", file=sys.stderr)
        raise Ended(128 + asked[0])
    if child.returncode:
        raise Ended(child.returncode if child.returncode > 0 else 128 - child.returncode)
    return output.splitlines()[-1] if output else ""


@contextmanager
def handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    """Have stop signals handled by `handler`, but for those that are ignored, as nohup has SIGHUP."""
    numbers = [getattr(signal, name) for name in FORWARDED if hasattr(signal, name)]
    before = {number: kept for number in numbers if (kept := signal.getsignal(number)) != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, handler)
        yield
    finally:
        for number, kept in before.items():
            signal.signal(number, kept)


def status_of_failure(rank: int, code: int) -> int:
    """The exit status of a training of which process `rank` failed with `code`, minus the signal that ended it."""
    if code >= 0:
        return code
    name = signal.Signals(-code).name
    memory = " (the system does so where memory is short)" if name == "SIGKILL" else ""
    print(f"error: process {rank} was ended by {name}{memory}; the same command resumes the run.", file=sys.stderr)
    return 128 - code


def become(*arguments: str) -> NoReturn:
    """Replace this process by Python with other arguments."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *arguments])
