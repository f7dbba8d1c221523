"""Real-ESRGAN's two-order degradation for a whole batch in some thirty launches, each image with its own recipe.

The host reads nothing from the device: sizes, orders and families are data there. So a call never waits, may be
captured in a CUDA graph, and runs on whatever stream is current.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from degradations.fused.blur import LARGEST, blur
from degradations.fused.canvas import Canvas
from degradations.fused.crops import crop
from degradations.fused.jpeg import jpeg
from degradations.fused.noise import add_noise
from degradations.fused.recipe import draw
from degradations.fused.resize import resize
from degradations.fused.sharpen import usm_sharpen
from degradations.keyed_random import Keys, Purpose
from degradations.second_order import SecondOrder, SecondOrderRecipe
from degradations.values import UNIT


def unsupported_option(config: SecondOrder) -> str:
    """The first option that these kernels do not support, in words; empty if they support all."""
    if config.jpeg != "libjpeg":
        return f"jpeg: {config.jpeg}"
    if config.antialias:
        return "antialias: true"
    if max(config.blur_kernel_size, config.blur_kernel_size2) > LARGEST:
        return f"blur kernels above {LARGEST} pixels"
    return "" if config.value_range == UNIT else f"value_range: {list(config.value_range)}"


def apply(config: SecondOrder, canvas: Canvas, recipe: SecondOrderRecipe) -> Canvas:
    """`SecondOrder.apply` up to its last rounding.

    Args:
        canvas: images that fill it, of the size that the recipe was drawn for; uint8, or float32 if sharpened.
        recipe: on the device.

    Returns:
        A float32 canvas [B, C, H // scale, W // scale]; levels are not yet rounded unless JPEG came last.
    """
    lq = recipe.lq_size
    keys = recipe.keys
    steps = (1 / recipe.resize1.scale).float() if config.resize == "realesrgan" else None

    out = blur(canvas, recipe.blur1, whole=canvas.pixels.dtype == torch.uint8)
    canvas_size = _largest_size(recipe.height, recipe.width, config.resize_range[1])
    out = resize(out, recipe.resize1.size, recipe.resize1.mode, canvas_size, steps)
    noise = recipe.noise1
    out = add_noise(out, noise.kind, noise.strength, noise.gray, keys, Purpose.NOISE_1_FIELD)
    out = jpeg(out, recipe.jpeg1.quality)

    out = blur(out, recipe.blur2, whole=True)
    canvas_size = _largest_size(*lq, config.resize_range2[1])
    out = resize(out, recipe.resize2.size, recipe.resize2.mode, canvas_size)
    noise = recipe.noise2
    out = add_noise(out, noise.kind, noise.strength, noise.gray, keys, Purpose.NOISE_2_FIELD)

    out = jpeg(out, recipe.jpeg2.quality, ~recipe.jpeg_last)
    out = resize(out, recipe.resize3.size, recipe.resize3.mode, lq)
    out = blur(out, recipe.sinc)
    return jpeg(out, recipe.jpeg2.quality, recipe.jpeg_last)


def _largest_size(height: int, width: int, factor: float) -> tuple[int, int]:
    """The largest result of a random resize."""
    return max(math.floor(height * factor), 1), max(math.floor(width * factor), 1)


@dataclass(frozen=True, kw_only=True, slots=True)
class Pairing:
    """From clean crops to training pairs: sharpen, degrade, cut.

    Args:
        config: the degradation, without an `unsupported_option`.
        seed: of the draws. scale: ground truth pixels for one low-quality pixel. side: of the cut, low-quality pixels.
        sharpen: degrade the sharpened picture. sharpen_gt: the ground truth is sharpened too; it implies the other.
    """

    config: SecondOrder
    seed: int
    scale: int
    side: int
    sharpen: bool = False
    sharpen_gt: bool = False

    def __post_init__(self) -> None:
        if option := unsupported_option(self.config):
            raise ValueError(f"no fused kernel for {option}")

    def __call__(self, pictures: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Pairs of a batch.

        Args:
            pictures: uint8 [B, C, H, W].
            positions: int64 [B], on the same device.

        Returns:
            LQ uint8 [B, C, side, side] and ground truth uint8 [B, C, side * scale, side * scale].
        """
        keys = Keys(self.seed, positions)
        clean = Canvas.full(pictures)
        source = usm_sharpen(clean) if self.sharpen or self.sharpen_gt else clean
        height, width = pictures.shape[-2:]
        recipe, (top, left) = draw(self.config, keys, height, width, self.scale, self.side)
        lq = apply(self.config, source, recipe)
        gt_side = self.side * self.scale
        gt = crop(source if self.sharpen_gt else clean, top, left, (gt_side, gt_side), self.scale)
        return crop(lq, top, left, (self.side, self.side)), gt
