"""Paired random crops, keyed like every other draw."""

from __future__ import annotations

import torch
from torch import Tensor

from degradations.constants import int64_constant
from degradations.keyed_random import Keys, Purpose, uniforms


def draw_crops(keys: Keys, lq_height: int, lq_width: int, lq_size: int) -> tuple[Tensor, Tensor]:
    """Top left corners of crops, one for each sample, all places equally likely.

    Args:
        keys: the samples.
        lq_height, lq_width: size of the low-quality image, pixels.
        lq_size: side of the crop, low-quality pixels.

    Returns:
        (top, left), int64 [B], low-quality pixels.

    Raises:
        ValueError: if the crop does not fit.
    """
    if not 0 < lq_size <= min(lq_height, lq_width):
        raise ValueError(f"lq_size must be in 1..{min(lq_height, lq_width)} for {lq_height}x{lq_width}, got {lq_size}")
    room = int64_constant((lq_height - lq_size + 1, lq_width - lq_size + 1), keys.positions.device)
    top, left = (uniforms(keys, Purpose.CROP, 2).double() * room).floor().to(torch.int64).unbind(1)
    return top, left


def paired_crop(lq: Tensor, gt: Tensor, top: Tensor, left: Tensor, lq_size: int, scale: int) -> tuple[Tensor, Tensor]:
    """Cut the same place out of both images of each pair.

    Args:
        lq: [B, C, h, w]. gt: [B, C, h * scale, w * scale].
        top, left: int64 [B], from `draw_crops`; best on the CPU, since the host reads them.
        lq_size: side of the crop, low-quality pixels.
        scale: GT pixels for one LQ pixel.

    Returns:
        ([B, C, lq_size, lq_size], [B, C, lq_size * scale, lq_size * scale]).

    Raises:
        ValueError: if the sizes of `lq` and `gt` do not correspond.
    """
    if gt.shape[-2] != lq.shape[-2] * scale or gt.shape[-1] != lq.shape[-1] * scale:
        raise ValueError(f"gt must be {scale} times as large as lq {tuple(lq.shape[-2:])}, got {tuple(gt.shape[-2:])}")
    places = list(zip(top.tolist(), left.tolist(), strict=True))
    return _cut(lq, places, lq_size), _cut(gt, [(y * scale, x * scale) for y, x in places], lq_size * scale)


def _cut(images: Tensor, places: list[tuple[int, int]], size: int) -> Tensor:
    return torch.stack([image[:, y : y + size, x : x + size] for image, (y, x) in zip(images, places, strict=True)])
