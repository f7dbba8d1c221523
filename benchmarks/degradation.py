"""Speed and memory of the degradation on a CPU against the functions of the PyPI package `basicsr`.

    pip download --no-deps --no-binary :all: basicsr==1.4.2 && tar xzf basicsr-1.4.2.tar.gz
    python benchmarks/degradation.py basicsr-1.4.2

Both sides do the work of Real-ESRGAN's `feed_data` (x4plus options) on the same batch, in one process, turn by turn;
the figures are medians. Needs scipy, which basicsr's kernels use. basicsr is loaded file by file, unmodified; what it
would import but is not needed (OpenCV but for one formula, torchvision but for its gray conversion) is replaced.
"""

# ruff: noqa: TID251 - the other side draws from `random` and `numpy.random`
from __future__ import annotations

import argparse
import importlib.util
import math
import os
import random
import subprocess
import sys
import time
import types
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from degradations import Keys, Purpose, SecondOrder, draw_crops, paired_crop, usm_sharpen
from degradations.blur import blur
from degradations.draws import uniform_table
from degradations.noise import quantise

SCALE, SIDE, GT = 4, 400, 256
STAGES = (
    "kernels", "USM of the image", "blur 1", "resize 1", "noise 1", "JPEG 1", "blur 2", "resize 2", "noise 2",
    "resize 3 + sinc", "JPEG 2", "round + crop", "USM of the crop",
)  # fmt: skip
MODES = ["area", "bilinear", "bicubic"]
FAMILIES = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
PROBABILITIES = [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]


class Clock:
    """Adds up wall time by stage."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.spent[stage] += time.perf_counter() - start


# ---------------------------------------------------------------- their side


def load_basicsr(root: Path) -> SimpleNamespace:
    """basicsr's three files, without its package's imports."""

    def gaussian(taps: int, _sigma: float) -> Any:  # cv2.getGaussianKernel with sigma 0
        sigma = 0.3 * ((taps - 1) * 0.5 - 1) + 0.8
        row = np.exp(-((np.arange(taps) - taps // 2) ** 2) / (2 * sigma**2))
        return (row / row.sum())[:, None]

    def gray(image: Tensor, num_output_channels: int = 1) -> Tensor:  # torchvision's formula
        luma = (0.2989 * image[..., 0, :, :] + 0.587 * image[..., 1, :, :] + 0.114 * image[..., 2, :, :])[
            ..., None, :, :
        ]
        return luma.expand(*luma.shape[:-3], num_output_channels, *luma.shape[-2:])

    substitutes: dict[str, dict[str, Any]] = {
        "cv2": {"getGaussianKernel": gaussian},
        "torchvision": {},
        "torchvision.transforms": {},
        "torchvision.transforms.functional_tensor": {"rgb_to_grayscale": gray},
    }
    for name, content in substitutes.items():
        module = types.ModuleType(name)
        vars(module).update(content)
        sys.modules.setdefault(name, module)

    def load(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location("theirs_" + Path(path).stem, root / "basicsr" / path)
        if spec is None or spec.loader is None:
            raise FileNotFoundError(root / "basicsr" / path)
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    deg, jpeg, usm = load("data/degradations.py"), load("utils/diffjpeg.py"), load("utils/img_process_util.py")
    return SimpleNamespace(deg=deg, jpeg=jpeg.DiffJPEG(differentiable=False), filter2d=usm.filter2D, usm=usm.USMSharp())


def their_kernels(lib: SimpleNamespace, count: int) -> list[Tensor]:
    """`RealESRGANDataset.__getitem__`'s three kernels for each image: [count, 21, 21] each."""
    deg, batches = lib.deg, ([], [], [])

    def pick(size: int) -> float:
        return np.random.uniform(np.pi / 3 if size < 13 else np.pi / 5, np.pi)

    for _ in range(count):
        for order, sigma in ((0, [0.2, 3]), (1, [0.2, 1.5])):
            size = random.choice(range(7, 22, 2))
            if np.random.uniform() < 0.1:
                kernel = deg.circular_lowpass_kernel(pick(size), size, pad_to=False)
            else:
                kernel = deg.random_mixed_kernels(
                    FAMILIES, PROBABILITIES, size, sigma, sigma, [-math.pi, math.pi], [0.5, 4], [1, 2], noise_range=None
                )
            pad = (21 - size) // 2
            batches[order].append(torch.FloatTensor(np.pad(kernel, ((pad, pad), (pad, pad)))))
        if np.random.uniform() < 0.8:
            size = random.choice(range(7, 22, 2))
            kernel = deg.circular_lowpass_kernel(np.random.uniform(np.pi / 3, np.pi), size, pad_to=21)
        else:
            kernel = np.zeros((21, 21))
            kernel[10, 10] = 1
        batches[2].append(torch.FloatTensor(kernel))
    return [torch.stack(batch) for batch in batches]


def their_scale(probability: list[float], low: float, high: float) -> float:
    kind = random.choices(["up", "down", "keep"], probability)[0]
    return {"up": np.random.uniform(1, high), "down": np.random.uniform(low, 1), "keep": 1.0}[kind]


def their_batch(lib: SimpleNamespace, gt: Tensor, clock: Clock) -> tuple[Tensor, Tensor]:
    """`RealESRGANModel.feed_data` without the pool -> (lq, gt_usm)."""
    deg = lib.deg

    def noise(x: Tensor, sigma: list[float], scale: list[float]) -> Tensor:
        if np.random.uniform() < 0.5:
            return deg.random_add_gaussian_noise_pt(x, sigma_range=sigma, clip=True, rounds=False, gray_prob=0.4)
        return deg.random_add_poisson_noise_pt(x, scale_range=scale, gray_prob=0.4, clip=True, rounds=False)

    def jpeg(x: Tensor) -> Tensor:
        quality = x.new_zeros(x.size(0)).uniform_(30, 95)
        # on a CPU their filter2D fails on the strides that their DiffJPEG returns
        return lib.jpeg(torch.clamp(x, 0, 1), quality=quality).contiguous()

    with clock("kernels"):
        kernel1, kernel2, sinc = their_kernels(lib, len(gt))
    with clock("USM of the image"):
        x = lib.usm(gt)
    with clock("blur 1"):
        x = lib.filter2d(x, kernel1)
    with clock("resize 1"):
        x = F.interpolate(x, scale_factor=their_scale([0.2, 0.7, 0.1], 0.15, 1.5), mode=random.choice(MODES))
    with clock("noise 1"):
        x = noise(x, [1, 30], [0.05, 3])
    with clock("JPEG 1"):
        x = jpeg(x)
    with clock("blur 2"):
        x = lib.filter2d(x, kernel2) if np.random.uniform() < 0.8 else x
    with clock("resize 2"):
        side = int(SIDE / SCALE * their_scale([0.3, 0.4, 0.3], 0.3, 1.2))
        x = F.interpolate(x, size=(side, side), mode=random.choice(MODES))
    with clock("noise 2"):
        x = noise(x, [1, 25], [0.05, 2.5])
    jpeg_last = np.random.uniform() < 0.5
    if not jpeg_last:
        with clock("JPEG 2"):
            x = jpeg(x)
    with clock("resize 3 + sinc"):
        x = lib.filter2d(F.interpolate(x, size=(SIDE // SCALE,) * 2, mode=random.choice(MODES)), sinc)
    if jpeg_last:
        with clock("JPEG 2"):
            x = jpeg(x)
    with clock("round + crop"):
        lq = torch.clamp((x * 255.0).round(), 0, 255) / 255.0
        top, left = (random.randint(0, (SIDE - GT) // SCALE) for _ in range(2))
        lq = lq[..., top : top + GT // SCALE, left : left + GT // SCALE].contiguous()
        cut = gt[..., top * SCALE : top * SCALE + GT, left * SCALE : left * SCALE + GT].contiguous()
    with clock("USM of the crop"):
        return lq, lib.usm(cut)


# ---------------------------------------------------------------- our side


def our_batch(config: SecondOrder, gt: Tensor, position: int, clock: Clock) -> tuple[Tensor, Tensor]:
    """The same work, stage by stage as `SecondOrder.apply`, drawn for each sample -> (lq, gt_usm)."""
    keys = Keys(0, torch.arange(position, position + len(gt)))
    _, resize1, noise1, jpeg1 = config.first()
    _, resize2, noise2, jpeg2, _ = config.second()
    with clock("kernels"):
        recipe = config.draw(keys, SIDE, SIDE, SCALE)
    with clock("USM of the image"):
        sharp = usm_sharpen(gt)
    with clock("blur 1"):
        x = blur(sharp.unbind(), recipe.blur1)
    with clock("resize 1"):
        x = resize1.apply(x, recipe.resize1)
    with clock("noise 1"):
        x = noise1.apply(x, recipe.noise1, keys, Purpose.NOISE_1_FIELD)
    with clock("JPEG 1"):
        x = jpeg1.apply(x, recipe.jpeg1)
    with clock("blur 2"):
        x = blur(x, recipe.blur2)
    with clock("resize 2"):
        x = resize2.apply(x, recipe.resize2)
    with clock("noise 2"):
        x = noise2.apply(x, recipe.noise2, keys, Purpose.NOISE_2_FIELD)
    last = recipe.jpeg_last.tolist()
    with clock("JPEG 2"):
        x = at(x, [i for i, flag in enumerate(last) if not flag], recipe.jpeg2, jpeg2.apply)
    with clock("resize 3 + sinc"):
        x = blur(resize2.apply(x, recipe.resize3), recipe.sinc)
    with clock("JPEG 2"):
        x = at(x, [i for i, flag in enumerate(last) if flag], recipe.jpeg2, jpeg2.apply)
    with clock("round + crop"):
        lq = torch.stack([quantise(image) for image in x])
        top, left = draw_crops(keys, SIDE // SCALE, SIDE // SCALE, GT // SCALE)
        return paired_crop(lq, sharp, top, left, GT // SCALE, SCALE)


def at(images: list[Tensor], places: list[int], recipe: Any, apply: Callable[..., list[Tensor]]) -> list[Tensor]:
    done = apply([images[i] for i in places], recipe.select(torch.tensor(places, dtype=torch.int64)))
    for i, image in zip(places, done, strict=True):
        images[i] = image
    return images


# ---------------------------------------------------------------- measurement


def pictures(count: int) -> Tensor:
    """Photograph-like crops in 8 bits: smooth fields, texture and an edge, float32 [count, 3, 400, 400]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 9, 9, generator=generator)
    images = F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic")
    images = images + 0.08 * torch.randn(images.shape, generator=generator)
    images[..., 150:260] += 0.25
    return (images.clamp(0, 1) * 255).round() / 255


def measure(lib: SimpleNamespace, batch: int, rounds: int, ours_per_round: int) -> None:
    """Alternate both sides and print the table."""
    gt, config = pictures(batch), SecondOrder()
    theirs: list[dict[str, float]] = []
    ours: list[dict[str, float]] = []
    check, _ = our_batch(config, gt, 0, Clock())
    top, left = draw_crops(Keys(0, torch.arange(batch)), SIDE // SCALE, SIDE // SCALE, GT // SCALE)
    whole = config.apply(usm_sharpen(gt), config.draw(Keys(0, torch.arange(batch)), SIDE, SIDE, SCALE))
    expected, _ = paired_crop(whole, gt, top, left, GT // SCALE, SCALE)
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
    print(f"{len(theirs)} batches of theirs, {len(ours)} of ours, interleaved; milliseconds a batch\n")
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
        start = time.perf_counter()
        their_kernels(lib, batch)
        middle = time.perf_counter()
        keys = Keys(0, torch.arange(turn * batch, (turn + 1) * batch))
        numbers = uniform_table(keys, (Purpose.BLUR_1, Purpose.BLUR_2, Purpose.SINC), 12)
        for kernels, u in zip((blur1, blur2, sinc), numbers, strict=True):
            kernels.draw(u)
        times[0].append(middle - start)
        times[1].append(time.perf_counter() - middle)
    a, b = (1e3 * median(side) / batch for side in times)
    print(f"\nkernels alone, batch {batch}: basicsr {a:.3f} ms an image, ours {b:.3f} ms an image, {a / b:.1f}x")


def measure_memory(root: Path, batch: int) -> None:
    """Peak memory above what the process held before its first batch, each side in a process of its own."""
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
    parser = argparse.ArgumentParser(description="The degradation on a CPU, against basicsr.")
    parser.add_argument("basicsr", type=Path, help="folder of basicsr's source distribution")
    parser.add_argument("--batch", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=5, help="batches of basicsr (some 7 s each)")
    parser.add_argument("--ours-per-round", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--memory-of", choices=("theirs", "ours"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    lib = load_basicsr(options.basicsr)
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
