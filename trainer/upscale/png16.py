"""PNG of 16 bits per sample with colour or alpha, which Pillow reads with 8 and cannot write."""

import struct
import zlib
from pathlib import Path

import numpy as np
from einops import rearrange
from PIL import Image, ImageOps

from trainer.images.opened import BUDGET, Budget, load, opened
from trainer.upscale.picture import Numbers

HALVES = {
    "RGB;16B": ("RGB;16B", "RGB;16L"),
    "RGBA;16B": ("RGBA;16B", "RGBA;16L"),
    "LA;16B": ("RGBA",),
}
"""Pillow's raw mode for such a file -> the raw modes that together read every byte of it: the high and the low bytes in
two readings (of little-endian samples the low byte would be the high one), or the four bytes of a gray pixel."""

COLOUR_TYPES = {1: 0, 2: 4, 3: 2, 4: 6}  # by the number of channels: PNG specification, section 11.2.1
BLOCK = 2**24  # bytes that are filtered at once
PEAK = 16  # bytes per pixel of RGBA while they are put together: two halves, and the samples


def unpacking(image: Image.Image) -> str:
    """Pillow's raw mode for a picture that was opened and not yet read; empty if it has none."""
    tiles = getattr(image, "tile", None)
    if not tiles:
        return ""
    how = tiles[0].args
    return str(how if isinstance(how, str) else how[0]) if how else ""


def is_16_bit(image: Image.Image) -> bool:
    """True if this module reads the opened picture."""
    return image.format == "PNG" and unpacking(image) in HALVES


def read(data: bytes, name: str, budget: Budget = BUDGET) -> Numbers:
    """Read a file for which `is_16_bit`, upright as EXIF says: uint16 [C, H, W] of LA, RGB or RGBA."""
    with opened(data, name, budget) as image:
        ways = HALVES[unpacking(image)]
        size = f"{image.width}x{image.height} pixels of 16 bits"
        budget.check(name, size, image.width * image.height * PEAK)
        load(image, data)  # checks that all rows are there
    planes = [_unpacked(data, name, way, budget) for way in ways]
    if len(ways) == 1:
        high, low = planes[0][..., 0::2], planes[0][..., 1::2]
    else:
        high, low = planes
    samples = high.astype(np.uint16)
    samples <<= 8
    samples |= low
    return rearrange(samples, "row column channel -> channel row column")


def _unpacked(data: bytes, name: str, way: str, budget: Budget) -> Numbers:
    with opened(data, name, budget) as image:
        tile = image.tile[0]
        options = tile.args[1:] if isinstance(tile.args, tuple) else ()  # whether it is interlaced
        image.tile = [tile._replace(args=(way, *options))]
        ImageOps.exif_transpose(image, in_place=True)
        return np.asarray(image)


def write(path: Path, numbers: Numbers, icc: bytes | None, exif: bytes | None = None) -> None:
    """Write L, LA, RGB or RGBA samples, uint16 [C, H, W], with a colour profile and EXIF if there are."""
    channels, height, width = numbers.shape
    header = struct.pack(">IIBBBBB", width, height, 16, COLOUR_TYPES[channels], 0, 0, 0)
    with path.open("wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header))
        if icc:
            file.write(_chunk(b"iCCP", b"ICC profile\0\0" + zlib.compress(icc)))
        if exif:
            file.write(_chunk(b"eXIf", exif.removeprefix(b"Exif\0\0")))
        packer, rows = zlib.compressobj(), max(1, BLOCK // (2 * channels * width))
        above = np.zeros((1, 2 * channels * width), np.uint8)
        for begin in range(0, height, rows):
            block = rearrange(numbers[:, begin : begin + rows], "channel row column -> row column channel")
            samples = block.astype(">u2", order="C")
            lines = samples.view(np.uint8).reshape(len(samples), -1)
            differences = lines - np.concatenate((above, lines[:-1]))  # filter 2: each byte less the one above it
            above = lines[-1:]
            filtered = np.concatenate((np.full((len(lines), 1), 2, np.uint8), differences), axis=1)
            if packed := packer.compress(filtered.tobytes()):
                file.write(_chunk(b"IDAT", packed))
        file.write(_chunk(b"IDAT", packer.flush()) + _chunk(b"IEND", b""))


def _chunk(tag: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))
