"""Blur with one kernel for each image, reflected at the borders, as BasicSR's `filter2D`.

The product is a cross-correlation, computed through the real FFT of each image: on a CPU that beats direct
summation from kernels of about 15 x 15 on, and costs the same for every size.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from degradations.operations.kernels import PULSE, KernelRecipe


def reflected(length: int, before: int, after: int, device: torch.device) -> Tensor:
    """Indices that continue an axis by mirroring about its end pixels (``dcb|abcd|cba``), repeatedly if it is short."""
    period = max(2 * (length - 1), 1)
    place = torch.arange(-before, length + after, device=device).remainder(period)
    return torch.minimum(place, period - place).clamp_max(length - 1)


def reflect_pad(image: Tensor, pad: int) -> Tensor:
    """[C, H, W] -> [C, H + 2 pad, W + 2 pad], mirrored about the border pixels (``dcb|abcd|cba``).

    Images narrower than the margin are mirrored repeatedly; `torch.nn.functional.pad` raises for them.
    """
    height, width = image.shape[-2:]
    if pad < min(height, width):
        return F.pad(image[None], (pad,) * 4, mode="reflect")[0]
    rows, columns = (reflected(length, pad, pad, image.device) for length in (height, width))
    return image.index_select(-2, rows).index_select(-1, columns)


def fast_length(length: int) -> int:
    """The smallest even number >= `length` with no prime factors but 2, 3 and 5: a size for which FFTs are fast."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1 and length % 2 == 0:
            return length
        length += 1


def filter2d(image: Tensor, kernel: Tensor) -> Tensor:
    """Cross-correlate all channels of an image with one kernel.

    Args:
        image: float32 [C, H, W].
        kernel: float32 [K, K], K odd.

    Returns:
        float32 [C, H, W].
    """
    height, width = image.shape[-2:]
    reach = kernel.shape[-1] // 2
    size = (fast_length(height + 2 * reach), fast_length(width + 2 * reach))
    spectrum = torch.fft.rfft2(reflect_pad(image, reach), s=size)
    # one axis at a time: rows of zeros below the kernel need no transform
    response = torch.fft.fft(torch.fft.rfft(kernel, n=size[1]), n=size[0], dim=-2)
    # a correlation conjugates the response; its origin is the corner, so rows and columns 0 .. H-1 are valid
    spectrum *= response.conj()
    blurred: Tensor = torch.fft.irfft2(spectrum, s=size)
    return blurred[..., :height, :width]


def blur(images: Sequence[Tensor], recipe: KernelRecipe) -> list[Tensor]:
    """Blur image `i`, float32 [C, H, W], with kernel `i`. A pulse returns the image itself."""
    kinds = recipe.kind.tolist()
    return [
        image if kind == PULSE else filter2d(image, kernel.to(image.device, non_blocking=True))
        for image, kind, kernel in zip(images, kinds, recipe.kernel, strict=True)
    ]
