"""A batch of images of different sizes in one tensor, and the addressing of its pixels.

Sizes lie in a small tensor on the device: no kernel's shape, and nothing that the host does, depends on them. A grid
covers the whole canvas; programs that lie outside their own image end at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

# options of every launch: product and sum are rounded separately, as in the reference; Triton fuses them by default
PLAIN = {"enable_fp_fusion": False}


@dataclass(frozen=True, slots=True)
class Canvas:
    """Images in 8-bit levels: black is 0, white is 255.

    Args:
        pixels: float32 or uint8 [B, C, H, W], contiguous; image `i` lies in the upper left corner. What lies outside it
            is never read.
        sizes: int64 [B, 2], height and width of each image, at most [H, W], on the device of the pixels.
    """

    pixels: Tensor
    sizes: Tensor

    @classmethod
    def full(cls, pixels: Tensor) -> Canvas:
        """Images [B, C, H, W] that all fill the canvas."""
        batch, _, height, width = pixels.shape
        # two fills and no copy from the host: it would wait, and could not be part of a graph
        sizes = torch.empty(batch, 2, dtype=torch.int64, device=pixels.device)
        sizes[:, 0].fill_(height)
        sizes[:, 1].fill_(width)
        return cls(pixels.contiguous(), sizes)

    @classmethod
    def from_images(cls, images: Sequence[Tensor]) -> Canvas:
        """Images float32 [C, H, W] in [0, 1], of any sizes; their sizes are known to the host."""
        height, width = (max(image.shape[axis] for image in images) for axis in (-2, -1))
        pixels = torch.zeros(len(images), images[0].shape[0], height, width, device=images[0].device)
        for place, image in zip(pixels, images, strict=True):
            torch.mul(image, 255, out=place[:, : image.shape[-2], : image.shape[-1]])
        sizes = torch.tensor([image.shape[-2:] for image in images])
        return cls(pixels, sizes.to(pixels.device, non_blocking=True))

    def images(self, sizes: Sequence[Sequence[int]]) -> list[Tensor]:
        """Images float32 [C, H, W] in [0, 1]; the host gives their sizes, as the canvas has them on the device."""
        return [image[:, :h, :w].float() / 255 for image, (h, w) in zip(self.pixels, sizes, strict=True)]

    def like(self, height: int, width: int, sizes: Tensor) -> Canvas:
        """An uninitialised float32 canvas for the same number of images."""
        batch, bands = self.pixels.shape[:2]
        return Canvas(torch.empty(batch, bands, height, width, device=self.pixels.device), sizes)


def tiles(canvas: Canvas, rows: int, columns: int, depth: int) -> tuple[int, int, int]:
    """The grid that covers a canvas with tiles, `depth` times."""
    height, width = canvas.pixels.shape[-2:]
    return triton.cdiv(width, columns), triton.cdiv(height, rows), depth


@triton.jit
def image_size(sizes, image):
    """Height and width of one image, int32."""
    return tl.load(sizes + 2 * image).to(tl.int32), tl.load(sizes + 2 * image + 1).to(tl.int32)


@triton.jit
def mirrored(place, length, MARGIN: tl.constexpr):
    """Source pixel of `place` >= -MARGIN on an axis mirrored about its end pixels, repeatedly if it is short."""
    period = tl.maximum(2 * (length - 1), 1)
    place = (place + MARGIN * period) % period
    return tl.minimum(tl.minimum(place, period - place), length - 1)


@triton.jit
def rounded(levels):
    """The nearest whole number, halves to even, of float32 below 2^22: there the sum has no room for fractions."""
    return (levels + 12582912.0) - 12582912.0


@triton.jit
def clamped(levels):
    """Levels cut to 0..255."""
    return tl.minimum(tl.maximum(levels, 0.0), 255.0)
