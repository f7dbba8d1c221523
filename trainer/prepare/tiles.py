"""Tiles of a picture: their places, the smaller versions that are cut too, and their encoding.

The rules are those of Real-ESRGAN's scripts/extract_subimages.py (places) and scripts/generate_multiscale_DF2K.py
(versions).
"""

import io
from concurrent.futures import CancelledError
from dataclasses import dataclass
from fractions import Fraction
from threading import Event

from PIL import Image

COMPRESSION = 3
"""The level of PNG: upstream's."""

Box = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class Tiles:
    """The tiles of one picture, and the number of its versions that gave none."""

    encoded: tuple[bytes, ...]
    """PNG files, RGB of 8 bits: version after version, each row by row."""
    left_out: int
    """Versions that are smaller than `Cut.min_side`."""


@dataclass(frozen=True, slots=True)
class Cut:
    """Rules for cutting pictures, in pixels."""

    tile: int
    """Side of a tile."""
    step: int
    """Distance between the beginnings of neighbouring tiles."""
    thresh_size: int
    """A rest beyond the last tile that is longer than this gets a tile of its own, flush with the border."""
    min_side: int
    """Versions with a shorter side are left out."""
    scales: tuple[str, ...]
    """Versions: factors up to 1 (`0.75`, `1/3`), and lengths of the shorter side (`400px`)."""

    def starts(self, length: int) -> list[int]:
        """Beginnings of the tiles along a side; one tile covers a side that is shorter than a tile."""
        last = max(0, length - self.tile)
        starts = list(range(0, last + 1, self.step))
        return [*starts, last] if last - starts[-1] > self.thresh_size else starts

    def boxes(self, width: int, height: int) -> list[Box]:
        """The tiles of a picture, row by row: left, top, right, bottom."""
        return [
            (left, top, min(left + self.tile, width), min(top + self.tile, height))
            for top in self.starts(height)
            for left in self.starts(width)
        ]

    def sizes(self, width: int, height: int) -> list[tuple[int, int]]:
        """Width and height of the versions, each once; none is larger than the picture."""
        sizes = [size_at(scale, width, height) for scale in self.scales]
        return list(dict.fromkeys(size for size in sizes if size[0] <= width and size[1] <= height))

    def tiles(self, picture: Image.Image, stop: Event) -> Tiles:
        """Cut an RGB picture, reduced by Lanczos for its smaller versions; CancelledError once `stop` is set."""
        sizes = self.sizes(*picture.size)
        wanted = [size for size in sizes if min(size) >= self.min_side]
        encoded: list[bytes] = []
        for size in wanted:
            version = picture if size == picture.size else picture.resize(size, Image.Resampling.LANCZOS)
            for box in self.boxes(*size):
                if stop.is_set():
                    raise CancelledError
                encoded.append(png_of(version.crop(box)))
        return Tiles(tuple(encoded), len(sizes) - len(wanted))


def size_at(scale: str, width: int, height: int) -> tuple[int, int]:
    """Size of a picture at a scale, rounded down as upstream does; ValueError for no scale."""
    if not scale.endswith("px"):
        factor = float(Fraction(scale))
        return int(width * factor), int(height * factor)
    shorter = int(scale.removesuffix("px"))
    if width < height:
        return shorter, int(shorter * (height / width))
    return int(shorter * (width / height)), shorter


def png_of(tile: Image.Image) -> bytes:
    """A tile as the bytes of a PNG file."""
    buffer = io.BytesIO()
    tile.save(buffer, "PNG", compress_level=COMPRESSION)
    return buffer.getvalue()
