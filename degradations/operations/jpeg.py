"""JPEG compression: libjpeg's baseline encoder and decoder, byte for byte, without an entropy coder.

`libjpeg` equals what Pillow writes and reads back with libjpeg-turbo's defaults (slow integer DCT, 4:2:0, "fancy"
chroma upsampling). The integer arithmetic is carried in floating point: every intermediate value is a whole number
that the format holds exactly (below 2^24 in float32, below 2^53 in float64), so matrix products may be used and the
result depends neither on the order of summation nor on the device or the batch.

The sources are libjpeg-turbo's jccolor.c, jcsample.c, jfdctint.c, jcdctmgr.c, jcparam.c, jidctint.c, jdsample.c and
jdcolor.c. Upstream's simulation lives in `degradations.operations.diffjpeg`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor

from degradations.checks import check_range
from degradations.constants import resident
from degradations.keyed_random import between
from degradations.operations.diffjpeg import diffjpeg
from degradations.operations.jpeg_tables import CHROMA_QUANTISATION, ISLOW_DCT, LUMA_QUANTISATION
from degradations.precision import no_autocast, unrounded
from degradations.recipes import Recipe

Arithmetic = Literal["libjpeg", "realesrgan"]
Subsampling = Literal["4:2:0", "4:4:4"]

# 16-bit fixed point of jccolor.c and jdcolor.c, divided by 2^16 at once (exact); planes are centred on 0, not on 128,
# which saves the shifts back and forth and changes no rounding
_TO_YCC = ((19595.0, 38470.0, 7471.0), (-11059.0, -21709.0, 32768.0), (32768.0, -27439.0, -5329.0))
_TO_YCC_OFFSET = ((32768.0 - 128 * 65536,), (32767.0,), (32767.0,))
_TO_RGB = ((0.0, 91881.0), (-22554.0, -46802.0), (116130.0, 0.0))  # columns: Cb, Cr


@lru_cache(maxsize=32)
def _constant(name: str, dtype: torch.dtype, device: torch.device) -> Tensor:
    """Matrices with libjpeg's final shifts folded in: powers of two, so nothing is rounded."""
    rows, bits = {
        "to_ycc": (_TO_YCC, 16),
        "to_ycc_offset": (_TO_YCC_OFFSET, 16),
        "to_rgb": (_TO_RGB, 16),
        "dct_rows": (ISLOW_DCT, 11),
        "dct_columns": (ISLOW_DCT, 15),
        "idct_columns": (tuple(zip(*ISLOW_DCT, strict=True)), 11 + 3),  # 3: coefficients are 8 times the real ones
        "idct_rows": (tuple(zip(*ISLOW_DCT, strict=True)), 18),
    }[name]
    return resident((torch.tensor(rows, dtype=torch.float64) * 0.5**bits).to(dtype), device)


@lru_cache(maxsize=4)
def quality_tables(device: torch.device) -> Tensor:
    """Quantisation tables of all qualities (jcparam.c, baseline): float32 [101, 2, 8, 8], luma and chroma."""
    quality = torch.arange(101)
    percent = torch.where(quality < 50, 5000 // quality.clamp_min(1), 200 - 2 * quality)
    base = torch.tensor([LUMA_QUANTISATION, CHROMA_QUANTISATION])
    steps = (base * percent[:, None, None, None] + 50) // 100
    return resident(steps.clamp(1, 255).float(), device)


def _descale(values: Tensor) -> Tensor:
    """floor(v + 1/2) in place: libjpeg's rounding, v being already divided."""
    return values.add_(0.5).floor_()


def _code_planes(planes: Tensor, tables: Tensor) -> Tensor:
    """Transform, quantise and restore planes of whole levels, centred on 0.

    Each pass is one product of an 8 x 8 matrix with a wide one whose rows are the axis that is contracted. Axes: n
    image, p plane, y and x place of a block, i and j sample down and along it, u and v frequency down and along it.

    Args:
        planes: float32 [N, P, H, W] in -128..127, sides multiples of 8.
        tables: float32 [N, 8, 8], steps for the planes of each image.
    """
    count, number, height, _ = planes.shape
    axes = {"n": count, "p": number, "y": height // 8}
    samples = unrounded(rearrange(planes, "n p (y i) (x j) -> j (n p y i x)", i=8, j=8))
    narrow, wide = ((dtype, planes.device) for dtype in (samples.dtype, torch.float64))
    # sums of the first pass stay below 2^23; those of the second reach 2^28, of the inverse 2^33: they need float64
    rows = _descale(_constant("dct_rows", *narrow) @ samples)
    columns = rearrange(rows.to(torch.float64), "v (n p y i x) -> i (v n p y x)", i=8, **axes)
    frequencies = _descale(_constant("dct_columns", *wide) @ columns).float()

    steps = rearrange(8 * tables, "n u v -> u v n 1")
    coefficients = rearrange(frequencies, "u (v n block) -> u v n block", v=8, n=count)
    restored = _quantised(coefficients, steps).flatten(1).double()

    columns = _descale(_constant("idct_columns", *wide) @ restored)
    rows = rearrange(columns, "i (v block) -> v (i block)", v=8)
    samples = _descale(_constant("idct_rows", *wide) @ rows).float().clamp_(-128, 127)
    return rearrange(samples, "j (i n p y x) -> n p (y i) (x j)", i=8, **axes)


def _quantised(coefficients: Tensor, steps: Tensor) -> Tensor:
    """The nearest multiples of the steps, halves away from zero (jcdctmgr.c); both come multiplied by 8.

    In float32 a quotient that is no tie is further from one than its own rounding.
    """
    sizes = coefficients.abs().div_(steps).add_(0.5).floor_()
    return sizes.mul_(steps).copysign_(coefficients)


def _pad_to(planes: Tensor, height: int, width: int) -> Tensor:
    """Repeat the last row and column of [N, P, h, w]."""
    extra = (0, width - planes.shape[-1], 0, height - planes.shape[-2])
    return F.pad(planes, extra, mode="replicate") if any(extra) else planes


def _round_up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _halve(planes: Tensor, height: int, width: int) -> Tensor:
    """Chroma 2 x 2 means with jcsample.c's bias of 1, 2, 1, 2, ... quarters, padded to [N, P, height, width].

    libjpeg fills the right margin with pixels before the mean, and the bottom margin with rows after it.
    """
    planes = _pad_to(planes, _round_up(planes.shape[-2], 2), 2 * width)
    rows = planes[..., 0::2, :] + planes[..., 1::2, :]
    sums = rows[..., 0::2] + rows[..., 1::2]
    sums[..., 0::2] += 1
    sums[..., 1::2] += 2
    return _pad_to(sums.mul_(0.25).floor_(), height, width)


def _double(planes: Tensor) -> Tensor:
    """Chroma [N, P, h, w] -> [N, P, 2h, 2w]: jdsample.c's triangle filter ("fancy upsampling"), or copies if w <= 2."""
    if planes.shape[-1] <= 2:
        return repeat(planes, "n p h w -> n p (h 2) (w 2)")
    # sixteenths of whole numbers: bilinear interpolation is exact in float32
    doubled = F.interpolate(planes, scale_factor=2, mode="bilinear")
    doubled[..., 0::2] += 8 / 16  # the rounding alternates as in jdsample.c
    doubled[..., 1::2] += 7 / 16
    return doubled.floor_()


def _code_gray(levels: Tensor, tables: Tensor) -> Tensor:
    """Single-channel JPEG of each plane: [N, P, H, W], whole levels 0..255 in float32."""
    height, width = levels.shape[-2:]
    padded = _pad_to(levels - 128, _round_up(height, 8), _round_up(width, 8))
    return _code_planes(padded, tables[:, 0])[..., :height, :width] + 128


def _code_colour(levels: Tensor, tables: Tensor, subsampling: Subsampling) -> Tensor:
    """YCbCr JPEG of RGB images: [N, 3, H, W], whole levels 0..255 in float32."""
    height, width = levels.shape[-2:]
    rgb = unrounded(levels.flatten(2))
    to_ycc, offset, to_rgb = (
        _constant(name, rgb.dtype, levels.device) for name in ("to_ycc", "to_ycc_offset", "to_rgb")
    )
    halved = subsampling == "4:2:0"
    unit = 16 if halved else 8
    full = (_round_up(height, unit), _round_up(width, unit))

    ycc = torch.matmul(to_ycc, rgb).add_(offset).floor_().float().view(levels.shape)
    y = _code_planes(_pad_to(ycc[:, :1], *full), tables[:, 0])
    if halved:
        colour = _code_planes(_halve(ycc[:, 1:], full[0] // 2, full[1] // 2), tables[:, 1])
        # the upsampling filter sees the real chroma size, not the padded one
        colour = _double(colour[..., : _round_up(height, 2) // 2, : _round_up(width, 2) // 2])
    else:
        colour = _code_planes(_pad_to(ycc[:, 1:], *full), tables[:, 1])
    colour = unrounded(colour[..., :height, :width].flatten(2))
    tint = _descale(torch.matmul(to_rgb, colour)).float().view(levels.shape)
    return tint.add_(y[..., :height, :width]).add_(128).clamp_(0, 255)


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
        tables = quality_tables(images.device)[quality.clamp(1, 100)]
        levels = (images * 255).round_().clamp_(0, 255)
        if images.shape[1] == 3:
            coded = _code_colour(levels, tables, subsampling).div_(255)
        else:
            coded = _code_gray(levels, tables).div_(255)
    return images + (coded - images).detach() if straight_through else coded


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
