"""Time, launches, waits and memory of calls on a GPU; wall time alone on a CPU."""

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import median
from typing import Any

import torch
from degradation_cuda import WAITS
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile


def synchronise(device: torch.device) -> None:
    """Wait for a GPU."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def wall(call: Callable[[], object], count: int, device: torch.device) -> float:
    """Seconds of a call, the mean over `count`, from an idle device to an idle device."""
    synchronise(device)
    begun = time.perf_counter()
    for _ in range(count):
        call()
    synchronise(device)
    return (time.perf_counter() - begun) / count


def milliseconds(call: Callable[[], object], count: int, device: torch.device) -> float:
    """Milliseconds that the device takes for a call, the median over `count`, after a call to warm up."""
    call()
    if device.type == "cpu":
        return 1e3 * median(wall(call, 1, device) for _ in range(count))
    events = [torch.cuda.Event(enable_timing=True) for _ in range(count + 1)]
    events[0].record()
    for event in events[1:]:
        call()
        event.record()
    torch.cuda.synchronize()
    return median(one.elapsed_time(two) for one, two in pairwise(events))


def peak_gib(device: torch.device) -> float:
    """Memory of tensors at its peak since the last call, in GiB."""
    if device.type == "cpu":
        return 0.0
    peak = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return peak


@contextmanager
def no_waits(device: torch.device) -> Iterator[None]:
    """Any call that makes the host wait for the GPU raises RuntimeError."""
    with waits_are(device, "error"):
        yield


@contextmanager
def waits_are(device: torch.device, mode: str) -> Iterator[None]:
    """Set the mode of PyTorch's detection of waits."""
    if device.type == "cpu":
        yield
        return
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Synchronization debug mode is a prototype")
        torch.cuda.set_sync_debug_mode(mode)
    try:
        yield
    finally:
        torch.cuda.set_sync_debug_mode("default")


def waiting_lines(call: Callable[[], object], device: torch.device) -> dict[str, int]:
    """The lines of Python that make the host wait for the GPU in a call, with their number."""
    with warnings.catch_warnings(record=True) as seen, waits_are(device, "warn"):
        warnings.simplefilter("always")
        call()
    places = (f"{warning.filename}:{warning.lineno}" for warning in seen if "synchroniz" in str(warning.message))
    return dict(Counter(places))


@dataclass(frozen=True)
class Profile:
    """A call's kernels: launches, waits of the host, milliseconds of the device, and milliseconds by kernel."""

    launches: int
    waits: int
    busy: float
    kernels: dict[str, tuple[float, int]] = field(default_factory=dict)
    """Milliseconds and launches by name, the longest first."""


def profiled(call: Callable[[], object], device: torch.device) -> Profile:
    """Profile a call; on a CPU operations stand for kernels."""
    activity, kind = (
        (ProfilerActivity.CUDA, DeviceType.CUDA) if device.type == "cuda" else (ProfilerActivity.CPU, DeviceType.CPU)
    )
    idle, events = recorded_by(activity, lambda: None, device), recorded_by(activity, call, device)
    waits = sum(event.name() in WAITS for event in events) - sum(event.name() in WAITS for event in idle)
    spent: Counter[str] = Counter()
    times: Counter[str] = Counter()
    for event in events:
        is_work = not event.name().startswith(("Memcpy", "Memset")) and not event.is_user_annotation()  # a step's parts
        if event.device_type() == kind and is_work:
            spent[event.name()] += event.duration_ns()
            times[event.name()] += 1
    kernels = {name: (ns / 1e6, times[name]) for name, ns in spent.most_common()}
    return Profile(times.total(), max(waits, 0), spent.total() / 1e6, kernels)


def recorded_by(activity: ProfilerActivity, call: Callable[[], object], device: torch.device) -> list[Any]:
    """The profiler's events of a call: not as `events()`, which makes a tree of objects out of 100,000 launches."""
    synchronise(device)
    with profile(activities=[activity]) as recorder:
        call()
        synchronise(device)
    assert recorder.profiler is not None
    assert recorder.profiler.kineto_results is not None
    return list(recorder.profiler.kineto_results.events())


CONVOLUTIONS = ("conv", "fprop", "dgrad", "wgrad", "xmma", "cutlass", "gemm", "winograd")
LAYOUTS = ("nchwtonhwc", "nhwctonchw", "transpose")


def kinds(found: Profile) -> dict[str, float]:
    """Milliseconds of kernels by kind: convolutions and products, changes of layout, and all else."""
    sums = {"convolutions_ms": 0.0, "layout_ms": 0.0, "other_ms": 0.0}
    for name, (ms, _) in found.kernels.items():
        low = name.lower()
        kind = "layout" if any(w in low for w in LAYOUTS) else "other"
        if kind == "other" and any(word in low for word in CONVOLUTIONS):
            kind = "convolutions"
        sums[f"{kind}_ms"] += ms
    return sums


class Spans:
    """Milliseconds of the main stream by part of a step, each without the parts within it.

    Between two marks the stream does what was launched between them, and waits for other streams where it was made to.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.open = device, ["other"]
        self.marks: list[tuple[str, Any]] = []

    def around(self, owner: object, name: str, part: str) -> None:
        """Time every call of a method of an object."""
        method = getattr(owner, name)

        def timed(*args: Any, **kwargs: Any) -> Any:
            self.mark()
            self.open.append(part)
            try:
                return method(*args, **kwargs)
            finally:
                self.mark()
                self.open.pop()

        object.__setattr__(owner, name, timed)  # also of a frozen dataclass

    def mark(self) -> None:
        """End what is timed until now, in the name of the innermost part."""
        if self.device.type == "cuda":
            event: Any = torch.cuda.Event(enable_timing=True)
            event.record()
        else:
            event = time.perf_counter()
        self.marks.append((self.open[-1], event))

    def take(self) -> dict[str, float]:
        """Milliseconds by part since the first mark."""
        synchronise(self.device)
        spent: dict[str, float] = {}
        for (_, before), (part, after) in pairwise(self.marks):
            ms = before.elapsed_time(after) if self.device.type == "cuda" else 1e3 * (after - before)
            spent[part] = spent.get(part, 0.0) + ms
        self.marks.clear()
        return spent
