"""JPEG compression: what libjpeg's baseline encoder and decoder make of a picture, byte for byte.

`libjpeg` equals what Pillow writes and reads back with libjpeg-turbo's defaults (slow integer DCT, 4:2:0, "fancy"
chroma upsampling). It has two ways to the same bytes: `jpeg_arithmetic`, for every device; and on a CPU Pillow itself,
some three times as fast, once a few small pictures have shown that its library is such a one.
Upstream's simulation lives in `degradations.operations.diffjpeg`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from degradations.checks import check_range
from degradations.keyed_random import between
from degradations.operations.diffjpeg import diffjpeg
from degradations.operations.jpeg_arithmetic import Subsampling, decoded_levels
from degradations.operations.pillow_files import through_file
from degradations.precision import no_autocast
from degradations.recipes import Recipe

Arithmetic = Literal["libjpeg", "realesrgan"]

_LONGEST_SIDE = 8192  # of a picture given to Pillow, which warns of pictures of 89 megapixels and JPEG ends at 65535
_FEW_PIXELS = 10_000  # measured: up to here, the third of a millisecond that a file costs exceeds what Pillow saves


def libjpeg(
    images: Tensor, quality: Tensor | int, *, subsampling: Subsampling = "4:2:0", straight_through: bool = False
) -> Tensor:
    """Compress and decompress images of one size.

    Args:
        images: float32 [N, C, H, W] in [0, 1], any size; rounded to 8 bits first, as a file would be. Three bands are
            RGB; any other number is coded band by band, as that many gray files.
        quality: 1..100, one for all or int64 [N]. (Values outside are clamped, as libjpeg does.)
        subsampling: of chroma; "4:2:0" is the default of encoders.
        straight_through: pass the gradient as if nothing had been done (Bengio et al. 2013).

    Returns:
        float32 [N, C, H, W], every value k / 255; image `i` is the same whatever its batch.
    """
    quality = torch.as_tensor(quality).to(images.device, non_blocking=True).expand(len(images))
    with torch.no_grad(), no_autocast(images.device):
        levels = (images * 255).round_().clamp_(0, 255)
        way = by_pillow if _suits_pillow(images) else decoded_levels
        coded = way(levels, quality.clamp(1, 100), subsampling).div_(255)
    return images + (coded - images).detach() if straight_through else coded


def by_pillow(levels: Tensor, quality: Tensor, subsampling: Subsampling) -> Tensor:
    """`decoded_levels` through files in memory, one for each picture of three bands, else one for each band."""
    coded = torch.empty_like(levels)
    for image, written, q in zip(coded, levels.to(torch.uint8), quality.tolist(), strict=True):
        if len(written) == 3:
            image.copy_(through_file(written, "jpeg", quality=q, subsampling=subsampling))
        else:
            for band, plane in zip(image, written.split(1), strict=True):
                band.copy_(through_file(plane, "jpeg", quality=q)[0])
    return coded


def _suits_pillow(images: Tensor) -> bool:
    """True where Pillow is the faster way: the arithmetic codes several small pictures at the price of one."""
    height, width = images.shape[-2:]
    if images.device.type != "cpu" or max(height, width) > _LONGEST_SIDE:
        return False
    return (len(images) <= 3 or height * width > _FEW_PIXELS) and pillow_is_exact()


@lru_cache(maxsize=1)
def pillow_is_exact() -> bool:
    """True if Pillow is installed and gives `decoded_levels`' bytes for small pictures of all kinds; tried once.

    Other libraries behind the same interface have other tables or filters (MozJPEG, jpegli, libjpeg from version 7 on).
    """
    for height, width, bands in ((23, 37, 3), (8, 1, 3), (16, 32, 1)):
        rows, columns, band = torch.arange(height)[:, None], torch.arange(width), torch.arange(bands)[:, None, None]
        wave = (rows * columns * (9 - band) + 40 * band).remainder(256)  # from smooth to every frequency
        levels = torch.stack([wave, wave.flip(2), 255 * (wave > 99)]).float()
        quality = torch.tensor([35, 75, 100])
        for subsampling in ("4:2:0", "4:4:4"):
            try:
                written = by_pillow(levels, quality, subsampling)
            except (ImportError, OSError, KeyError):  # no Pillow, or one without libjpeg
                return False
            if not torch.equal(written, decoded_levels(levels, quality, subsampling)):
                return False
    return True


@dataclass(frozen=True, slots=True)
class JpegRecipe(Recipe):
    """Compression of a batch.

    Args:
        quality: [B], int64 for libjpeg, float32 for upstream's simulation.
    """

    quality: Tensor

    def describe(self, i: int) -> str:
        """Sample `i` in words."""
        return f"JPEG {float(self.quality[i]):.0f}"


@dataclass(frozen=True, kw_only=True, slots=True)
class Jpeg:
    """JPEG of random quality (defaults: Real-ESRGAN's range).

    Args:
        jpeg_range: lowest and highest quality, both included.
        arithmetic: "libjpeg" is exact, "realesrgan" is upstream's DiffJPEG (three bands, real quality).
        subsampling: of chroma; "4:4:4" with libjpeg's arithmetic only.
    """

    jpeg_range: tuple[float, float] = (30, 95)
    arithmetic: Arithmetic = "libjpeg"
    subsampling: Subsampling = "4:2:0"

    def __post_init__(self) -> None:
        check_range("jpeg_range", self.jpeg_range, 1, 100 if self.arithmetic == "libjpeg" else 99.9)
        if self.arithmetic == "realesrgan" and self.subsampling != "4:2:0":
            raise ValueError(f"upstream's JPEG halves the chroma: subsampling must be 4:2:0, got {self.subsampling}")

    def draw(self, u: Tensor) -> JpegRecipe:
        """Qualities from uniform numbers, float32 [B, 1] or more columns."""
        low, high = self.jpeg_range
        if self.arithmetic == "realesrgan":
            return JpegRecipe(between(u[:, 0], low, high))
        low, high = round(low), round(high)
        return JpegRecipe((low + u[:, 0] * (high - low + 1)).floor().to(torch.int64).clamp_max(high))

    def apply(self, images: Sequence[Tensor], recipe: JpegRecipe) -> list[Tensor]:
        """Compress image `i`, float32 [C, H, W] in [0, 1], at quality `i`."""
        if self.arithmetic == "realesrgan":
            qualities = recipe.quality.tolist()
            return [diffjpeg(image.clamp(0, 1), q) for image, q in zip(images, qualities, strict=True)]
        coded = list(images)
        for places in _by_shape(images):
            group = libjpeg(
                torch.stack([images[i] for i in places]), recipe.quality[places], subsampling=self.subsampling
            )
            for i, image in zip(places, group.unbind(), strict=True):
                coded[i] = image
        return coded


def _by_shape(images: Sequence[Tensor]) -> Iterable[list[int]]:
    """Indices of images, grouped by size. Only exact arithmetic may be batched: no result depends on the batch then."""
    groups: dict[torch.Size, list[int]] = {}
    for i, image in enumerate(images):
        groups.setdefault(image.shape, []).append(i)
    return groups.values()
