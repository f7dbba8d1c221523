"""Timers of the parts of a step, which do not stall a GPU."""

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import torch
from torch.profiler import record_function


class Mark(Protocol):
    """A point in the work of a device's current stream, as torch.Event is."""

    def record(self) -> None:
        """Put the point after all that was given to the stream until now."""

    def synchronize(self) -> None:
        """Let the host wait until the stream has come to the point."""

    def elapsed_time(self, end: Any) -> float:
        """Milliseconds of the stream from this point to a later one."""


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds since the last reading."""

    total: float
    cost: dict[str, float]
    """By part: what it costs the training. On a GPU the time in which the training's stream did nothing else: it worked
    on the part, or waited for another stream or for the host. On a CPU the time of the part."""
    host: dict[str, float]
    """By part: what the host took for it, which on a GPU mostly launches kernels."""


class Stopwatch:
    """Seconds per named part of the work since the last reading; each part is a range of torch's profiler too.

    Parts do not contain each other. On a GPU a part is timed by two events on the current stream, which is the
    training's; they are read at the report.

    Parameters
    ----------
    marks : makes the events of the device; torch's by default, and on a CPU none
    """

    def __init__(self, device: torch.device, marks: Callable[[], Mark] | None = None) -> None:
        self.marks = marks
        if device.type == "cuda" and marks is None:
            self.marks = partial(torch.Event, "cuda", enable_timing=True)
        self.is_detailed = False
        """Time what `part` surrounds too, and not only what reports need."""
        self.costs: dict[str, float] = defaultdict(float)
        self.hosts: dict[str, float] = defaultdict(float)
        self.marked: list[tuple[str, Mark, Mark]] = []
        self.since = time.perf_counter()

    @contextmanager
    def host(self, name: str) -> Iterator[None]:
        """Time what the host does while the device has nothing else to do, as after a report."""
        begin = time.perf_counter()
        with record_function(name):
            yield
        self._add(name, time.perf_counter() - begin)

    @contextmanager
    def device(self, name: str) -> Iterator[None]:
        """Time what the device does, or has to wait for."""
        if self.marks is None:
            with self.host(name):
                yield
            return
        start, begin, end = time.perf_counter(), self.marks(), self.marks()
        begin.record()
        with record_function(name):
            yield
        end.record()
        self.marked.append((name, begin, end))
        self.hosts[name] += time.perf_counter() - start

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Show a part of the step to torch's profiler; and time it as `device` does if `is_detailed`."""
        with self.device(name) if self.is_detailed else record_function(name):
            yield

    def read(self) -> Times:
        """The seconds per part since the last reading; waits for the device, and starts again."""
        if self.marks is not None:
            last = self.marks()
            last.record()
            last.synchronize()  # and so all others are past: they are on one stream
        for name, begin, end in self.marked:
            self.costs[name] += begin.elapsed_time(end) / 1000
        now = time.perf_counter()
        times = Times(now - self.since, dict(self.costs), dict(self.hosts))
        self.costs.clear()
        self.hosts.clear()
        self.marked.clear()
        self.since = now
        return times

    def _add(self, name: str, seconds: float) -> None:
        self.costs[name] += seconds
        self.hosts[name] += seconds
