"""Agreement of the fused kernels with the reference: the tables of `degradations/fused/README.md`.

    TRITON_INTERPRET=1 python benchmarks/fused_agreement.py [--recipes 162]      # on a CPU: minutes, small images
    python benchmarks/fused_agreement.py --recipes 900                           # on a GPU

Each operation alone on images of many sizes, on one canvas; then the whole for random recipes and sizes. Recipes whose
results are not identical are followed stage by stage.
Differences are in 8-bit levels.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain, product

import numpy as np
import torch
import triton
from degradation_sides import pictures
from degradation_stages import fused_stages, reference_stages
from torch import Tensor

from degradations import Keys, SecondOrder, draw_crops, uniforms, usm_sharpen
from degradations.fused import second_order as fused
from degradations.fused import sharpen as fused_sharpen
from degradations.fused import steps as fused_steps
from degradations.fused.canvas import Canvas
from degradations.fused.crops import crop
from degradations.operations import pipeline_steps as steps
from degradations.operations.operation import OperationContext
from degradations.operations.resize import MODES
from degradations.second_order import SecondOrderRecipe

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
SMALL, LARGE = (24, 400) if DEVICE.type == "cuda" else (24, 64)  # sides of images of the whole
BANDS, SCALES, COUNT, CROP = (1, 3, 4), (1, 2, 4), 6, 3  # images of a batch; side of a cut, low-quality pixels
LEAST = 0.01  # levels: sums in another order differ by less, one different rounding by more
CONFIGS = (SecondOrder(), SecondOrder(resize="realesrgan"))


def some(bands: int, count: int, side: int) -> Tensor:
    """Photograph-like images, k / 255, [count, bands, side, side]."""
    return pictures(count, side)[:, [0, 1, 2, 0][:bands]]


def apart(got: list[Tensor], wanted: list[Tensor]) -> list[Tensor]:
    return [(255 * (a.cpu() - b)).abs() for a, b in zip(got, wanted, strict=True)]


def alone() -> None:
    """Print a row for each operation."""
    noise, resize = steps.NoiseStep, steps.ResizeStep(resize_range=(0.15, 1.5))
    cases: list[tuple[str, steps.Operation, dict[str, int]]] = [
        ("blur", steps.BlurStep(sinc_prob=0.5), {}),
        *((f"resize, {mode}", resize, {"mode": i}) for i, mode in enumerate(MODES)),
        ("noise, Gaussian", noise(gaussian_noise_prob=1.0), {}),
        ("noise, Poisson", noise(gaussian_noise_prob=0.0), {}),
        ("JPEG, qualities 1 to 100", steps.JpegStep(jpeg_range=(1, 100)), {}),
    ]
    count, most = 12, LARGE
    print(f"\n| operation, 1, 3 and 4 bands | largest difference | values {LEAST} or more apart |\n|---|--:|--:|")
    found: dict[str, list[Tensor]] = {name: [] for name in (*(case[0] for case in cases), "USM")}
    for bands in BANDS:
        keys = Keys(bands, torch.arange(count))
        sides = (1 + uniforms(keys, 0, 2) * most).long().tolist()
        whole = [image[:, :h, :w] for image, (h, w) in zip(some(bands, count, most), sides, strict=True)]
        images = [0.987 * image for image in whole]  # means of four whole levels are ties too often
        for name, operation, fixed in cases:
            recipe = operation.draw(uniforms(keys, 16, 12))
            recipe = replace(recipe, **{key: torch.full_like(recipe.mode, value) for key, value in fixed.items()})
            context, step = OperationContext(keys, 17, (1, 1)), fused_steps.fused_form(operation)
            got = fused_steps.run(operation, step, [image.to(DEVICE) for image in images], recipe, context)
            found[name] += apart(got, operation.apply(images, recipe, context))
        canvas = Canvas.from_images(whole)
        sharp = fused_sharpen.usm_sharpen(Canvas(canvas.pixels.round().byte().to(DEVICE), canvas.sizes.to(DEVICE)))
        found["USM"] += apart(sharp.images(sides), [usm_sharpen(image[None])[0] for image in whole])
    for name, differences in found.items():
        together = torch.cat([difference.flatten() for difference in differences])
        beyond = int((together >= LEAST).sum())
        print(f"| {name} | {float(together.max()):.1e} | {beyond} of {len(together)} |", flush=True)


@dataclass(frozen=True)
class Batch:
    """Images of one size, and their degradation."""

    config: SecondOrder
    clean: Tensor
    keys: Keys
    scale: int
    sharpen: bool

    def drawn(self) -> tuple[SecondOrderRecipe, tuple[Tensor, Tensor]]:
        """Draw the recipe and the corners of crops, on the device."""
        there = Keys(self.keys.seed, self.keys.positions.to(DEVICE))
        return fused.draw(self.config, there, *self.clean.shape[-2:], self.scale, CROP)

    def expected(self) -> tuple[SecondOrderRecipe, tuple[Tensor, Tensor]]:
        """The reference's result."""
        height, width = self.clean.shape[-2:]
        corners = draw_crops(self.keys, height // self.scale, width // self.scale, CROP)
        return self.config.draw(self.keys, height, width, self.scale), corners

    def sources(self) -> tuple[Canvas, Tensor]:
        """Inputs of the degradation, for the kernels and for the reference."""
        canvas = Canvas.full((255 * self.clean).round().byte().to(DEVICE))
        if self.sharpen:
            return fused_sharpen.usm_sharpen(canvas), usm_sharpen(self.clean)
        return canvas, self.clean

    def one(self, i: int) -> Batch:
        """A batch of image `i` alone: no image's recipe depends on others."""
        chosen = slice(i, i + 1)
        return replace(self, clean=self.clean[chosen], keys=Keys(self.keys.seed, self.keys.positions[chosen]))


def recipes_apart(batch: Batch) -> tuple[int, float]:
    """Number of differing entries in the recipe and in the crops' corners, and the largest difference of the kernels'
    taps."""
    both = []
    for recipe, corners in (batch.drawn(), batch.expected()):
        parts = recipe.to("cpu").as_dict() | {"top": corners[0].cpu(), "left": corners[1].cpu()}
        both.append({name: value for name, value in parts.items() if isinstance(value, Tensor)})
    got, wanted = both
    taps = max(float((got[name] - wanted[name]).abs().max()) for name in wanted if name.endswith("kernel"))
    return sum(int((got[name] != wanted[name]).sum()) for name in wanted if not name.endswith("kernel")), taps


def levels_apart(batch: Batch) -> Tensor:
    """Differences of the results, whole levels [B, C, h, w]."""
    canvas, images = batch.sources()
    made = fused.apply(batch.config, canvas, batch.drawn()[0])
    wanted = batch.config.apply(images, batch.expected()[0])
    corner = torch.zeros(len(images), dtype=torch.int64, device=DEVICE)
    return (crop(made, corner, corner, wanted.shape[-2:]).cpu() - 255 * wanted).abs().round()


def first_difference(batch: Batch) -> tuple[str, float]:
    """The first stage after which one image is `LEAST` levels apart, and the difference."""
    canvas, images = batch.sources()
    recipe, wanted = batch.drawn()[0], batch.expected()[0]
    ours, theirs = fused_stages(batch.config, recipe), reference_stages(batch.config, wanted)
    x = list(images)
    difference = apart(canvas.images([x[0].shape[1:]]), x)[0].max()
    name = "USM"
    for (following, stage), (_, reference) in zip(ours, theirs, strict=True):
        if difference >= LEAST:
            break
        name, canvas, x = following, stage(canvas), reference(x)
        difference = apart(canvas.images([x[0].shape[1:]]), x)[0].max()
    return name if difference >= LEAST else "the last rounding", float(difference)


def row(name: str, found: list[Tensor]) -> None:
    levels = torch.cat([image.flatten() for image in found])
    equal = sum(not image.any() for image in found)
    at_all, more = (100 * float((levels > least).float().mean()) for least in (0, 1))
    print(f"| {name} | {len(found)} | {equal} | {at_all:.2f} % | {more:.2f} % | {int(levels.max())} |", flush=True)


def whole(recipes: int) -> None:
    """Print the table of the pipeline, and the stages at which differing recipes begin to differ."""
    groups, found = list(product(BANDS, SCALES)), {bands: [] for bands in BANDS}
    wrong, taps, firsts = 0, 0.0, []
    for number in range(-(-recipes // COUNT)):
        (bands, scale), config = groups[number % len(groups)], CONFIGS[number // len(groups) % len(CONFIGS)]
        keys = Keys(1000 + number, torch.arange(COUNT) * 3_000_000_007)
        u = uniforms(Keys(keys.seed, torch.zeros(1, dtype=torch.int64)), 0, 2)[0]
        height, width = ((SMALL + u * (LARGE - SMALL)) // scale * scale).long().tolist()
        clean = some(bands, COUNT, LARGE)[..., :height, :width]
        batch = Batch(config, clean, keys, scale, sharpen=number % 2 == 1)
        unequal, by = recipes_apart(batch)
        wrong, taps = wrong + unequal, max(taps, by)
        for i, levels in enumerate(levels_apart(batch)):
            found[bands].append(levels)
            if levels.any():
                firsts.append((*first_difference(batch.one(i)), int((levels > 0).sum()), levels.numel()))
    print(f"\nrecipe and corners: {wrong} numbers differ; taps of kernels by {taps:.1e} at most")
    print(f"\n| whole, {SMALL} to {LARGE} pixels, ×1, ×2, ×4 | recipes | identical | values that differ | ", end="")
    print("by more than a level | by at most |\n|---|--:|--:|--:|--:|--:|")
    for bands, levels in found.items():
        if levels:
            row(f"{bands} bands" if bands > 1 else "1 band", levels)
    row("together", list(chain(*found.values())))
    print("\nwhat differed first, in recipes that are not identical:", dict(Counter(first[0] for first in firsts)))
    for stage, by, differ, total in firsts:
        print(f"  {stage}, by {by:.2g} levels; in the end {differ} of {total} values")


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description="The fused kernels against the reference.")
    parser.add_argument("--recipes", type=int, default=162, help="of the whole pipeline; a multiple of 6")
    options = parser.parse_args()
    torch.set_num_threads(1)
    where = torch.cuda.get_device_name() if DEVICE.type == "cuda" else "Triton's interpreter"
    print(f"{where}, Triton {triton.__version__}, torch {torch.__version__}, NumPy {np.__version__}")
    if DEVICE.type == "cpu":  # the interpreter's overflow checks of integer sums triple the time
        from triton.runtime import interpreter

        builder = interpreter.interpreter_builder
        builder.options = replace(builder.options, sanitize_overflow=False)
    begun = time.perf_counter()
    with torch.no_grad():
        alone()
        whole(options.recipes)
    print(f"\n{time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main()
