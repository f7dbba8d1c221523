"""CPU time of the degradation by stage, against that of another checkout, and proof that both give the same bits.

    git worktree add ../before COMMIT
    python benchmarks/degradation_before.py ../before                        # 12 crops of 400 x 400
    python benchmarks/degradation_before.py ../before --batch 8 --side 96    # the quickstart's

Both sides take turns on the same batches in one process, on one thread, with Real-ESRGAN's x4plus options. CPU time is
the process's own, so that other work on the machine disturbs it little.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

SCALE = 4
Times = dict[str, float]
Work = Callable[[Tensor, int, Times], Tensor]


def imported(root: Path) -> Callable[[str], ModuleType]:
    """Import of modules of the package `degradations` in `root`, beside another one of that name."""
    own: dict[str, ModuleType] = {}

    def load(name: str) -> ModuleType:
        others = {key: sys.modules.pop(key) for key in list(sys.modules) if key.split(".")[0] == "degradations"}
        sys.modules.update(own)
        sys.path.insert(0, str(root))
        module = importlib.import_module(name)
        sys.path.remove(str(root))
        own.update({key: sys.modules.pop(key) for key in list(sys.modules) if key.split(".")[0] == "degradations"})
        sys.modules.update(others)
        return module

    return load


def side(root: Path) -> Work:
    """A batch from sharpening to the 8-bit result, by the code in `root`; it adds CPU seconds by stage."""
    load = imported(root)
    package, second_order = load("degradations"), load("degradations.second_order")
    blur, quantise = load("degradations.operations.blur").blur, load("degradations.operations.noise").quantise
    purposes, config = package.Purpose, package.SecondOrder()
    (_, resize1, noise1, jpeg1), (_, resize2, noise2, jpeg2, _) = config.first(), config.second()

    def work(images: Tensor, position: int, spent: Times) -> Tensor:
        def timed(stage: str, call: Callable[..., Any], *arguments: Any) -> Any:
            begin = time.process_time()
            result = call(*arguments)
            spent[stage] += time.process_time() - begin
            return result

        keys = package.Keys(0, torch.arange(position, position + len(images)))
        r = timed("draws, kernels", config.draw, keys, images.shape[2], images.shape[3], SCALE)
        x = list(timed("USM", package.usm_sharpen, images))
        x = timed("blur 1", blur, x, r.blur1)
        x = timed("resize 1", resize1.apply, x, r.resize1)
        x = timed("noise 1", noise1.apply, x, r.noise1, r.keys, purposes.NOISE_1_FIELD)
        x = timed("JPEG 1", jpeg1.apply, x, r.jpeg1)
        x = timed("blur 2", blur, x, r.blur2)
        x = timed("resize 2", resize2.apply, x, r.resize2)
        x = timed("noise 2", noise2.apply, x, r.noise2, r.keys, purposes.NOISE_2_FIELD)
        x = timed("JPEG 2", second_order._apply_to_chosen, ~r.jpeg_last, x, r.jpeg2, jpeg2.apply)
        x = timed("resize 3", resize2.apply, x, r.resize3)
        x = timed("sinc", blur, x, r.sinc)
        x = timed("JPEG 2", second_order._apply_to_chosen, r.jpeg_last, x, r.jpeg2, jpeg2.apply)
        return torch.stack([quantise(image) for image in x])

    return work


def main() -> None:
    """Command line; see the module."""
    from degradation_sides import pictures

    parser = argparse.ArgumentParser(description="The degradation, against another checkout's.")
    parser.add_argument("before", type=Path, help="the other checkout")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--side", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(1)
    sides = {"before": side(options.before.resolve()), "now": side(Path(__file__).parents[1])}
    images = pictures(options.batch, options.side)
    stages: dict[str, Times] = {name: defaultdict(float) for name in sides}
    wholes: dict[str, list[float]] = {name: [] for name in sides}
    with torch.no_grad():
        for turn in range(options.rounds + 1):
            results = []
            for name in sorted(sides, reverse=bool(turn % 2)):
                spent: Times = defaultdict(float)
                results.append(sides[name](images, turn * options.batch, spent))
                if turn:  # the first is to warm up
                    wholes[name].append(sum(spent.values()))
                    for stage, seconds in spent.items():
                        stages[name][stage] += seconds
            if not torch.equal(*results):
                raise AssertionError(f"the results of batch {turn} differ")
    print(f"{options.batch} of {options.side}x{options.side}, {options.rounds} batches, CPU ms a batch; equal bits")
    for stage in stages["now"]:
        a, b = (1e3 * stages[name][stage] / options.rounds for name in ("before", "now"))
        print(f"{stage:<16}{a:>9.1f}{b:>9.1f}{a / b:>7.2f}x")
    a, b = (1e3 * median(wholes[name]) for name in ("before", "now"))
    ratio = median(x / y for x, y in zip(wholes["before"], wholes["now"], strict=True))
    print(f"{'whole, median':<16}{a:>9.1f}{b:>9.1f}{ratio:>7.2f}x (median of the pairs' ratios)")


if __name__ == "__main__":
    main()
