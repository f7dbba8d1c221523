"""Fused kernels for the steps of a pipeline: lists of images in, lists of images out.

A general pipeline gathers the images of each step from the batch, so the host knows their sizes; the recipe lies on the
CPU. This saves several launches for each image, and the waits.
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

FusedStep = Callable[[Canvas, Any, OperationContext], Canvas]


def fused_form(operation: Operation[Any]) -> FusedStep | None:
    """The fused form of an operation with these options; None if there is none."""
    match operation:
        case steps.BlurStep() if operation.blur_kernel_size <= LARGEST:
            return _blur
        case steps.ResizeStep() | steps.FitStep() if not operation.antialias:
            return _resize
        case steps.NoiseStep():
            return _noise
        case steps.JpegStep() if operation.subsampling == "4:2:0":
            return _jpeg
    return None


def run(
    operation: Operation[Any], step: FusedStep, images: Sequence[Tensor], recipe: Any, context: OperationContext
) -> list[Tensor]:
    """`operation.apply` by its fused form `step`."""
    sizes: list[tuple[int, int]] = [(image.shape[-2], image.shape[-1]) for image in images]
    if isinstance(operation, steps.ResizeStep | steps.FitStep):
        sizes = operation.sizes(images, recipe, context)
        recipe = (sizes, recipe.mode)
    return step(Canvas.from_images(images), recipe, context).images(sizes)


def _blur(canvas: Canvas, recipe: KernelRecipe, context: OperationContext) -> Canvas:
    del context
    return blur(canvas, recipe.to(canvas.pixels.device))


def _resize(canvas: Canvas, recipe: tuple[list[tuple[int, int]], Tensor], context: OperationContext) -> Canvas:
    del context
    sizes, mode = recipe
    device = canvas.pixels.device
    canvas_size = max(h for h, _ in sizes), max(w for _, w in sizes)
    targets = torch.tensor(sizes).to(device, non_blocking=True)
    return resize(canvas, targets, mode.to(device, non_blocking=True), canvas_size)


def _noise(canvas: Canvas, recipe: NoiseRecipe, context: OperationContext) -> Canvas:
    device = canvas.pixels.device
    moved = recipe.to(device)
    keys = Keys(context.keys.seed, context.keys.positions.to(device, non_blocking=True))
    return add_noise(canvas, moved.kind, moved.strength, moved.gray, keys, context.purpose)


def _jpeg(canvas: Canvas, recipe: Any, context: OperationContext) -> Canvas:
    del context
    return jpeg(canvas, recipe.quality.to(canvas.pixels.device, non_blocking=True))
