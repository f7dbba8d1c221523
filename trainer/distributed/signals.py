"""Stop requests: signals, and the death of the launcher. No torch here: this precedes the slow imports."""

import os
import select
import signal
import socket
import time
from threading import Thread
from types import FrameType
from typing import NoReturn

BY_FILE = "STOP file"
"""Reason of a stop that a file STOP in the run folder asked for."""
NAMES = ("SIGTERM", "SIGINT", "SIGHUP", "SIGUSR1", "SIGUSR2")
SIGNALS = tuple(signal.Signals[name] for name in NAMES if name in signal.Signals.__members__)
"""Signals that ask to stop; Windows has the first two."""
ECHO_SECONDS = 5.0
"""Seconds in which another signal counts as the same request: Slurm, the launcher and a terminal's Ctrl-C all signal
every process, and the launcher forwards its own."""
POLL_SECONDS = 1.0
"""Seconds between two checks that the launcher still lives."""
LAUNCHERS = ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION")
"""Variables that `accelerate launch` sets, for several processes and for one; another parent, a shell, may exit."""


class StopRequest:
    """A request to stop: the first signal is recorded, and leads to a checkpoint; a later one ends the process at once.

    A thread reads the signals, for Python's own handlers wait for the main thread, which may hang in a collective.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self.since = 0.0
        self.thread: Thread | None = None
        self.farewell: str | None = None
        """Printed when the first signal ends the process at once; None where the first is recorded only."""
        self.obeyed = False
        """True if the program ends before its time because it was asked to."""

    def listen(self) -> None:
        """Handle the stop signals from now on, except a SIGHUP that the parent had ignored, as nohup does."""
        for number in SIGNALS:
            if number.name != "SIGHUP" or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._received)
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        launcher = os.getppid() if any(name in os.environ for name in LAUNCHERS) else None
        self.thread = Thread(target=self._read, args=(reader, writer, launcher), name="stop requests", daemon=True)
        self.thread.start()

    def end_at_once(self, farewell: str | None) -> None:
        """Let a signal, one that came already too, end the process, with a line or ""; None records the first again."""
        self.farewell = farewell
        asked = signal.Signals.__members__.get(self.name or "")
        if farewell is not None and self.thread is not None and asked:
            _end(farewell, asked)

    @property
    def status(self) -> int:
        """The exit status of a program that obeyed: 130 after Ctrl-C, else 0.

        Schedulers and the launcher, which send other signals or look at the statuses of several processes, take it for
        a success that the run saved itself.
        """
        by_launcher = any(name in os.environ for name in LAUNCHERS)
        return 128 + signal.SIGINT if self.obeyed and self.name == "SIGINT" and not by_launcher else 0

    def record(self, what: str) -> bool:
        """Record a request, `what` being its reason, if it is the first; False for another one after ECHO_SECONDS."""
        now = time.monotonic()
        if self.name is None:
            self.name, self.since = what, now
        return now - self.since <= ECHO_SECONDS

    def _received(self, number: int, _frame: FrameType | None) -> None:
        self.record(signal.Signals(number).name)  # a second one is for the thread, which is never late

    def _read(self, signals: socket.socket, _writer: socket.socket, launcher: int | None) -> None:
        while True:
            if select.select([signals], [], [], POLL_SECONDS)[0]:
                for number in signals.recv(64):
                    if number not in SIGNALS:
                        continue
                    is_first = self.record(signal.Signals(number).name)
                    if self.farewell is not None:
                        _end(self.farewell, number)
                    if not is_first:
                        _end(f"second signal ({signal.Signals(number).name}): ending at once", number)
            if launcher is not None and os.getppid() != launcher:
                self.record("the launcher's death")
                launcher = None


def _end(farewell: str, number: int) -> NoReturn:
    """Print a line on stderr, unless a full pipe would block that, and exit as after signal `number`."""
    try:
        if farewell and select.select([], [2], [], 0)[1]:
            os.write(2, f"{farewell}\n".encode())
    finally:  # also if nobody reads it
        os._exit(128 + number)


REQUEST = StopRequest()
"""The process has one set of signal handlers, so there is one of these."""
