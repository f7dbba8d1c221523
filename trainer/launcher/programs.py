"""Programs before the training, each run to its end, and the one that takes this one's place."""

import os
import signal
import subprocess
import sys
from types import FrameType
from typing import NoReturn

FORWARDED = ("SIGINT", "SIGTERM", "SIGHUP")


class Ended(Exception):
    """A program before the training ended with a `status`: it failed and has said why, or was asked to stop."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def first(*arguments: str) -> str:
    """Run Python to its end; the last line of its output. Signals are handed on: it has its own words for them.

    Raises:
        Ended: its status is not 0, or a signal came.
    """
    asked: list[int] = []
    child: subprocess.Popen[str] | None = None

    def hand_on(number: int, _frame: FrameType | None) -> None:
        asked.append(number)
        if child is not None:
            child.send_signal(number)

    numbers = [getattr(signal, name) for name in FORWARDED if hasattr(signal, name)]
    before = {number: handler for number in numbers if (handler := signal.getsignal(number)) != signal.SIG_IGN}
    try:
        for number in before:
            signal.signal(number, hand_on)
        child = subprocess.Popen([sys.executable, *arguments], stdout=subprocess.PIPE, text=True)
        output, _ = child.communicate()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if asked:
        if child.returncode in (0, -asked[0]):  # else it has its own words
            print("stopped before the training.", file=sys.stderr)
        raise Ended(128 + asked[0])
    if child.returncode:
        raise Ended(child.returncode if child.returncode > 0 else 128 - child.returncode)
    return output.splitlines()[-1] if output else ""


def become(*arguments: str) -> NoReturn:
    """Replace this process by Python with other arguments."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, *arguments])
