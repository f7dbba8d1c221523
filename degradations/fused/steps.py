"""Steps of a general pipeline by the fused kernels: lists of images in, lists of images out.

A general pipeline gathers the images of each step from the batch, so the host knows their sizes; the recipe lies on the
CPU. What is saved is launches, several for each image, and the waits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from degradations.fused.blur import LARGEST, blur
from degradations.fused.canvas import Canvas
from degradations.fused.jpeg import jpeg
from degradations.fused.noise import add_noise
from degradations.fused.resize import resize
from degradations.keyed_random import Keys
from degradations.operations import pipeline_steps as steps
from degradations.operations.kernels import KernelRecipe
from degradations.operations.noise import NoiseRecipe
from degradations.operations.operation import Operation, OperationContext

Step = Callable[[Canvas, Any, OperationContext], Canvas]


def of(operation: Operation[Any]) -> Step | None:
    """The fused form of an operation with these options; None where there is none."""
    match operation:
        case steps.Blur() if operation.blur_kernel_size <= LARGEST:
            return _blur
        case steps.Resize() | steps.Fit() if not operation.antialias:
            return _resize
        case steps.Noise():
            return _noise
        case steps.Jpeg() if operation.subsampling == "4:2:0":
            return _jpeg
    return None


def run(
    operation: Operation[Any], step: Step, images: Sequence[Tensor], recipe: Any, scene: OperationContext
) -> list[Tensor]:
    """`operation.apply` by its fused form `step`."""
    sizes: list[tuple[int, int]] = [(image.shape[-2], image.shape[-1]) for image in images]
    if isinstance(operation, steps.Resize | steps.Fit):
        sizes = operation.sizes(images, recipe, scene)
        recipe = (sizes, recipe.mode)
    return step(Canvas.of(images), recipe, scene).images(sizes)


def _blur(canvas: Canvas, recipe: KernelRecipe, scene: OperationContext) -> Canvas:
    del scene
    return blur(canvas, recipe.to(canvas.pixels.device))


def _resize(canvas: Canvas, recipe: tuple[list[tuple[int, int]], Tensor], scene: OperationContext) -> Canvas:
    del scene
    sizes, mode = recipe
    device = canvas.pixels.device
    most = max(h for h, _ in sizes), max(w for _, w in sizes)
    targets = torch.tensor(sizes).to(device, non_blocking=True)
    return resize(canvas, targets, mode.to(device, non_blocking=True), most)


def _noise(canvas: Canvas, recipe: NoiseRecipe, scene: OperationContext) -> Canvas:
    device = canvas.pixels.device
    moved = recipe.to(device)
    keys = Keys(scene.keys.seed, scene.keys.positions.to(device, non_blocking=True))
    return add_noise(canvas, moved.kind, moved.strength, moved.gray, keys, scene.purpose)


def _jpeg(canvas: Canvas, recipe: Any, scene: OperationContext) -> Canvas:
    del scene
    return jpeg(canvas, recipe.quality.to(canvas.pixels.device, non_blocking=True))
