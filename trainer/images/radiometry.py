"""Multi-band pictures: which bands, and which digital numbers mean 0 and 1. Declared, never guessed."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from trainer.images.decode import MAX_PIXELS, Unreadable, reason_of
from trainer.levels import LEVELS
from trainer.mistakes import Mistake

_QUIET = threading.Lock()  # the filters of warnings belong to the process, and files are opened in threads


@dataclass(frozen=True, kw_only=True, slots=True)
class Radiometry:
    """What the numbers in a multi-band file mean: (number - black) / (white - black), clipped to [0, 1].

    Sentinel-2 reflectance x 10000 is `black: 0, white: 10000` (since processing baseline 04.00: `black: 1000, white:
    11000`); the guide's `sen2_stretch` is `black: 0, white: 3000`.
    """

    bands: tuple[int, ...]
    """The bands to read, in this order, counted from 1 as GDAL does."""
    white: float
    """The digital number that means 1; what lies above is clipped."""
    black: float = 0.0
    """The digital number that means 0; what lies below is clipped, and what is not a number becomes it."""

    def __post_init__(self) -> None:
        if not self.bands or min(self.bands) < 1:
            raise ValueError(f"bands: got {list(self.bands)}; must be numbers from 1 on, at least one")
        if self.white <= self.black:
            raise ValueError(f"white: got {self.white:g}; must be above black, {self.black:g}")

    def levels(self, numbers: np.ndarray[Any, Any]) -> Tensor:
        """Digital numbers of any type, [C, H, W], to uint16 of the same shape."""
        share = (numbers.astype(np.float64) - self.black) / (self.white - self.black)
        share = np.nan_to_num(share, nan=0.0).clip(0, 1)
        return torch.from_numpy(np.rint(share * LEVELS[torch.uint16]).astype(np.uint16))

    def decode(self, data: bytes | Path, name: str) -> Tensor:
        """Read a raster file (GeoTIFF, or what else GDAL knows), given as its bytes or its path: uint16 [C, H, W].

        Pixels that the file declares to hold no data become black.

        Raises:
            Unreadable: missing, truncated, not a raster, too large, or without one of the bands.
        """
        with opened_raster(data, name, "radiometry") as file:
            if (last := max(self.bands)) > file.count:
                raise Unreadable(name, f"it has {file.count} bands, and band {last} is wanted")
            numbers = file.read(self.bands, masked=True)
        # not in the file's own type, which may not hold `black`
        return self.levels(numbers.astype(np.float64).filled(self.black) if numbers.mask.any() else numbers.data)

    def from_array(self, stored: Any, name: str) -> Tensor:
        """What a column of a dataset holds, numbers [bands, height, width], to uint16 [C, H, W]; Unreadable if not."""
        numbers = np.asarray(stored)
        if numbers.dtype.kind not in "uif":
            raise Unreadable(name, f"it holds {type(stored).__name__}; wanted numbers [bands, height, width]")
        if numbers.ndim != 3 or numbers.shape[0] < max(self.bands):
            wanted = f"wanted [bands, height, width] with at least {max(self.bands)} bands"
            raise Unreadable(name, f"its numbers have the shape {list(numbers.shape)}; {wanted}")
        return self.levels(numbers[[band - 1 for band in self.bands]])


def raster_library(key: str = "radiometry") -> Any:
    """rasterio; Mistake, naming the `key` of who wants it, where it is not installed."""
    try:
        import rasterio  # only runs on rasters need it
        import rasterio.errors
    except ImportError:
        raise Mistake(f"{key}: rasters are read by rasterio; `pip install 'wildsr[geo]'` brings it.") from None
    return rasterio


@contextmanager
def opened_raster(data: bytes | Path, name: str, key: str, mode: str = "r", **profile: Any) -> Iterator[Any]:
    """rasterio's dataset of a file, given as its bytes or its path; without a word where it has no place on Earth.

    `mode` and `profile` are those of `rasterio.open`, and `key` is who wants it. Raises Unreadable, in the body too,
    for what is missing, truncated, not a raster or, to read, too large; Mistake where there is no rasterio.
    """
    rasterio = raster_library(key)
    try:
        with _QUIET, warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            file = rasterio.open(BytesIO(data) if isinstance(data, bytes) else data, mode, **profile)
        with file:
            if mode == "r" and file.width * file.height > MAX_PIXELS:
                size = f"{file.width}x{file.height}"
                raise Unreadable(name, f"{size} is more than {MAX_PIXELS} pixels; cut it into tiles")
            yield file
    except rasterio.errors.RasterioError as error:
        is_gone = mode == "r" and isinstance(data, Path) and not data.is_file()
        raise Unreadable(name, "the file is gone" if is_gone else reason_of(error)) from error
