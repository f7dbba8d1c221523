"""JPEG compression: libjpeg's baseline encoder and decoder, byte for byte, without an entropy coder.

`libjpeg` equals what Pillow writes and reads back with libjpeg-turbo's defaults (slow integer DCT, 4:2:0, "fancy"
chroma upsampling). The integer arithmetic is carried in floating point: every intermediate value is a whole number
that the format holds exactly (below 2^24 in float32, below 2^53 in float64), so matrix products may be used and the
result depends neither on the order of summation nor on the device or the batch.

The sources are libjpeg-turbo's jccolor.c, jcsample.c, jfdctint.c, jcdctmgr.c, jcparam.c, jidctint.c, jdsample.c and
jdcolor.c. Upstream's simulation lives in `degradations.diffjpeg`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from degradations.checks import check_range
from degradations.diffjpeg import diffjpeg
from degradations.draws import between
from degradations.recipes import Drawn
from degradations.tables import CHROMA, ISLOW_DCT, LUMA

Arithmetic = Literal["libjpeg", "realesrgan"]
Subsampling = Literal["4:2:0", "4:4:4"]

# 16-bit fixed point, jccolor.c and jdcolor.c; sums stay below 2^24
_TO_YCC = ((19595.0, 38470.0, 7471.0), (-11059.0, -21709.0, 32768.0), (32768.0, -27439.0, -5329.0))
_TO_YCC_OFFSET = ((32768.0,), (128 * 65536.0 + 32767,), (128 * 65536.0 + 32767,))
_TO_RGB = ((0.0, 91881.0), (-22554.0, -46802.0), (116130.0, 0.0))  # columns: Cb, Cr


@lru_cache(maxsize=32)
def _constant(rows: tuple[tuple[float, ...], ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    return torch.tensor(rows, dtype=dtype).to(device, non_blocking=True)


def quality_table(base: tuple[tuple[int, ...], ...], quality: int) -> tuple[tuple[float, ...], ...]:
    """Quantisation table at a quality of 1..100 (jcparam.c, baseline: steps within 1..255)."""
    percent = 5000 // quality if quality < 50 else 200 - 2 * quality
    return tuple(tuple(float(min(max((step * percent + 50) // 100, 1), 255)) for step in row) for row in base)


def _shift(values: Tensor, bits: int) -> Tensor:
    """floor(v / 2^bits + 1/2) in place: libjpeg's DESCALE."""
    return values.mul_(0.5**bits).add_(0.5).floor_()


def _rows(planes: Tensor, matrix: Tensor) -> Tensor:
    """Multiply each group of 8 neighbours along a row by a matrix: out = matrix @ samples."""
    return (planes.reshape(-1, 8) @ matrix.T).view(planes.shape)


def _columns(planes: Tensor, matrix: Tensor) -> Tensor:
    """Multiply each group of 8 neighbours down a column by a matrix: out = matrix @ samples."""
    count, height, width = planes.shape
    return torch.matmul(matrix, planes.view(count, height // 8, 8, width)).view(planes.shape)


def _code_planes(planes: Tensor, table: Tensor) -> Tensor:
    """Transform, quantise and restore planes of whole levels: float32 [P, H, W], sides multiples of 8."""
    count, height, width = planes.shape
    device = planes.device
    dct32, dct = (_constant(ISLOW_DCT, dtype, device) for dtype in (torch.float32, torch.float64))
    # the first pass stays below 2^23; the second reaches 2^28, the inverse 2^33: those need float64
    samples = _shift(_rows(planes - 128, dct32), 11).double()
    frequencies = _shift(_columns(samples, dct), 15).float()

    # jcdctmgr.c divides 8 times the coefficients by 8 times the steps, rounding halves away from zero
    steps = table.repeat(1, width // 8)
    grid = frequencies.view(count, height // 8, 8, width)
    size = grid.abs().add_(4 * steps).div_(8 * steps).floor_()
    restored = size.mul_(steps).copysign_(grid).view(planes.shape).double()

    samples = _shift(_columns(restored, dct.T), 11)
    return _shift(_rows(samples, dct.T), 18).float().add_(128).clamp_(0, 255)


def _pad_to(planes: Tensor, height: int, width: int) -> Tensor:
    """Repeat the last row and column of [P, h, w]."""
    extra = (0, width - planes.shape[-1], 0, height - planes.shape[-2])
    return F.pad(planes[None], extra, mode="replicate")[0] if any(extra) else planes


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple


def _halve(planes: Tensor, height: int, width: int) -> Tensor:
    """Chroma 2 x 2 means with jcsample.c's alternating bias, padded to [P, height, width].

    libjpeg fills the right margin with pixels before the mean, and the bottom margin with rows after it.
    """
    planes = _pad_to(planes, _up(planes.shape[-2], 2), 2 * width)
    rows = planes[:, 0::2] + planes[:, 1::2]
    bias = torch.tensor([1.0, 2.0], device=planes.device).repeat(width // 2)
    means = (rows[..., 0::2] + rows[..., 1::2]).add_(bias).mul_(0.25).floor_()
    return _pad_to(means, height, width)


def _double(planes: Tensor) -> Tensor:
    """Chroma [P, h, w] -> [P, 2h, 2w]: jdsample.c's triangle filter ("fancy upsampling"), or copies if w <= 2."""
    count, height, width = planes.shape
    if width <= 2:
        return planes.repeat_interleave(2, 1).repeat_interleave(2, 2)
    framed = F.pad(planes[None], (0, 0, 1, 1), mode="replicate")[0]
    above_below = torch.stack([framed[:, :-2], framed[:, 2:]], dim=2).add_(planes[:, :, None], alpha=3)
    rows = above_below.view(count, 2 * height, width)
    framed = F.pad(rows[None], (1, 1, 0, 0), mode="replicate")[0]
    sides = torch.stack([framed[..., :-2] + 8, framed[..., 2:] + 7], dim=3).add_(rows[..., None], alpha=3)
    return sides.mul_(1 / 16).floor_().view(count, 2 * height, 2 * width)


def _code_gray(levels: Tensor, quality: int) -> Tensor:
    """Single-channel JPEG of each plane: [P, H, W], whole levels in float32."""
    height, width = levels.shape[-2:]
    table = _constant(quality_table(LUMA, quality), torch.float32, levels.device)
    padded = _pad_to(levels, _up(height, 8), _up(width, 8))
    return _code_planes(padded, table)[:, :height, :width]


def _code_colour(levels: Tensor, quality: int, subsampling: Subsampling) -> Tensor:
    """YCbCr JPEG of an RGB image: [3, H, W], whole levels in float32."""
    height, width = levels.shape[-2:]
    device = levels.device
    halved = subsampling == "4:2:0"
    unit = 16 if halved else 8
    full = (_up(height, unit), _up(width, unit))
    luma, chroma = (_constant(quality_table(base, quality), torch.float32, device) for base in (LUMA, CHROMA))
    matrix, offset = (_constant(rows, torch.float32, device) for rows in (_TO_YCC, _TO_YCC_OFFSET))
    ycc = (matrix @ levels.reshape(3, -1)).add_(offset).mul_(0.5**16).floor_().view(levels.shape)
    y = _code_planes(_pad_to(ycc[:1], *full), luma)[:, :height, :width]
    if halved:
        colour = _code_planes(_halve(ycc[1:], full[0] // 2, full[1] // 2), chroma)
        # the upsampling filter sees the real chroma size, not the padded one
        colour = _double(colour[:, : _up(height, 2) // 2, : _up(width, 2) // 2])
    else:
        colour = _code_planes(_pad_to(ycc[1:], *full), chroma)
    colour = colour[:, :height, :width].reshape(2, -1) - 128
    tint = _shift(_constant(_TO_RGB, torch.float32, device) @ colour, 16).view(levels.shape)
    return tint.add_(y).clamp_(0, 255)


def libjpeg(
    image: Tensor, quality: int, *, subsampling: Subsampling = "4:2:0", straight_through: bool = False
) -> Tensor:
    """Compress and decompress one image.

    Args:
        image: float32 [C, H, W] in [0, 1], any size; rounded to 8 bits first, as a file would be. Three bands are
            RGB; any other number is coded band by band, as that many gray files.
        quality: 1..100.
        subsampling: of chroma; "4:2:0" is the default of encoders.
        straight_through: pass the gradient as if nothing had been done (Bengio et al. 2013).

    Returns:
        float32 [C, H, W], every value k / 255.
    """
    if not 1 <= quality <= 100:
        raise ValueError(f"quality must be 1..100, got {quality!r}")
    with torch.no_grad():
        levels = (image * 255).round_().clamp_(0, 255)
        if image.shape[0] == 3:
            coded = _code_colour(levels, quality, subsampling).div_(255)
        else:
            coded = _code_gray(levels, quality).div_(255)
    return image + (coded - image).detach() if straight_through else coded


@dataclass(frozen=True, slots=True)
class JpegRecipe(Drawn):
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
        arithmetic: "libjpeg" for the real thing, "realesrgan" for upstream's DiffJPEG (three bands, real quality).
    """

    jpeg_range: tuple[float, float] = (30, 95)
    arithmetic: Arithmetic = "libjpeg"

    def __post_init__(self) -> None:
        check_range("jpeg_range", self.jpeg_range, 1, 100 if self.arithmetic == "libjpeg" else 99.9)

    def draw(self, u: Tensor) -> JpegRecipe:
        """Qualities from uniform numbers, float32 [B, 1] or more columns."""
        low, high = self.jpeg_range
        if self.arithmetic == "realesrgan":
            return JpegRecipe(between(u[:, 0], low, high))
        low, high = round(low), round(high)
        return JpegRecipe((low + u[:, 0] * (high - low + 1)).floor().to(torch.int64).clamp_max(high))

    def apply(self, images: Sequence[Tensor], recipe: JpegRecipe) -> list[Tensor]:
        """Compress image `i`, float32 [C, H, W] in [0, 1], at quality `i`."""
        qualities = recipe.quality.tolist()
        if self.arithmetic == "realesrgan":
            return [diffjpeg(image.clamp(0, 1), q) for image, q in zip(images, qualities, strict=True)]
        return [libjpeg(image, int(q)) for image, q in zip(images, qualities, strict=True)]
