"""Who asks a run to stop: signals, and the death of the launcher. No torch here: this precedes the slow imports."""

import os
import select
import signal
import socket
import time
from threading import Thread
from types import FrameType

BY_FILE = "STOP file"
"""Why a run stops that was asked to by a file STOP in its folder."""
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
ECHO = 5.0
"""Seconds within which another signal is the same request: Slurm, the launcher and a terminal's Ctrl-C all send it to
every process, and the launcher passes its own on."""
LOOK = 1.0
"""Seconds between two looks at whether the launcher still lives."""
LAUNCHERS = ("TORCHELASTIC_RUN_ID", "ACCELERATE_MIXED_PRECISION")
"""What `accelerate launch` sets, for several processes and for one. Without it the parent is a shell, which may go."""


class StopRequest:
    """The first signal is remembered, and answered by a checkpoint; a later one ends the process at once.

    A thread reads the signals as they come: Python's own handlers wait for the main thread, which may hang in a
    collective.
    """

    def __init__(self) -> None:
        self.name: str | None = None
        self.since = 0.0
        self.thread: Thread | None = None

    def listen(self) -> None:
        """Answer the stop signals from now on, but for a SIGHUP that the parent had ignored, as nohup does."""
        for number in SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
                signal.signal(number, self._received)
        reader, writer = socket.socketpair()
        writer.setblocking(False)
        signal.set_wakeup_fd(writer.fileno(), warn_on_full_buffer=False)
        launcher = os.getppid() if any(name in os.environ for name in LAUNCHERS) else None
        self.thread = Thread(target=self._read, args=(reader, writer, launcher), name="stop requests", daemon=True)
        self.thread.start()

    def heard(self, what: str) -> bool:
        """Remember the request, if it is the first one; False where it is another one, and no echo."""
        now = time.monotonic()
        if self.name is None:
            self.name, self.since = what, now
        return now - self.since <= ECHO

    def _received(self, number: int, _frame: FrameType | None) -> None:
        self.heard(signal.Signals(number).name)  # whether it is the second one, the thread knows, which is never late

    def _read(self, signals: socket.socket, _writer: socket.socket, launcher: int | None) -> None:
        while True:
            if select.select([signals], [], [], LOOK)[0]:
                for number in signals.recv(64):
                    if number in SIGNALS and not self.heard(signal.Signals(number).name):
                        text = f"second signal ({signal.Signals(number).name}): ending at once\n"
                        try:
                            if select.select([], [2], [], 0)[1]:  # a reader that stops to read would hold it up
                                os.write(2, text.encode())
                        finally:  # also where nobody reads it
                            os._exit(128 + number)
            if launcher is not None and os.getppid() != launcher:
                self.heard("the launcher's death")
                launcher = None


REQUEST = StopRequest()
"""The process has one set of signal handlers, so there is one of these."""
