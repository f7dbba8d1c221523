"""The degradation on one GPU: basicsr, our reference and the fused kernels on the same batch, by CUDA events.

Called by `degradation.py --device cuda`. Prints, for each side, milliseconds by stage (medians over batches) and of
the whole, launches, waits of the host, bytes that its operations name, and peak memory; for the fused side also its
share of the copy bandwidth, which is measured first.
"""

# ruff: noqa: TID251 - the other side draws from `random` and `numpy.random`
from __future__ import annotations

import random
from collections.abc import Callable
from statistics import median
from types import SimpleNamespace

import numpy as np
import torch
from degradation_sides import GT, SCALE, SIDE, STAGES, Clock, our_batch, pictures, their_batch
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from degradations import Keys, Purpose, SecondOrder

Batch = Callable[[int, Clock], object]
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")


def fused_batch(config: SecondOrder, gt: Tensor, start: int, clock: Clock) -> tuple[Tensor, Tensor]:
    """`fused.second_order.Pairing`, stage by stage: uint8 [B, 3, 400, 400] -> (lq, gt_usm), uint8."""
    from degradations.fused import second_order as fused
    from degradations.fused.canvas import Canvas
    from degradations.fused.crops import crop
    from degradations.fused.jpeg import jpeg
    from degradations.fused.noise import add_noise
    from degradations.fused.resize import resize
    from degradations.fused.sharpen import usm_sharpen

    keys = Keys(0, torch.arange(start, start + len(gt), device=gt.device))
    with clock("kernels"):
        r, (top, left) = fused.draw(config, keys, SIDE, SIDE, SCALE, GT // SCALE)
    with clock("USM of the image"):
        sharp = usm_sharpen(Canvas.full(gt))
    with clock("blur 1"):
        x = fused._blur(sharp, r.blur1)
    with clock("resize 1"):
        most = fused._most(SIDE, SIDE, config.resize_range[1])
        x = resize(x, r.resize1.size.int(), r.resize1.mode, most)
    with clock("noise 1"):
        x = add_noise(x, r.noise1.kind, r.noise1.strength, r.noise1.gray, keys, Purpose.NOISE_1_FIELD)
    with clock("JPEG 1"):
        x = jpeg(x, r.jpeg1.quality)
    with clock("blur 2"):
        x = fused._blur(x, r.blur2, whole=True)
    with clock("resize 2"):
        most = fused._most(SIDE // SCALE, SIDE // SCALE, config.resize_range2[1])
        x = resize(x, r.resize2.size.int(), r.resize2.mode, most)
    with clock("noise 2"):
        x = add_noise(x, r.noise2.kind, r.noise2.strength, r.noise2.gray, keys, Purpose.NOISE_2_FIELD)
    with clock("JPEG 2"):
        x = jpeg(x, r.jpeg2.quality, ~r.jpeg_last)
    with clock("resize 3 + sinc"):
        x = fused._blur(resize(x, r.resize3.size.int(), r.resize3.mode, (SIDE // SCALE,) * 2), r.sinc)
    with clock("JPEG 2"):
        x = jpeg(x, r.jpeg2.quality, r.jpeg_last)
    with clock("round + crop"):
        return crop(x, top, left, (GT // SCALE,) * 2), crop(sharp, top, left, (GT, GT), SCALE)


def fused_bytes(config: SecondOrder, start: int, count: int) -> int:
    """What the fused kernels read and write for these samples, each pass over each image counted once."""
    r = config.draw(Keys(0, torch.arange(start, start + count)), SIDE, SIDE, SCALE)
    full, lq = 3 * count * SIDE**2, 3 * count * (SIDE // SCALE) ** 2
    first, second = (int(3 * size.prod(1).sum()) for size in (r.resize1.size, r.resize2.size))
    usm = full * (1 + 5 + 1 + 1 + 4 + 4)  # image; gain and mask; image, mask and gain; result
    blurs = full * 16 + first * (1 + 2 + 2 + 4) + lq * 16  # halves written and read between
    resizes = 4 * (full + first + first + second + second + lq)
    noise = first * 12 + second * 12  # levels, then in place
    codec = first * (4 + 0.5 * 4 + 1 + 0.5) + 0.5 * (second + lq) * (4 + 0.5 * 4 + 4)
    cut = 3 * count * (4 * GT**2 + GT**2 + 5 * (GT // SCALE) ** 2)
    return int(usm + blurs + resizes + noise + codec + cut)


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


def copy_bandwidth() -> float:
    """Bytes a second, read and written, of a copy of 1 GiB."""
    source = torch.randint(0, 255, (1 << 30,), dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    return 2 * source.numel() / median(seconds(lambda: target.copy_(source), 20))


def seconds(call: Callable[[], object], rounds: int) -> list[float]:
    """Time on the device of each call, after three that do not count."""
    times = []
    for turn in range(rounds + 3):
        start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        call()
        stop.record()
        torch.cuda.synchronize()
        if turn >= 3:
            times.append(start.elapsed_time(stop) / 1e3)
    return times


def counted(batch: Batch) -> tuple[int, int]:
    """Launches of a batch, and how often the host waits in it."""
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CPU, ProfilerActivity.CUDA]) as recorded:
        batch(0, Clock("cpu"))
    launches = waits = 0
    for event in recorded.key_averages():
        if event.key in WAITS:
            waits += event.count
        if event.key in ("cudaLaunchKernel", "cuLaunchKernel", "cudaLaunchKernelExC", "cuLaunchKernelEx"):
            launches += event.count
    return launches, max(waits - 1, 0)  # the profiler itself waits once, at its end


def side(name: str, batch: Batch, rounds: int, count: int) -> dict[str, float]:
    """Everything about one side, printed; its medians by stage in seconds."""
    for turn in range(3):
        batch(turn * count, Clock("cuda"))
    runs = []
    for turn in range(rounds):
        clock = Clock("cuda")
        batch((turn + 3) * count, clock)
        runs.append(clock.spent)
    table = {stage: median(run.get(stage, 0.0) for run in runs) for stage in STAGES}
    turns = iter(range(10**6))
    table["whole"] = median(seconds(lambda: batch(next(turns) * count, Clock("cpu")), rounds))
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    batch(0, Clock("cpu"))
    peak = (torch.cuda.max_memory_allocated() - before) / 2**20
    launches, waits = counted(batch)
    with Bytes() as moved:
        batch(0, Clock("cpu"))
    gigabytes = moved.total / 1e9
    print(f"{name}: {launches} launches, {waits} waits, {gigabytes:.2f} GB in PyTorch's operations, {peak:.0f} MiB")
    return table


def agreement(config: SecondOrder, gt: Tensor) -> None:
    """Shares of pixels in which the fused pairs differ from the reference's."""
    lq, usm = fused_batch(config, gt, 0, Clock("cpu"))
    wanted = our_batch(config, gt.float() / 255, 0, Clock("cpu"))
    for name, got, reference in (("LQ", lq, wanted[0]), ("GT", usm, wanted[1])):
        difference = (got.float() - (reference * 255).round()).abs()
        some, more = ((difference > least).float().mean() for least in (0, 1))
        print(f"{name}: {some:.2e} of the pixels differ, {more:.2e} by more than one level")


def graphed(config: SecondOrder, gt: Tensor, rounds: int) -> float:
    """Seconds of the whole fused batch as one CUDA graph."""
    from degradations.fused.second_order import Pairing

    pairing = Pairing(config=config, seed=0, scale=SCALE, side=GT // SCALE, sharpen_gt=True)
    positions = torch.arange(len(gt), device="cuda")
    pairing(gt, positions)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        pairing(gt, positions)

    def replay() -> None:
        positions.add_(len(gt))
        graph.replay()

    return median(seconds(replay, rounds))


def measure(lib: SimpleNamespace | None, count: int, rounds: int, compiled: bool) -> None:
    """All sides, one after the other on the same pictures, and the table."""
    config, gt = SecondOrder(), pictures(count).cuda()
    whole = (gt * 255).to(torch.uint8)
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, batch {count} of {SIDE}x{SIDE}, x{SCALE}")
    bandwidth = copy_bandwidth()
    print(f"copy bandwidth {bandwidth / 1e12:.2f} TB/s")
    agreement(config, whole)

    def theirs(start: int, clock: Clock) -> object:
        random.seed(start)
        np.random.seed(start)
        torch.manual_seed(start)
        return their_batch(lib, gt, clock)

    sides: dict[str, Batch] = {
        "reference": lambda start, clock: our_batch(config, gt, start, clock),
        "fused": lambda start, clock: fused_batch(config, whole, start, clock),
    }
    if lib is not None:
        sides = {"basicsr": theirs} | sides
    tables = {name: side(name, batch, rounds, count) for name, batch in sides.items()}
    if compiled:
        apply = torch.compile(config.apply, dynamic=True)
        keys = (Keys(0, torch.arange(count) + turn) for turn in range(rounds + 3))
        recipes = iter([config.draw(each, SIDE, SIDE, SCALE) for each in keys])
        spent = median(seconds(lambda: apply(gt, next(recipes)), rounds))
        print(f"reference compiled, without draws and USM: {1e3 * spent:.1f} ms")

    print("\n| ms | " + " | ".join(tables) + " |\n|---|" + "--:|" * len(tables))
    for stage in (*STAGES, "whole"):
        print(f"| {stage} | " + " | ".join(f"{1e3 * table[stage]:.3f}" for table in tables.values()) + " |")
    replayed, moved = graphed(config, whole, 50), fused_bytes(config, 0, count)
    share = moved / replayed / bandwidth
    print(f"\nfused as a CUDA graph: {1e3 * replayed:.3f} ms; {moved / 1e9:.2f} GB, {share:.0%} of the copy bandwidth")
