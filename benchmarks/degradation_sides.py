"""The two sides of the degradation's benchmark, stage by stage: basicsr's functions, and ours."""

# ruff: noqa: TID251 - the other side draws from `random` and `numpy.random`
from __future__ import annotations

import importlib.util
import math
import random
import sys
import time
import types
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from degradation_stages import reference_stages
from torch import Tensor

from degradations import Keys, SecondOrder, draw_crops, paired_crop, usm_sharpen
from degradations.operations.noise import quantise

SCALE, SIDE = 4, 400
STAGES = (
    "kernels", "USM of the image", "blur 1", "resize 1", "noise 1", "JPEG 1", "blur 2", "resize 2", "noise 2",
    "resize 3 + sinc", "JPEG 2", "round + crop", "USM of the crop",
)  # fmt: skip
COLUMN = dict.fromkeys(("resize 3", "sinc"), "resize 3 + sinc")  # basicsr's is one step
MODES = ["area", "bilinear", "bicubic"]
FAMILIES = ["iso", "aniso", "generalized_iso", "generalized_aniso", "plateau_iso", "plateau_aniso"]
PROBABILITIES = [0.45, 0.25, 0.12, 0.03, 0.12, 0.03]


def patch(side: int) -> int:
    """Side of the ground truth that is cut out of a picture: 256 of 400 pixels, as upstream."""
    return side * 16 // 25 // SCALE * SCALE


class Clock:
    """Adds up seconds by stage: CPU time of all threads, which other work on the machine disturbs little; on a GPU the
    time between events, where nothing waits meanwhile."""

    def __init__(self, device: str = "cpu") -> None:
        self.cuda = device == "cuda"
        self.host: dict[str, float] = defaultdict(float)
        self.events: list[tuple[str, torch.cuda.Event, torch.cuda.Event]] = []

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        if self.cuda:
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            start.record()
            yield
            stop.record()
            self.events.append((stage, start, stop))
        else:
            begun = time.process_time()
            yield
            self.host[stage] += time.process_time() - begun

    @property
    def spent(self) -> dict[str, float]:
        """Seconds by stage; on a GPU this waits for the end."""
        if not self.cuda:
            return dict(self.host)
        torch.cuda.synchronize()
        spent: dict[str, float] = defaultdict(float)
        for stage, start, stop in self.events:
            spent[stage] += start.elapsed_time(stop) / 1e3
        return dict(spent)


def load_basicsr(root: Path, device: str = "cpu") -> SimpleNamespace:
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
    return SimpleNamespace(
        deg=deg,
        jpeg=jpeg.DiffJPEG(differentiable=False).to(device),
        filter2d=usm.filter2D,
        usm=usm.USMSharp().to(device),
    )


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
    deg, size = lib.deg, gt.shape[-1]
    lq_size, cut_size = size // SCALE, patch(size)

    def noise(x: Tensor, sigma: list[float], scale: list[float]) -> Tensor:
        if np.random.uniform() < 0.5:
            return deg.random_add_gaussian_noise_pt(x, sigma_range=sigma, clip=True, rounds=False, gray_prob=0.4)
        return deg.random_add_poisson_noise_pt(x, scale_range=scale, gray_prob=0.4, clip=True, rounds=False)

    def jpeg(x: Tensor) -> Tensor:
        quality = x.new_zeros(x.size(0)).uniform_(30, 95)
        # on a CPU their filter2D fails on the strides that their DiffJPEG returns
        return lib.jpeg(torch.clamp(x, 0, 1), quality=quality).contiguous()

    with clock("kernels"):
        kernel1, kernel2, sinc = (kernels.to(gt.device) for kernels in their_kernels(lib, len(gt)))
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
        side = int(lq_size * their_scale([0.3, 0.4, 0.3], 0.3, 1.2))
        x = F.interpolate(x, size=(side, side), mode=random.choice(MODES))
    with clock("noise 2"):
        x = noise(x, [1, 25], [0.05, 2.5])
    jpeg_last = np.random.uniform() < 0.5
    if not jpeg_last:
        with clock("JPEG 2"):
            x = jpeg(x)
    with clock("resize 3 + sinc"):
        x = lib.filter2d(F.interpolate(x, size=(lq_size,) * 2, mode=random.choice(MODES)), sinc)
    if jpeg_last:
        with clock("JPEG 2"):
            x = jpeg(x)
    with clock("round + crop"):
        lq = torch.clamp((x * 255.0).round(), 0, 255) / 255.0
        top, left = (random.randint(0, (size - cut_size) // SCALE) for _ in range(2))
        lq = lq[..., top : top + cut_size // SCALE, left : left + cut_size // SCALE].contiguous()
        cut = gt[..., top * SCALE : top * SCALE + cut_size, left * SCALE : left * SCALE + cut_size].contiguous()
    with clock("USM of the crop"):
        return lq, lib.usm(cut)


def our_batch(config: SecondOrder, gt: Tensor, position: int, clock: Clock) -> tuple[Tensor, Tensor]:
    """The same work, stage by stage as `SecondOrder.apply`, drawn for each sample -> (lq, gt_usm)."""
    keys, size = Keys(0, torch.arange(position, position + len(gt))), gt.shape[-1]
    with clock("kernels"):
        recipe = config.draw(keys, size, size, SCALE)
    with clock("USM of the image"):
        sharp = usm_sharpen(gt)
    x = list(sharp.unbind())
    for name, stage in reference_stages(config, recipe):
        with clock(COLUMN.get(name, name)):
            x = stage(x)
    with clock("round + crop"):
        lq = torch.stack([quantise(image) for image in x])
        cut = patch(size) // SCALE
        top, left = draw_crops(keys, size // SCALE, size // SCALE, cut)
        return paired_crop(lq, sharp, top, left, cut, SCALE)


def pictures(count: int, side: int = SIDE) -> Tensor:
    """Photograph-like crops in 8 bits: smooth fields, texture and an edge, float32 [count, 3, side, side]."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.rand(count, 3, 9, 9, generator=generator)
    images = F.interpolate(coarse, size=(side, side), mode="bicubic")
    images = images + 0.08 * torch.randn(images.shape, generator=generator)
    images[..., side * 3 // 8 : side * 13 // 20] += 0.25
    return (images.clamp(0, 1) * 255).round() / 255
