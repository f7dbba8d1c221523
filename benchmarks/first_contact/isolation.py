"""A part as a forked process with a limit: one that hangs in CUDA, or breaks its context, leaves the others alone.

A fork of a process that has imported everything and never touched the GPU starts at once; a new interpreter would take
its imports again, of some seconds, for each part.
"""

import faulthandler
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

GRACE = 5.0
"""Seconds for a killed process to go; one that the driver holds longer is left behind."""


def started(work: Callable[[], None], limit: float) -> int:
    """A forked process that does `work`, in a group of its own; its status is 1 after an exception.

    Just before `limit` seconds are over it prints where it stands.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    if child := os.fork():
        return child
    code = 1
    try:
        os.setsid()
        # Not dump_traceback_later: where the parent has one running, it waits in a fork for a thread that is not there.
        faulthandler.register(signal.SIGALRM, file=2)
        signal.setitimer(signal.ITIMER_REAL, max(limit - 1, 0.5))
        work()
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def ended(child: int, limit: float) -> str:
    """Wait for a process, kill its group, and give the reason if it did not end well."""
    deadline = time.monotonic() + limit
    status = waited(child, deadline)
    kill(child)
    if status is None:
        gone = waited(child, time.monotonic() + GRACE) is not None
        return f"over its limit of {limit:.0f} s" + ("" if gone else "; it cannot be killed")
    code = os.waitstatus_to_exitcode(status)
    return "" if code == 0 else f"status {code}"


def waited(child: int, deadline: float) -> int | None:
    """The status of a process that ends before the deadline."""
    while True:
        gone, status = os.waitpid(child, os.WNOHANG)
        if gone:
            return status
        if time.monotonic() > deadline:
            return None
        time.sleep(0.02)


def kill(child: int) -> None:
    """Kill what is left of a process's group."""
    try:
        os.killpg(child, signal.SIGKILL)
    except ProcessLookupError:
        return
