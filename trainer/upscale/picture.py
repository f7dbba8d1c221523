"""A picture in memory that will be written again: its numbers, their meaning, and its metadata."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

Numbers = np.ndarray[Any, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Georeference:
    """Georeference and metadata of a raster."""

    size: tuple[int, int]
    """Height and width when it was read."""
    transform: Any
    """From columns and rows to the earth: rasterio's Affine."""
    about: dict[str, Any]
    """Attributes of rasterio's datasets, written as they were read: `crs`, `nodata`, `descriptions`, ..."""
    tags: list[dict[str, str]] = field(default_factory=list)
    """Tags of the dataset, then of each band."""
    absent: Numbers | None = None
    """bool [C, H, W]: the numbers that mean "no data"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A picture from any file, upright."""

    numbers: Numbers
    """[C, H, W] of any real type: gray, RGB, or the bands of a raster."""
    white: float
    """The number that means 1."""
    black: float = 0.0
    """The number that means 0."""
    alpha: Numbers | None = None
    """[H, W] of the same type and range: 0 is transparent."""
    icc: bytes | None = None
    """The colour profile, as the file holds it."""
    exif: Image.Exif | None = None
    """The photograph's EXIF, as `exif.carried` has it."""
    left_out: tuple[str, ...] = ()
    """Kinds of the file's metadata that are not carried over, such as "XMP"."""
    georeference: Georeference | None = None
    """Georeference and metadata of a raster; None for photographs."""

    def unit(self, numbers: Numbers) -> Tensor:
        """Numbers of any shape to float32 in [0, 1]; what is no number becomes 0."""
        share = (torch.from_numpy(numbers.astype(np.float32)) - self.black) / (self.white - self.black)
        return share.nan_to_num_(0.0).clamp_(0, 1)

    def numbered(self, values: Tensor) -> Numbers:
        """Float32 in [0, 1], of any shape and device, to numbers of this picture: clamped, and rounded if whole."""
        numbers = values.clamp(0, 1).mul_(self.white - self.black).add_(self.black)
        kind = self.numbers.dtype
        if kind.kind in "iu":
            limits = np.iinfo(kind)
            numbers = numbers.round_().clamp_(limits.min, limits.max)
        return numbers.to(getattr(torch, kind.name)).cpu().numpy()

    def planes(self) -> Numbers:
        """[C, H, W] of the numbers and, last, of alpha if there is one."""
        return self.numbers if self.alpha is None else np.concatenate((self.numbers, self.alpha[None]))
