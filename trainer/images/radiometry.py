"""Multi-band pictures: the bands to read, and the digital numbers that mean 0 and 1. Declared, never guessed."""

import math
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

from trainer.images.levels import LEVELS
from trainer.images.opened import BUDGET, Budget, Unreadable, check_regular, reason_of
from trainer.mistakes import Mistake

_QUIET = threading.Lock()  # warning filters are the process's, and files are opened in threads

DRIVERS = {
    b"II*\0": "GTiff",
    b"MM\0*": "GTiff",
    b"II+\0": "GTiff",
    b"MM\0+": "GTiff",
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG",
    b"\x89PNG": "PNG",
}
"""GDAL's driver for a file by its first bytes, whatever its name: formats that hold their numbers themselves. GDAL
knows over a hundred, and a VRT, a few lines of text, lets it read any file and address that they name."""
SAFELY = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR",  # no .msk, .ovr or .aux.xml beside it, which may be of any format
    "GDAL_PAM_ENABLED": "NO",
    "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",  # no network
    "GDAL_CACHEMAX": 64,  # MiB; by default 5 % of the machine's memory, in every worker
}
STRIP = 2**20
"""Pixels converted at a time."""
LEVEL_BYTES = 2
"""Bytes of a uint16."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Radiometry:
    """Meaning of the numbers in a multi-band file: (number - black) / (white - black), clipped to [0, 1].

    Sentinel-2 reflectance x 10000 is `black: 0, white: 10000` (since processing baseline 04.00: `black: 1000, white:
    11000`); the guide's `sen2_stretch` is `black: 0, white: 3000`.
    """

    bands: tuple[int, ...]
    """The bands to read, in this order, counted from 1 as GDAL does."""
    white: float
    """The digital number that means 1; numbers above are clipped."""
    black: float = 0.0
    """The digital number that means 0; numbers below are clipped, and NaN becomes it."""

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

    def decode(self, data: bytes | Path, name: str, budget: Budget = BUDGET) -> Tensor:
        """Read a raster file of one of `DRIVERS`, given as its bytes or its path: uint16 [C, H, W].

        Pixels that the file declares to hold no data become black.

        Raises:
            Unreadable: missing, truncated, not a raster, too large, or without one of the bands.
        """
        with opened_raster(data, name, "radiometry") as file:
            if (last := max(self.bands)) > file.count:
                raise Unreadable(name, f"it has {file.count} bands, and band {last} is wanted")
            block = max(math.prod(shape) for shape in file.block_shapes) * file.count * itemsize(file)
            needed = file.width * file.height * len(self.bands) * LEVEL_BYTES + block
            budget.check(name, describe(file), needed)
            levels = torch.empty(len(self.bands), file.height, file.width, dtype=torch.uint16)
            for top, rows in row_windows(file):
                window = ((top, top + rows), (0, file.width))
                numbers = file.read(self.bands, window=window, masked=True)
                # not in the file's own type, which may not hold `black`
                whole = numbers.astype(np.float64).filled(self.black) if numbers.mask.any() else numbers.data
                levels[:, top : top + rows] = self.levels(whole)
        return levels

    def from_array(self, stored: Any, name: str) -> Tensor:
        """Convert an array of a dataset, numbers [bands, height, width], to uint16 [C, H, W]; Unreadable if it is
        none."""
        numbers = np.asarray(stored)
        if numbers.dtype.kind not in "uif":
            raise Unreadable(name, f"it holds {type(stored).__name__}; wanted numbers [bands, height, width]")
        if numbers.ndim != 3 or numbers.shape[0] < max(self.bands):
            wanted = f"wanted [bands, height, width] with at least {max(self.bands)} bands"
            raise Unreadable(name, f"its numbers have the shape {list(numbers.shape)}; {wanted}")
        return self.levels(numbers[[band - 1 for band in self.bands]])


def driver_of(data: bytes | Path, name: str) -> str:
    """The driver out of `DRIVERS` for a file, given as its bytes or its path; Unreadable if there is none."""
    if isinstance(data, Path):
        check_regular(data, name)
        with data.open("rb") as file:
            start = file.read(16)
    else:
        start = data[:16]
    driver = next((driver for signature, driver in DRIVERS.items() if start.startswith(signature)), None)
    if driver is None:
        raise Unreadable(name, "not a raster in a format that is read (GeoTIFF, JPEG 2000, PNG)")
    return driver


def describe(file: Any) -> str:
    """The size of a rasterio dataset in words."""
    return f"{file.width}x{file.height} pixels of {file.count} bands of {8 * itemsize(file)} bits"


def itemsize(file: Any) -> int:
    """Bytes of the widest number of a rasterio dataset."""
    return max(int(np.dtype(kind).itemsize) for kind in file.dtypes)


def row_windows(file: Any) -> Iterator[tuple[int, int]]:
    """First row and number of rows of windows of a rasterio dataset: whole blocks, and about `STRIP` pixels."""
    block = max(height for height, _ in file.block_shapes)
    rows = max(block, STRIP // file.width // block * block)
    for top in range(0, file.height, rows):
        yield top, min(rows, file.height - top)


def raster_library(key: str = "radiometry") -> Any:
    """Import rasterio; Mistake, naming the `key` that needs it, if it is not installed."""
    try:
        import rasterio  # only runs on rasters need it
        import rasterio.errors  # noqa: F401
    except ImportError:
        raise Mistake(f"{key}: rasters are read by rasterio; `pip install 'wildsr[geo]'` brings it.") from None
    return rasterio


@contextmanager
def opened_raster(data: bytes | Path, name: str, key: str, mode: str = "r", **profile: Any) -> Iterator[Any]:
    """Open a file, given as its bytes or its path, by rasterio; no warning if it has no georeference.

    `mode` and `profile` are those of `rasterio.open`, and `key` is the one that needs it. Raises Unreadable, in the
    body too, for what is missing, truncated or no raster of `DRIVERS`; Mistake without rasterio.
    """
    rasterio = raster_library(key)
    try:
        if mode == "r":
            profile = {"driver": driver_of(data, name), **profile}
        # an absolute path is never taken for an address, nor for a part of an archive
        place = BytesIO(data) if isinstance(data, bytes) else data.absolute()
        with rasterio.Env(**SAFELY):
            with _QUIET, warnings.catch_warnings():
                warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
                file = rasterio.open(place, mode, **profile)
            with file:
                yield file
    except (rasterio.errors.RasterioError, OSError) as error:
        raise Unreadable(name, reason_of(error)) from error
