"""Timers of the parts of a step, which do not stall a GPU."""

import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import torch


class Stopwatch:
    """Seconds per named part of the work since the last reading.

    On a GPU a part that only launches kernels is timed by events on its stream; they are read at the report.
    """

    def __init__(self, device: torch.device) -> None:
        self.on_gpu = device.type == "cuda"
        self.seconds: dict[str, float] = defaultdict(float)
        self.events: list[tuple[str, torch.Event, torch.Event]] = []
        self.since = time.perf_counter()

    @contextmanager
    def host(self, name: str) -> Iterator[None]:
        """Time what the host does or waits for."""
        begin = time.perf_counter()
        yield
        self.seconds[name] += time.perf_counter() - begin

    @contextmanager
    def device(self, name: str) -> Iterator[None]:
        """Time what the device does."""
        if not self.on_gpu:
            with self.host(name):
                yield
            return
        begin, end = torch.Event("cuda", enable_timing=True), torch.Event("cuda", enable_timing=True)
        begin.record()
        yield
        end.record()
        self.events.append((name, begin, end))

    def read(self) -> dict[str, float]:
        """Seconds per part, and `total`, since the last reading; waits for the device, and starts again."""
        for name, begin, end in self.events:
            end.synchronize()
            self.seconds[name] += begin.elapsed_time(end) / 1000
        now = time.perf_counter()
        seconds = {**self.seconds, "total": now - self.since}
        self.seconds.clear()
        self.events.clear()
        self.since = now
        return seconds
