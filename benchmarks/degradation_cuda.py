"""The degradation on one GPU: basicsr, our reference, the reference under torch.compile, and the fused kernels.

Called by `degradation.py --device cuda`. A row for each side, printed as soon as it is known: milliseconds by stage
(medians over batches, between CUDA events) and of the whole, launches, waits of the host, bytes, and peak memory.
"""

# ruff: noqa: TID251 - the other side draws from `random` and `numpy.random`
from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from degradation_sides import COLUMN, SCALE, STAGES, Clock, our_batch, patch, pictures, their_batch
from degradation_stages import fused_stages
from torch import Tensor
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from degradations import Keys, SecondOrder
from degradations import keyed_random as draws
from degradations.operations import jpeg, noise, sharpen

Batch = Callable[[int, Clock], object]
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")
WARM = {"cuda": 3, "cpu": 0}  # calls before those that are timed
HEAD_START = 20_000_000  # cycles, some 10 ms: longer than a host takes to launch a fused batch


def fused_batch(config: SecondOrder, gt: Tensor, start: int, clock: Clock) -> tuple[Tensor, Tensor]:
    """`fused.second_order.Pairing`, stage by stage: uint8 [B, 3, side, side] -> (lq, gt_usm), uint8."""
    from degradations.fused.canvas import Canvas
    from degradations.fused.crops import crop
    from degradations.fused.recipe import draw
    from degradations.fused.sharpen import usm_sharpen

    side, cut = gt.shape[-1], patch(gt.shape[-1])
    keys = Keys(0, torch.arange(start, start + len(gt), device=gt.device))
    with clock("kernels"):
        recipe, (top, left) = draw(config, keys, side, side, SCALE, cut // SCALE)
    with clock("USM of the image"):
        x = sharp = usm_sharpen(Canvas.full(gt))
    for name, stage in fused_stages(config, recipe):
        with clock(COLUMN.get(name, name)):
            x = stage(x)
    with clock("round + crop"):
        return crop(x, top, left, (cut // SCALE,) * 2), crop(sharp, top, left, (cut, cut), SCALE)


def fused_bytes(config: SecondOrder, side: int, count: int, number: int = 4) -> dict[str, float]:
    """Bytes that the fused kernels read and write for these samples by stage, counting each pass over each image once.

    Args:
        number: bytes of one value that lies between stages; after a JPEG that is a byte.
    """
    r = config.draw(Keys(0, torch.arange(count)), side, side, SCALE)
    full, lq = 3 * count * side**2, 3 * count * (side // SCALE) ** 2
    first, second = (int(3 * size.prod(1).sum()) for size in (r.resize1.size, r.resize2.size))
    coded = number + 0.5 * 4  # the input; planes of half the bytes, written and read twice
    return {
        "USM of the image": full * (4 + 3 * number),  # image; gain and mask; image, mask and gain; result
        "blur 1": full * 4 * number,  # as many halves as the number has, written and read between
        "resize 1": number * (full + first),
        "noise 1": first * 3 * number,  # levels, then in place
        "JPEG 1": first * (coded + 1),
        "blur 2": first * (1 + 2 + 2 + number),
        "resize 2": number * (first + second),
        "noise 2": second * 3 * number,
        "resize 3 + sinc": number * (second + lq) + lq * 4 * number,
        "JPEG 2": 0.5 * (second + lq) * (coded + number),
        "round + crop": 3 * count * (number + 1) * (patch(side) ** 2 + (patch(side) // SCALE) ** 2),
    }


@contextmanager
def compiled_parts(device: torch.device) -> Iterator[None]:
    """The reference's arithmetic under torch.compile: USM, noise and JPEG's blocks, for any size.

    The draws stay on the CPU and as they are; a resize is one kernel of PyTorch's, and a blur a complex transform,
    which Inductor cannot join to anything.
    """
    torch._dynamo.config.suppress_errors = True
    backend = "inductor" if device.type == "cuda" else "eager"
    places = (
        (sharpen, "_sharpen_one"), (noise, "add_gaussian"), (noise, "add_poisson"), (jpeg, "_code_planes"),
        (draws, "_fill_normals"), (draws, "philox"),
    )  # fmt: skip
    originals = [(module, name, getattr(module, name)) for module, name in (*places, (jpeg, "_constant"))]
    matrices = {
        (name, dtype): jpeg._constant(name, dtype, device)
        for name in ("dct_rows", "dct_columns", "idct_columns", "idct_rows", "to_ycc", "to_ycc_offset", "to_rgb")
        for dtype in (torch.float32, torch.float64)
    }

    def chosen(original: Callable[..., Any]) -> Callable[..., Any]:
        fast = torch.compile(original, dynamic=True, backend=backend)

        def either(*args: Any) -> Any:
            there = any(isinstance(value, Tensor) and value.device.type == device.type for value in tree_leaves(args))
            return (fast if there else original)(*args)

        return either

    try:
        for module, name, original in originals[:-1]:
            setattr(module, name, chosen(original))
        # compiled code would create them in each call, and wait for the copy
        jpeg._constant = lambda name, dtype, _: matrices[name, dtype]  # type: ignore[assignment]
        yield
    finally:
        for module, name, original in originals:
            setattr(module, name, original)


class Bytes(TorchDispatchMode):
    """Adds up the bytes of the tensors that operations read and write; views are free."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            for value in tree_leaves((args, kwargs, result)):
                if isinstance(value, Tensor) and value.is_cuda:
                    self.total += value.numel() * value.element_size()
        return result


def seconds(call: Callable[[], object], rounds: int, device: torch.device, head_start: bool = False) -> list[float]:
    """Time of each call, after some warm-up calls; of the device alone, if the host is given a head start."""
    times = []
    for turn in range(rounds + WARM[device.type]):
        if device.type == "cpu":
            begun = time.perf_counter()
            call()
            spent = time.perf_counter() - begun
        else:
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            if head_start:
                torch.cuda._sleep(HEAD_START)
            start.record()
            call()
            stop.record()
            torch.cuda.synchronize()
            spent = start.elapsed_time(stop) / 1e3
        if turn >= WARM[device.type]:
            times.append(spent)
    return times


def copy_bandwidth(device: torch.device) -> float:
    """Bytes a second, read and written, of a copy of 1 GiB (1 MiB on a CPU)."""
    size = 1 << (30 if device.type == "cuda" else 20)
    source = torch.randint(0, 255, (size,), dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    return 2 * size / median(seconds(lambda: target.copy_(source), 20, device))


def profiled(call: Callable[[], object]) -> tuple[int, int]:
    """Kernels that ran on the device in a call, and calls that wait for it."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        call()
    names = Counter((event.name, event.device_type) for event in recorded.events())
    kernels = sum(
        count
        for (name, kind), count in names.items()
        if kind == DeviceType.CUDA and not name.startswith(("Memcpy", "Memset"))
    )
    return kernels, sum(count for (name, _), count in names.items() if name in WAITS)


def counted(call: Callable[[], object], device: torch.device) -> tuple[int, int, float]:
    """Launches of a call, how often the host waits in it, and the MiB that it needs at once."""
    if device.type == "cpu":
        return 0, 0, 0.0
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    peak = (torch.cuda.max_memory_allocated() - before) / 2**20
    idle = profiled(lambda: None)[1]  # the profiler waits itself
    launches, waits = profiled(call)
    return launches, max(waits - idle, 0), peak


@dataclass
class Side:
    """One way to make the pairs."""

    name: str
    batch: Batch
    gigabytes: float | None = None
    """Bytes that a batch moves; None to count those of PyTorch's operations."""
    head_start: bool = False


def row(side: Side, rounds: int, count: int, device: torch.device) -> dict[str, float]:
    """Measure one side and print its row; its medians in seconds."""
    runs = []
    for turn in range(rounds + WARM[device.type]):
        if side.head_start and device.type == "cuda":
            torch.cuda._sleep(HEAD_START)
        clock = Clock(device.type)
        side.batch(turn * count, clock)
        runs.append(clock.spent)
    table = {stage: median(run.get(stage, 0.0) for run in runs[WARM[device.type] :]) for stage in STAGES}
    turns = iter(range(10**6))
    spent = seconds(lambda: side.batch(next(turns) * count, Clock("cpu")), rounds, device, side.head_start)
    table["whole"] = median(spent)
    launches, waits, peak = counted(lambda: side.batch(0, Clock("cpu")), device)
    gigabytes = side.gigabytes
    if gigabytes is None:
        with Bytes() as moved:
            side.batch(0, Clock("cpu"))
        gigabytes = moved.total / 1e9
    figures = " | ".join(f"{1e3 * value:.3f}" for value in table.values())
    print(f"| {side.name} | {figures} | {launches} | {waits} | {gigabytes:.2f} | {peak:.0f} |", flush=True)
    return table


def agreement(config: SecondOrder, gt: Tensor) -> None:
    """Shares of pixels in which the fused pairs differ from the reference's."""
    lq, usm = fused_batch(config, gt, 0, Clock("cpu"))
    wanted = our_batch(config, gt.float() / 255, 0, Clock("cpu"))
    for name, got, reference in (("LQ", lq, wanted[0]), ("GT", usm, wanted[1])):
        difference = (got.float() - (reference * 255).round()).abs()
        some, more = (float((difference > least).float().mean()) for least in (0, 1))
        print(f"{name}: {some:.2e} of the pixels differ, {more:.2e} by more than one level", flush=True)


def graphed(config: SecondOrder, gt: Tensor, rounds: int) -> float:
    """Seconds of the whole fused batch as one CUDA graph."""
    from degradations.fused.second_order import Pairing

    pairing = Pairing(config=config, seed=0, scale=SCALE, side=patch(gt.shape[-1]) // SCALE, sharpen_gt=True)
    positions = torch.arange(len(gt), device="cuda")
    pairing(gt, positions)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        pairing(gt, positions)

    def replay() -> None:
        positions.add_(len(gt))
        graph.replay()

    return median(seconds(replay, rounds, gt.device))


def measure(
    lib: SimpleNamespace | None, count: int, rounds: int, compiled: bool, device: torch.device, size: int
) -> None:
    """Measure all sides, one after the other on the same pictures."""
    config, gt = SecondOrder(), pictures(count, size).to(device)
    whole = (gt * 255).round().to(torch.uint8)
    name = torch.cuda.get_device_name() if device.type == "cuda" else "dry run"
    bandwidth = copy_bandwidth(device)
    print(f"\n{name}, torch {torch.__version__}, batch {count} of {size}x{size}, x{SCALE}; ", end="")
    print(f"a copy moves {bandwidth / 1e12:.3g} TB/s", flush=True)
    agreement(config, whole)

    def theirs(start: int, clock: Clock) -> object:
        random.seed(start)
        np.random.seed(start)
        torch.manual_seed(start)
        return their_batch(lib, gt, clock)

    moved = fused_bytes(config, size, count)
    total = sum(moved.values())

    def fused(start: int, clock: Clock) -> object:
        return fused_batch(config, whole, start, clock)

    def reference(start: int, clock: Clock) -> object:
        return our_batch(config, gt, start, clock)

    print("\n| ms | " + " | ".join((*STAGES, "whole", "launches", "waits", "GB", "MiB")) + " |")
    print("|---|" + "--:|" * (len(STAGES) + 5), flush=True)
    alone = row(Side("fused, device alone", fused, total / 1e9, head_start=True), rounds, count, device)
    alone["whole"] = max(alone["whole"], 1e-9)
    shares = (moved[stage] / alone[stage] / bandwidth if alone[stage] and stage in moved else 0 for stage in STAGES)
    print("| share of a copy's speed | " + " | ".join(f"{share:.0%}" if share else "-" for share in shares), end="")
    print(f" | {total / alone['whole'] / bandwidth:.0%} | | | | |", flush=True)
    launched = row(Side("fused, as launched", fused, total / 1e9), rounds, count, device)
    if device.type == "cuda":
        blank = " | ".join("" for _ in STAGES)
        print(f"| fused, a CUDA graph | {blank} | {1e3 * graphed(config, whole, 50):.3f} | | | | |", flush=True)
    row(Side("reference", reference), min(rounds, 10), count, device)
    spent = row(Side("basicsr", theirs), rounds, count, device)["whole"] if lib is not None else 0.0
    if compiled:
        with compiled_parts(device):
            row(Side("reference, compiled", reference, float("nan")), min(rounds, 10), count, device)
    if spent:
        times = " and ".join(f"{spent / side['whole']:.3g}" for side in (alone, launched))
        print(f"\nbasicsr takes {times} times as long as the fused kernels, alone and as launched", flush=True)


def once(count: int) -> None:
    """One fused batch between the marks that a profiler such as ncu looks for."""
    whole = (pictures(count) * 255).round().to(torch.uint8).cuda()
    for turn in range(3):
        fused_batch(SecondOrder(), whole, turn * count, Clock("cpu"))
    torch.cuda.synchronize()
    torch.cuda.profiler.start()
    fused_batch(SecondOrder(), whole, 3 * count, Clock("cpu"))
    torch.cuda.synchronize()
    torch.cuda.profiler.stop()
