"""Waits with a limit, a reminder each minute, and an end at stop requests; all waits of the program go through here.

Waits in Python call `WATCH.until(...)`. While the main thread is in C (a collective, a disk), only another thread can
act: such work is done in `with WATCH.phase(...)`, and the watch's thread prints each minute what it is, or ends the
process if a stop was requested and the phase does not end.
"""

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from threading import Event, Thread
from typing import TypeVar

from trainer.distributed.signals import REQUEST, StopRequest
from trainer.mistakes import Failure

T = TypeVar("T")

EXCHANGE_GRACE, SLOW_GRACE = 60.0, 600.0
"""Seconds after a stop request until the process is ended in an exchange with other ranks, as one with a rank that is
gone, and in work that may take minutes; or five times as long as any took before."""
LAST_WORDS_SECONDS = 5.0
"""Time limit of `Watch.last_words`, in seconds."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DistributedConfig:
    """Limits of waits between the processes of a run."""

    timeout_minutes: float = 120.0
    """The longest wait for anything: data, a peer, a save, rank 0's work at the start. Then the run ends, saved if its
    state is whole. What is waited for is said each minute."""

    def __post_init__(self) -> None:
        if not 0 < self.timeout_minutes <= 100_000:
            raise ValueError(f"timeout_minutes must be above 0 and at most 100000, got {self.timeout_minutes}")


class GivenUp(Failure):
    """A wait ended without a result: its limit was reached, or the result will not come."""


class Stopped(GivenUp):
    """A wait ended without a result because the run was asked to stop."""


@dataclass
class Wait:
    """A named piece of work of the main thread, with its start."""

    what: str
    """Description after "is": "waiting for a batch"."""
    detail: Callable[[], str]
    """Called when the phase is printed; more about it, such as a file."""
    grace: float | None
    """Seconds after a stop request until the process is ended; None never ends it."""
    since: float
    last_said: float
    last_progress: float
    """Time of its start, or of the end of the last phase within it: `grace` counts from there."""

    def in_words(self, now: float) -> str:
        """Description with detail and duration."""
        detail = self.detail()
        return f"{self.what}{f' ({detail})' if detail else ''}, for {now - self.since:.0f} s"


class Watch:
    """Watches the phases of the main thread.

    Parameters
    ----------
    reminder_seconds : seconds until a wait is printed, and between repetitions
    limit : seconds that any wait may last: `distributed.timeout_minutes`
    last_words : called when the watch ends the process; a sentence on what is saved
    """

    def __init__(self, request: StopRequest = REQUEST, reminder_seconds: float = 60.0) -> None:
        self.request, self.reminder_seconds = request, reminder_seconds
        self.limit = 60 * DistributedConfig().timeout_minutes
        self.last_words: Callable[[], str] = str
        self.phases: list[Wait] = []
        self.longest: dict[str, float] = {}
        self.failed_phase = ""  # the first phase that an exception ended, in words
        self.done = Event()

    @property
    def group_timeout(self) -> timedelta:
        """Timeout of process groups: later than `limit`, so that the rank that gives up first can print why."""
        return timedelta(seconds=self.limit + 300)

    @property
    def rank(self) -> str:
        """This process as messages name it."""
        return f"rank {os.environ.get('RANK', '0')}"

    @contextmanager
    def phase(self, what: str, detail: Callable[[], str] = str, grace: float | None = None) -> Iterator[None]:
        """Work of the main thread, `what` ("validating"); `detail` returns more, such as the current file.

        With `grace` the process is ended that many seconds after a stop request if the phase has not ended, or after
        five times the longest earlier phase of this name.
        """
        now = time.monotonic()
        if grace is not None:
            grace = max(grace, 5 * self.longest.get(what, 0.0))
        phase = Wait(what, detail, grace, now, now, now)
        self.phases.append(phase)
        try:
            yield
        except Exception:
            self.failed_phase = self.failed_phase or phase.in_words(time.monotonic())
            raise
        finally:
            self.phases.remove(phase)
            ended = time.monotonic()
            self.longest[what] = max(self.longest.get(what, 0.0), ended - now)
            for outer in self.phases[-1:]:
                outer.last_progress = ended

    def until(
        self,
        poll: Callable[[], T | None],
        what: str,
        detail: Callable[[], str] = str,
        *,
        grace: float = 0.0,
        pause: float = 0.02,
    ) -> T:
        """The first result of `poll` that is not None. It is called every `pause` seconds and must not block.

        Raises:
            Stopped: the run was asked to stop, and there was no result within `grace` seconds.
            GivenUp: there was no result within the limit.
        """
        with self.phase(what, detail):
            begin = time.monotonic()
            while (found := poll()) is None:
                waited = time.monotonic() - begin
                if waited >= grace:
                    self.raise_if_asked()
                if waited > self.limit:
                    raise GivenUp(
                        f"{self.rank}: {self.in_words()}: longer than distributed.timeout_minutes, {self.limit / 60:g}."
                    )
                self.remind()
                time.sleep(pause)
            return found

    def raise_if_asked(self) -> None:
        """Raise Stopped, naming the innermost phase, if the run was asked to stop: in work that has nothing to save."""
        if self.request.name is not None:
            raise Stopped(f"{self.rank}: {self.request.name} while {self.in_words()}.")

    def in_words(self) -> str:
        """Description of the innermost phase."""
        phases = self.phases[-1:]
        return phases[0].in_words(time.monotonic()) if phases else "at work"

    def remind(self) -> None:
        """Print the innermost phase if a reminder is due."""
        now = time.monotonic()
        for phase in self.phases[-1:]:
            if now - phase.last_said >= self.reminder_seconds:
                phase.last_said = now
                say_on_stderr(f"{self.rank} is still {phase.in_words(now)}.")

    def start(self, tick: float = 1.0) -> None:
        """Check the phases from a thread, every `tick` seconds, until `stop`."""
        self.done.clear()
        Thread(target=self._look, args=(tick,), name="watch", daemon=True).start()

    def stop(self) -> None:
        """End the thread."""
        self.done.set()

    def _look(self, tick: float) -> None:
        while not self.done.wait(tick):
            self.remind()
            if self.request.name is not None:
                self._end_in_phase()

    def _end_in_phase(self) -> None:
        """End the process if a stop request came and the innermost phase has exceeded its `grace`."""
        now = time.monotonic()
        for phase in self.phases[-1:]:
            if phase.grace is not None and now - max(phase.last_progress, self.request.since) > phase.grace:
                self._end(f"error: {self.rank}: {self.request.name} while {phase.in_words(now)}: it ends now.")

    def ask_last_words(self) -> str:
        """The last words; empty after LAST_WORDS_SECONDS, for they need the disk, which may be what hangs."""
        words: list[str] = []
        last = Thread(target=lambda: words.append(self.last_words()), name="last words", daemon=True)
        last.start()
        last.join(LAST_WORDS_SECONDS)
        return " ".join(words)

    def _end(self, sentence: str) -> None:
        """Print a sentence and exit with the status of the signal that asked to stop, to be told from a crash."""
        asked = signal.Signals.__members__.get(self.request.name or "")
        try:
            say_on_stderr(f"{sentence} {self.ask_last_words()}".rstrip())
        finally:
            os._exit(128 + asked if asked else 1)


def say_on_stderr(text: str) -> None:
    """Print a line on stderr, on any rank and from any thread."""
    print(text, file=sys.stderr, flush=True)


WATCH = Watch()
"""The process has one main thread, so there is one of these."""
