"""What the parts of a step cost, on a CPU and on the streams of a GPU."""

import torch
from torch.profiler import profile

from trainer.telemetry.timers import Stopwatch


class Stream:
    """A device's stream for the training, as torch.Event sees it: milliseconds of work that it was given."""

    def __init__(self) -> None:
        self.clock = 0.0

    def wait_until(self, time: float) -> None:
        """As `wait_event` on another stream's work, or as the host that launches late."""
        self.clock = max(self.clock, time)


class Event:
    """torch.Event on a `Stream`."""

    def __init__(self, stream: Stream) -> None:
        self.stream, self.time = stream, -1.0

    def record(self) -> None:
        self.time = self.stream.clock

    def synchronize(self) -> None:
        assert self.time >= 0

    def elapsed_time(self, end: "Event") -> float:
        return end.time - self.time


def test_a_cpu_s_parts_cost_their_time_and_a_reading_starts_again() -> None:
    watch = Stopwatch(torch.device("cpu"))
    with watch.host("checkpoint"), watch.device("degradation"), watch.part("generator forward"):
        pass
    times = watch.read()
    assert times.cost == times.host
    assert times.cost.keys() == {"checkpoint", "degradation"}
    assert 0 <= times.cost["degradation"] <= times.cost["checkpoint"] <= times.total
    assert watch.read().cost == {}


def test_a_gpu_s_part_costs_what_the_training_waits_for_it() -> None:
    """Two steps of 100 ms; the pairs of the second are ready before the first ends, or 30 ms later."""
    stream = Stream()
    watch = Stopwatch(torch.device("cpu"), lambda: Event(stream))
    for ready in (0, 90, 230):
        with watch.device("degradation"):
            stream.wait_until(ready)
        stream.clock += 100
    assert watch.read().cost == {"degradation": (230 - 200) / 1000}
    with watch.device("data"):
        stream.wait_until(stream.clock - 5)  # the host had waited for data while the stream still had work
    times = watch.read()
    assert times.cost == {"data": 0.0}
    assert times.host["data"] > 0


def test_parts_of_a_step_are_timed_when_asked_for_and_seen_by_torch_s_profiler() -> None:
    watch = Stopwatch(torch.device("cpu"))
    watch.is_detailed = True
    with profile() as seen, watch.part("generator forward"), torch.no_grad():
        torch.ones(2).add(1)
    assert "generator forward" in [event.key for event in seen.key_averages()]
    assert watch.read().cost.keys() == {"generator forward"}
