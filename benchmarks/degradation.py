"""Speed and memory of the degradation against the functions of the PyPI package `basicsr`.

    pip download --no-deps --no-binary :all: basicsr==1.4.2 && tar xzf basicsr-1.4.2.tar.gz
    python benchmarks/degradation.py basicsr-1.4.2
    python benchmarks/degradation.py basicsr-1.4.2 --device cuda --batch 48
    TRITON_INTERPRET=1 python benchmarks/degradation.py basicsr-1.4.2 --device cuda --dry-run    # on a CPU, tiny

Both sides do the work of Real-ESRGAN's `feed_data` (x4plus options) on the same batch, in one process, turn by turn;
the figures are means and medians of CPU time, on one thread. Needs scipy, which basicsr's kernels use. basicsr is
loaded file by file, unmodified; its imports that are hardly needed (OpenCV for one formula, torchvision for its gray
conversion) are replaced.
"""

# ruff: noqa: TID251 - the other side draws from `random` and `numpy.random`
from __future__ import annotations

import argparse
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from statistics import median
from types import SimpleNamespace

import degradation_cuda
import numpy as np
import torch
from degradation_sides import (
    SCALE,
    SIDE,
    STAGES,
    Clock,
    load_basicsr,
    our_batch,
    patch,
    pictures,
    their_batch,
    their_kernels,
)

from degradations import Keys, Purpose, SecondOrder, draw_crops, paired_crop, usm_sharpen
from degradations.keyed_random import uniform_table


def measure(lib: SimpleNamespace, batch: int, rounds: int, ours_per_round: int) -> None:
    """Alternate both sides and print the table."""
    gt, config = pictures(batch), SecondOrder()
    theirs: list[dict[str, float]] = []
    ours: list[dict[str, float]] = []
    check, _ = our_batch(config, gt, 0, Clock())
    top, left = draw_crops(Keys(0, torch.arange(batch)), SIDE // SCALE, SIDE // SCALE, patch(SIDE) // SCALE)
    whole = config.apply(usm_sharpen(gt), config.draw(Keys(0, torch.arange(batch)), SIDE, SIDE, SCALE))
    expected, _ = paired_crop(whole, gt, top, left, patch(SIDE) // SCALE, SCALE)
    if not torch.equal(check, expected):
        raise AssertionError("the staged run differs from SecondOrder.apply")
    for turn in range(rounds):
        random.seed(turn)
        np.random.seed(turn)
        torch.manual_seed(turn)
        clock = Clock()
        their_batch(lib, gt, clock)
        theirs.append(dict(clock.spent))
        for repeat in range(ours_per_round):
            clock = Clock()
            our_batch(config, gt, (turn * ours_per_round + repeat) * batch, clock)
            ours.append(dict(clock.spent))
    report(theirs, ours, batch)


def report(theirs: list[dict[str, float]], ours: list[dict[str, float]], batch: int) -> None:
    """Means per stage (a stage that a draw skips counts as 0) and medians of the whole."""
    print(f"\nbatch {batch} of {SIDE}x{SIDE}, x{SCALE}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(f"{len(theirs)} batches of theirs, {len(ours)} of ours, interleaved; CPU milliseconds a batch, all threads\n")
    print(f"{'stage':<18}{'basicsr':>10}{'ours':>10}{'ratio':>8}")
    for stage in STAGES:
        a, b = (1e3 * sum(run.get(stage, 0.0) for run in side) / len(side) for side in (theirs, ours))
        print(f"{stage:<18}{a:>10.1f}{b:>10.1f}{(f'{a / b:.1f}x' if b > 0.05 else '-'):>8}")
    for label, skip in (("whole, median", ()), ("without any USM", ("USM of the image", "USM of the crop"))):
        a, b = (
            1e3 * median(sum(t for name, t in run.items() if name not in skip) for run in side)
            for side in (theirs, ours)
        )
        print(f"{label:<18}{a:>10.1f}{b:>10.1f}{a / b:>7.1f}x")


def measure_kernels(lib: SimpleNamespace, batch: int, rounds: int) -> None:
    """Kernel sampling alone: three kernels for each image."""
    config, times = SecondOrder(), ([], [])
    blur1, blur2, sinc = config.first()[0], config.second()[0], config.second()[4]
    for turn in range(rounds):
        start = time.process_time()
        their_kernels(lib, batch)
        middle = time.process_time()
        keys = Keys(0, torch.arange(turn * batch, (turn + 1) * batch))
        numbers = uniform_table(keys, (Purpose.BLUR_1, Purpose.BLUR_2, Purpose.SINC), 12)
        for kernels, u in zip((blur1, blur2, sinc), numbers, strict=True):
            kernels.draw(u)
        times[0].append(middle - start)
        times[1].append(time.process_time() - middle)
    a, b = (1e3 * median(side) / batch for side in times)
    print(f"\nkernels alone, batch {batch}: basicsr {a:.3f} ms an image, ours {b:.3f} ms an image, {a / b:.1f}x")


def measure_memory(root: Path, batch: int) -> None:
    """Peak memory above that of the process before its first batch, each side in a process of its own."""
    for side in ("theirs", "ours"):
        command = [sys.executable, __file__, str(root), "--batch", str(batch), "--memory-of", side]
        print(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())


def memory_of(lib: SimpleNamespace, side: str, batch: int) -> None:
    """Linux: writing 5 to clear_refs resets the high-water mark of resident memory."""

    def resident(field: str) -> float:
        status = Path("/proc/self/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith(field)) / 1024

    gt = pictures(batch)
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    before = resident("VmRSS")
    for turn in range(4):
        if side == "theirs":
            random.seed(turn)
            np.random.seed(turn)
            torch.manual_seed(turn)
            their_batch(lib, gt, Clock())
        else:
            our_batch(SecondOrder(), gt, turn * batch, Clock())
    print(f"peak memory, {side}: {resident('VmHWM') - before:.0f} MiB above {before:.0f} MiB, 4 batches of {batch}")


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description="The degradation, against basicsr.")
    parser.add_argument("basicsr", type=Path, nargs="?", help="folder of basicsr's source; a GPU can do without")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--compiled", action="store_true", help="GPU: the reference under torch.compile too (minutes)")
    parser.add_argument("--dry-run", action="store_true", help="GPU: its program on this CPU; figures mean nothing")
    parser.add_argument("--once", action="store_true", help="GPU: one fused batch and no figures, for ncu")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5, help="batches of basicsr (some 7 s each)")
    parser.add_argument("--ours-per-round", type=int, default=4)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--memory-of", choices=("theirs", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.basicsr is None and options.device == "cpu":
        parser.error("the folder of basicsr's source distribution is missing")
    device = torch.device("cpu" if options.dry_run else options.device)
    lib = load_basicsr(options.basicsr, device.type) if options.basicsr else None
    if options.device == "cuda":
        size, rounds = (64, 1) if options.dry_run else (SIDE, options.rounds)
        batch = 2 if options.dry_run else options.batch
        with torch.no_grad():
            if options.once:
                degradation_cuda.once(batch)
                return
            degradation_cuda.measure(lib, batch, rounds, options.compiled, device, size)
        return
    with torch.no_grad():
        if options.memory_of:
            memory_of(lib, options.memory_of, options.batch)
            return
        print(f"load average at the start: {os.getloadavg()[0]:.2f}")
        measure(lib, options.batch, options.rounds, options.ours_per_round)
        measure_kernels(lib, 48, 15)
    measure_memory(options.basicsr, options.batch)
    print(f"load average at the end: {os.getloadavg()[0]:.2f}")


if __name__ == "__main__":
    main()
