"""The one way to wait: with a limit, in words after a minute, and with an ear for stop requests.

Python that waits calls `WATCH.until(...)`. Where the main thread sits in C (a collective, a disk), only a thread can
speak for it: such work is done in `with WATCH.phase(...)`, and the watch says each minute what it is, or ends the
process where a stop was asked for and the phase does not end.
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

HANGS, SLOW = 60.0, 600.0
"""Seconds after a stop request until an exchange with the other ranks, or what may take minutes, counts as one with a
rank that is gone; or five times as long as any took before."""
LAST = 5.0
"""Seconds in which a process that ends looks at what is saved."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DistributedConfig:
    """How the processes of a run wait for each other."""

    timeout_minutes: float = 120.0
    """The longest wait for anything: data, a peer, a save, rank 0's work at the start. Then the run ends, saved if its
    state is whole. What is waited for is said each minute."""

    def __post_init__(self) -> None:
        if not 0 < self.timeout_minutes <= 100_000:
            raise ValueError(f"timeout_minutes must be above 0 and at most 100000, got {self.timeout_minutes}")


class GivenUp(Failure):
    """A wait came to nothing: its limit was reached, or what it waited for will not come."""


class Stopped(GivenUp):
    """A wait was given up because the run was asked to stop."""


@dataclass
class Phase:
    """What the main thread is doing, and since when."""

    what: str
    """In the words that follow "is": "waiting for a batch"."""
    where: Callable[[], str]
    """More about it, such as a file, asked for when it is said."""
    grace: float | None
    """Seconds after a stop request until the process is ended in it; None leaves it to end by itself."""
    since: float
    said: float
    stirred: float
    """When it began, or what was done within it ended last: `grace` counts from there."""

    def told(self, now: float) -> str:
        """In words."""
        detail = self.where()
        return f"{self.what}{f' ({detail})' if detail else ''}, for {now - self.since:.0f} s"


class Watch:
    """Knows what the main thread waits for.

    Parameters
    ----------
    minute : seconds until a wait is mentioned, and between mentions
    limit : seconds that any wait may last: `distributed.timeout_minutes`
    last_words : called where the watch ends the process; a sentence on what is saved
    """

    def __init__(self, request: StopRequest = REQUEST, minute: float = 60.0) -> None:
        self.request, self.minute = request, minute
        self.limit = 60 * DistributedConfig().timeout_minutes
        self.last_words: Callable[[], str] = str
        self.phases: list[Phase] = []
        self.longest: dict[str, float] = {}
        self.broken = ""  # the first phase that an exception ended, in words
        self.done = Event()

    @property
    def patience(self) -> timedelta:
        """The limit for a process group: later than ours, so that the rank that gives up first can say why."""
        return timedelta(seconds=self.limit + 300)

    @property
    def rank(self) -> str:
        """This process in the words of a message."""
        return f"rank {os.environ.get('RANK', '0')}"

    @contextmanager
    def phase(self, what: str, where: Callable[[], str] = str, grace: float | None = None) -> Iterator[None]:
        """The main thread is doing `what` ("validating"), and `where` tells more, such as the file in hand.

        With `grace` the process ends so many seconds after a stop request, if the phase has not: or five times as long
        as its like took before.
        """
        now = time.monotonic()
        if grace is not None:
            grace = max(grace, 5 * self.longest.get(what, 0.0))
        phase = Phase(what, where, grace, now, now, now)
        self.phases.append(phase)
        try:
            yield
        except Exception:
            self.broken = self.broken or phase.told(time.monotonic())
            raise
        finally:
            self.phases.remove(phase)
            ended = time.monotonic()
            self.longest[what] = max(self.longest.get(what, 0.0), ended - now)
            for outer in self.phases[-1:]:
                outer.stirred = ended

    def until(
        self,
        poll: Callable[[], T | None],
        what: str,
        where: Callable[[], str] = str,
        *,
        grace: float = 0.0,
        pause: float = 0.02,
    ) -> T:
        """What `poll` returns, once that is not None. It is asked again after `pause` seconds; it must not wait long.

        Raises:
            Stopped: the run was asked to stop, and `grace` seconds did not bring it.
            GivenUp: nothing came within the limit.
        """
        with self.phase(what, where):
            begin = time.monotonic()
            while (found := poll()) is None:
                waited = time.monotonic() - begin
                if self.request.name is not None and waited >= grace:
                    raise Stopped(f"{self.rank}: {self.request.name} while {self.told()}.")
                if waited > self.limit:
                    raise GivenUp(
                        f"{self.rank}: {self.told()}: longer than distributed.timeout_minutes, {self.limit / 60:g}."
                    )
                self.remind()
                time.sleep(pause)
            return found

    def told(self) -> str:
        """The innermost phase in words."""
        phases = self.phases[-1:]
        return phases[0].told(time.monotonic()) if phases else "at work"

    def remind(self) -> None:
        """Say what is waited for, where that is due."""
        now = time.monotonic()
        for phase in self.phases[-1:]:
            if now - phase.said >= self.minute:
                phase.said = now
                say(f"{self.rank} is still {phase.told(now)}.")

    def start(self, tick: float = 1.0) -> None:
        """Look after the main thread from a thread, every `tick` seconds, until `stop`."""
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
        """End the process where a stop request came and its phase neither ends nor may go on."""
        now = time.monotonic()
        for phase in self.phases[-1:]:
            if phase.grace is not None and now - max(phase.stirred, self.request.since) > phase.grace:
                self._end(f"error: {self.rank}: {self.request.name} while {phase.told(now)}: it ends now.")

    def words(self) -> str:
        """The last words, if they can be had: they are of a disk, which may be what hangs."""
        words: list[str] = []
        last = Thread(target=lambda: words.append(self.last_words()), name="last words", daemon=True)
        last.start()
        last.join(LAST)
        return " ".join(words)

    def _end(self, sentence: str) -> None:
        """End the process, with the status of the signal that asked to stop, which tells it from a crash."""
        asked = signal.Signals.__members__.get(self.request.name or "")
        try:
            say(f"{sentence} {self.words()}".rstrip())
        finally:
            os._exit(128 + asked if asked else 1)


def say(text: str) -> None:
    """One line on stderr, of any rank and from any thread."""
    print(text, file=sys.stderr, flush=True)


WATCH = Watch()
"""The process has one main thread, so there is one of these."""
