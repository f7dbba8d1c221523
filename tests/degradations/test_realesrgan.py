"""Real-ESRGAN's `feed_data`, replayed: upstream's draws, in upstream's order, through our operations.

The vectors were made on a CPU after ``random.seed = np.random.seed = torch.manual_seed = 100 + s``. Noise and JPEG
qualities come from torch's generator and depend on what was drawn before, so a first pass goes stage by stage and
records every draw; a second puts the record into a recipe for `SecondOrder.apply`.
"""

from __future__ import annotations

import random  # noqa: TID251 - upstream's generators, to replay its draws
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from degradations import Keys, SecondOrder, usm_sharpen
from degradations.operations.blur import filter2d
from degradations.operations.diffjpeg import diffjpeg
from degradations.operations.noise import Noise, poisson_peak, quantise, to_gray
from degradations.operations.resize import MODES, resize

SCALE = 4
CONFIG = SecondOrder(draws="batch", jpeg="realesrgan", resize="realesrgan")


@dataclass
class Upstream:
    """Upstream's draws, recorded by name."""

    drawn: dict[str, Any] = field(default_factory=dict)
    noise: list[Tensor] = field(default_factory=list)

    def resize(self, name: str, probability: tuple[float, ...], bounds: tuple[float, float]) -> None:
        kind = random.choices(["up", "down", "keep"], probability)[0]
        scale = 1.0
        if kind == "up":
            scale = np.random.uniform(1, bounds[1])  # noqa: TID251
        elif kind == "down":
            scale = np.random.uniform(bounds[0], 1)  # noqa: TID251
        self.drawn[name] = (scale, self.mode())

    @staticmethod
    def mode() -> int:
        return MODES.index(random.choice(list(MODES)))

    @staticmethod
    def coin(probability: float) -> bool:
        return bool(np.random.uniform() < probability)  # noqa: TID251

    def add_noise(self, x: Tensor, gaussian: bool, sigma: tuple[float, float], scale: tuple[float, float]) -> Tensor:
        low, high = sigma if gaussian else scale
        strength = (torch.rand(len(x)) * (high - low) + low).view(-1, 1, 1, 1)
        gray = (torch.rand(len(x)) < 0.4).float().view(-1, 1, 1, 1)
        noise = self.gaussian(x, strength, gray) if gaussian else self.poisson(x, strength, gray)
        self.noise.append(noise)
        return (x + noise).clamp(0, 1)

    @staticmethod
    def gaussian(x: Tensor, sigma: Tensor, gray: Tensor) -> Tensor:
        shared = torch.randn(x.shape[2:]) * sigma / 255 if gray.sum() > 0 else torch.zeros(1)
        colour = torch.randn(x.shape) * sigma / 255
        return colour * (1 - gray) + shared * gray

    @staticmethod
    def poisson(x: Tensor, scale: Tensor, gray: Tensor) -> Tensor:
        def shot(levels: Tensor) -> Tensor:
            peak = torch.stack([poisson_peak(image) for image in levels]).view(-1, 1, 1, 1)
            return torch.poisson(levels * peak) / peak - levels

        shared = shot(quantise(torch.stack([to_gray(image) for image in x]))) if gray.sum() > 0 else torch.zeros(1)
        return (shot(quantise(x)) * (1 - gray) + shared * gray) * scale

    def jpeg(self, name: str, x: Tensor) -> Tensor:
        self.drawn[name] = torch.zeros(len(x)).uniform_(30, 95)
        return torch.stack([diffjpeg(i.clamp(0, 1), float(q)) for i, q in zip(x, self.drawn[name], strict=True)])


def each(operation: Any, images: Tensor, *arguments: Any, **options: Any) -> Tensor:
    return torch.stack([operation(image, *arguments, **options) for image in images])


def blurred(images: Tensor, kernels: Tensor) -> Tensor:
    return torch.stack([filter2d(image, kernel) for image, kernel in zip(images, kernels, strict=True)])


def feed_data(x: Tensor, kernel1: Tensor, kernel2: Tensor, sinc: Tensor) -> tuple[Tensor, Upstream]:
    """`realesrgan_model.py`, lines 83 to 166, for the x4plus options."""
    draws, side = Upstream(), x.shape[-1]
    x = blurred(x, kernel1)
    draws.resize("resize1", CONFIG.resize_prob, CONFIG.resize_range)
    scale, mode = draws.drawn["resize1"]
    x = each(resize, x, (int(side * scale),) * 2, MODES[mode], scale=scale)
    x = draws.add_noise(x, draws.coin(0.5), CONFIG.noise_range, CONFIG.poisson_scale_range)
    x = draws.jpeg("jpeg1", x)
    draws.drawn["blur2"] = draws.coin(0.8)
    x = blurred(x, kernel2) if draws.drawn["blur2"] else x
    draws.resize("resize2", CONFIG.resize_prob2, CONFIG.resize_range2)
    scale, mode = draws.drawn["resize2"]
    x = each(resize, x, (int(side / SCALE * scale),) * 2, MODES[mode])
    x = draws.add_noise(x, draws.coin(0.5), CONFIG.noise_range2, CONFIG.poisson_scale_range2)
    draws.drawn["jpeg_last"] = draws.coin(0.5)
    if not draws.drawn["jpeg_last"]:
        x = draws.jpeg("jpeg2", x)
    draws.drawn["resize3"] = draws.mode()
    x = blurred(each(resize, x, (side // SCALE,) * 2, MODES[draws.drawn["resize3"]]), sinc)
    if draws.drawn["jpeg_last"]:
        x = draws.jpeg("jpeg2", x)
    return quantise(x), draws


def recipe_of(draws: Upstream, kernel1: Tensor, kernel2: Tensor, sinc: Tensor, side: int) -> Any:
    count, drawn = len(kernel1), draws.drawn
    recipe = CONFIG.draw(Keys(0, torch.arange(count)), side, side, SCALE)
    flat = recipe.as_dict()
    for name, kernel in (("blur1", kernel1), ("blur2", kernel2), ("sinc", sinc)):
        flat[f"{name}.kernel"] = kernel
        flat[f"{name}.kind"] = torch.zeros(count, dtype=torch.int64)
    if not drawn["blur2"]:
        flat["blur2.kind"] += 7
    for name, base in (("resize1", side), ("resize2", side / SCALE)):
        scale, mode = drawn[name]
        flat[f"{name}.scale"] = torch.full((count,), scale, dtype=torch.float64)
        flat[f"{name}.size"] = torch.full((count, 2), int(base * scale))
        flat[f"{name}.mode"] = torch.full((count,), mode)
    flat["resize3.mode"] = torch.full((count,), drawn["resize3"])
    flat |= {"jpeg1.quality": drawn["jpeg1"], "jpeg2.quality": drawn["jpeg2"]}
    flat["jpeg_last"] = torch.full((count,), drawn["jpeg_last"])
    return recipe.load(flat)


def test_feed_data_is_reproduced(vectors: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    seeds = [s for s in range(4) if f"feed__seed{s}_lq" in vectors]
    assert seeds
    for s in seeds:
        gt, kernel1, kernel2, sinc, lq = (
            vectors[f"feed__seed{s}_{name}"] for name in ("gt_in", "kernel1", "kernel2", "sinc", "lq")
        )
        random.seed(100 + s)
        np.random.seed(100 + s)  # noqa: TID251
        torch.manual_seed(100 + s)
        start = usm_sharpen(gt)
        expected, draws = feed_data(start, kernel1, kernel2, sinc)
        top, left = (random.randint(0, expected.shape[-1] - lq.shape[-1]) for _ in range(2))
        crop = (..., slice(top, top + lq.shape[-1]), slice(left, left + lq.shape[-1]))
        assert (expected[crop] - lq).abs().max() < 1e-5

        recorded = iter(draws.noise)
        monkeypatch.setattr(
            Noise,
            "apply",
            lambda _self, images, *_, recorded=recorded: list((torch.stack(images) + next(recorded)).clamp(0, 1)),
        )
        replayed = CONFIG.apply(start, recipe_of(draws, kernel1, kernel2, sinc, gt.shape[-1]))
        assert (replayed[crop] - lq).abs().max() < 1e-5


def test_poisson_noise_equals_upstream(vectors: dict[str, Tensor]) -> None:
    """Our levels and peaks, with upstream's generator in place of ours."""
    clean = vectors["noise__in"]
    scale = torch.tensor([1.0, 2.5]).view(2, 1, 1, 1)
    for name, gray in (("color", 0.0), ("gray", 1.0)):
        target = vectors.get(f"noise__poisson_{name}_scale1_seed8_cpu")
        if target is not None:
            torch.manual_seed(8)
            noise = Upstream.poisson(clean, scale, torch.full((2, 1, 1, 1), gray))
            assert ((clean + noise).clamp(0, 1) - target).abs().max() < 1e-6, name
