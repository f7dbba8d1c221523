"""Who asks a run to stop: signals. No torch here: the handlers are in place before the slow imports."""

import os
import signal
import sys
import time
from types import FrameType

SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGUSR2)
ECHO = 5.0
"""Seconds within which another signal is the same request: Slurm, the launcher and a terminal's Ctrl-C all send it to
every process, and the launcher passes its own on."""


class StopRequest:
    """The first signal is remembered, and answered by a checkpoint; a later one ends the process at once."""

    def __init__(self) -> None:
        self.name: str | None = None
        self.since = 0.0

    def listen(self) -> None:
        """Answer the stop signals from now on."""
        for number in SIGNALS:
            signal.signal(number, self._received)

    def _received(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.name is None:
            self.name, self.since = signal.Signals(number).name, now
        elif now - self.since > ECHO:
            os.write(sys.stderr.fileno(), f"second signal ({signal.Signals(number).name}): ending at once\n".encode())
            os._exit(128 + number)


REQUEST = StopRequest()
"""The process has one set of signal handlers, so there is one of these."""
