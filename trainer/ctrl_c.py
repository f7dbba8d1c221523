"""Ctrl-C in the programs that do not train: one line and exit status 130, whatever it interrupts."""

import math
import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import current_thread, main_thread
from types import FrameType

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""
ECHO_SECONDS = 2.0
"""Seconds in which another Ctrl-C is the same one, by an impatient hand."""

_last = [-math.inf]  # when KeyboardInterrupt was raised last


@contextmanager
def ending_at_ctrl_c() -> Iterator[None]:
    """End the process at Ctrl-C, at once: an exception amid imports is swallowed there, or becomes another one."""
    with _handling(_end):
        yield


@contextmanager
def raising_at_ctrl_c() -> Iterator[None]:
    """Raise KeyboardInterrupt at Ctrl-C, once: in work that has something to put right.

    Also for whatever else is raised after it, as an import does that it has interrupted.
    """
    _last[0] = -math.inf
    try:
        with _handling(_raise):
            yield
    except Exception:
        if _last[0] > -math.inf:
            raise KeyboardInterrupt from None
        raise


def _end(_number: int, _frame: FrameType | None) -> None:
    try:
        if time.monotonic() - _last[0] > ECHO_SECONDS:  # else the program itself has a line
            os.write(2, b"stopped.\n")
    finally:  # also if nobody reads it
        os._exit(INTERRUPTED)


def _raise(_number: int, _frame: FrameType | None) -> None:
    now = time.monotonic()
    if now - _last[0] > ECHO_SECONDS:
        _last[0] = now
        raise KeyboardInterrupt


@contextmanager
def _handling(handler: Callable[[int, FrameType | None], None]) -> Iterator[None]:
    if current_thread() is not main_thread() or signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        yield  # Python allows no handler there; and what a shell runs in the background ignores Ctrl-C
        return
    before = signal.signal(signal.SIGINT, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
