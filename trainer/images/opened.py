"""Open a picture file with Pillow: listed formats only, within a memory budget, complete to its last row."""

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from degradations.formats import FORMATS

# Pillow's own guard counts pixels, warns at 89 million and raises at 179, for web servers; here a budget in bytes is
# checked instead, before a pixel is decoded.
Image.MAX_IMAGE_PIXELS = None

PER_PIXEL = {"1": 1, "L": 1, "P": 1, "I;16": 2, "I;16B": 2, "I;16L": 2, "I;16N": 2}
"""Bytes per pixel in Pillow's memory, by mode; any other mode takes four."""
CODECS = {"AVIF": 8, "JPEG2000": 14, "WEBP": 12}
"""Bytes per pixel that a decoder holds beside Pillow's picture (measured), if that is more than a copy turned
upright."""
RESULT = 3
"""Bytes per pixel of RGB."""

DENSEST = 10_000
"""Pixels per byte of a file above which it is no picture: deflate reaches 8256 of one bit, photographs stay below
100."""
HARMLESS = 2**22
"""Pixels up to which `DENSEST` is not checked: a blank page may be a small file."""

KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class Unreadable(Exception):
    """A picture that cannot be decoded: its name, and the reason. It can be pickled."""

    def __init__(self, name: str, reason: str) -> None:
        super().__init__(name, reason)
        self.name = name
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.name}: {self.reason}"


@dataclass(frozen=True, slots=True)
class Budget:
    """Limit for the memory of decoding one picture, and the key or option that sets it."""

    mib: int = 2048
    """100 megapixels of RGB take 1050."""
    key: str = "images.max_picture_mib"

    def check(self, name: str, what: str, needed: int) -> None:
        """Raise Unreadable if the picture `name`, described by `what`, needs more bytes than the limit."""
        if needed > self.mib * 2**20:
            took = f"{what} would take {-(-needed // 2**20)} MiB of memory"
            raise Unreadable(name, f"{took}, and {self.key} allows {self.mib}; cut it into tiles, or raise that")


BUDGET = Budget()


@contextmanager
def opened(data: bytes | Path, name: str, budget: Budget = BUDGET) -> Iterator[ImageFile]:
    """Open a picture of one of `FORMATS`, from the bytes of a file or its path; only its header is read.

    Raises Unreadable if it is no regular file, does not fit into `budget`, or has more pixels than its bytes can hold;
    and Pillow's own exceptions, unchanged: see `reason_of`.
    """
    if isinstance(data, Path):
        check_regular(data, name)
    with Image.open(BytesIO(data) if isinstance(data, bytes) else data, formats=FORMATS) as image:
        size, pixels = f"{image.width}x{image.height}", image.width * image.height
        length = len(data) if isinstance(data, bytes) else data.stat().st_size
        if pixels > max(HARMLESS, DENSEST * length):
            raise Unreadable(name, f"{size} pixels in {length} bytes are no picture")
        stored = PER_PIXEL.get(image.mode, 4)
        per_pixel = stored + max(stored, CODECS.get(image.format or "", 0)) + RESULT
        budget.check(name, f"{size} pixels of {image.mode}", pixels * per_pixel)
        yield image


def check_regular(path: Path, name: str) -> None:
    """Raise Unreadable for files whose reader would be blocked: a FIFO, a socket, a device."""
    if not stat.S_ISREG(path.stat().st_mode):
        raise Unreadable(name, f"it is {kind_of(path)}, and only regular files are read")


def kind_of(path: Path) -> str:
    """Kind of the file at `path` that is not regular, such as "a FIFO"; OSError if it cannot be examined."""
    return KINDS.get(stat.S_IFMT(path.stat().st_mode), "no file")


def load(image: Image.Image, data: bytes | Path) -> None:
    """Decode a picture from `opened`, and check that its last rows were in the file.

    Some of Pillow's decoders (for a PNG whose stream ends early, a TIFF without its last strips) leave missing rows as
    they were allocated, at zero. If one of the last two rows, one of which also an interlaced picture decodes last, is
    all zero, the picture is decoded once more over white: rows that were in the file stay zero.

    Raises OSError if rows are missing, and Pillow's own exceptions.
    """
    image.load()
    rows = [row for row in range(max(0, image.height - 2), image.height) if _is_zero(image, row)]
    if not rows or image.mode == "F":
        return
    with Image.open(BytesIO(data) if isinstance(data, bytes) else data, formats=FORMATS) as again:
        white = Image.new(again.mode, again.size, "white" if again.mode not in ("I", "I;16", "I;16B") else 65535)
        again.im = white.im
        again.load()
        if not all(_is_zero(again, row) for row in rows):
            raise OSError("image file is truncated (its last rows are not there)")


def _is_zero(image: Image.Image, row: int) -> bool:
    return image.crop((0, row, image.width, row + 1)).getbbox(alpha_only=False) is None


def reason_of(error: Exception) -> str:
    """Reason why a picture cannot be decoded, in one line."""
    if isinstance(error, FileNotFoundError):
        return "the file is gone"
    if isinstance(error, UnidentifiedImageError):
        return "not a picture in a format that is read"  # its own text names a memory address
    if isinstance(error, OSError) and error.strerror:
        return error.strerror  # the caller puts the name before it
    return str(error).splitlines()[0] if str(error) else type(error).__name__
