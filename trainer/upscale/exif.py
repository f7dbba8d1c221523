"""EXIF of a photograph, carried over to its enlarged, upright picture: camera, dates, place, authors."""

import struct
from os import SEEK_END
from pathlib import Path

from PIL import ExifTags, Image

DESCRIBING = (
    *(0x010E, 0x010F, 0x0110, 0x0131, 0x0132),  # title, camera's maker and model, software, date
    *(0x013B, 0x013C, 0x8298),  # author, host, rights
    *(0x011A, 0x011B, 0x0128),  # dots per inch
    *(0x4746, 0x4749, *range(0x9C9B, 0x9CA0)),  # stars, and Windows' title, comment, author, key words, subject
)
"""Tags of the first directory that are kept; others there are about the bytes of the file, as in a TIFF."""
ORIENTATION, WIDTH, HEIGHT = 0x0112, 0xA002, 0xA003
MOST_IN_JPEG = 65533
"""Bytes that a segment of a JPEG holds at most."""


def exif_of(image: Image.Image) -> Image.Exif | None:
    """The EXIF of a picture that Pillow has opened; None if it has none, or one that cannot be read."""
    try:
        return image.getexif() or None
    except Exception:  # Pillow raises many kinds at a damaged block, which the pixels do not need
        return None


def is_turned(image: Image.Image) -> bool:
    """True if the EXIF orientation says that the pixels are not upright."""
    exif = exif_of(image)
    return exif is not None and exif.get(ORIENTATION, 1) != 1


def carried(image: Image.Image) -> Image.Exif | None:
    """The EXIF for an upright picture of other size: without the thumbnail, and with orientation 1 if it had one."""
    exif = exif_of(image)
    if exif is None:
        return None
    kept = Image.Exif()
    kept.endian = exif.endian  # of the camera maker's own notes too
    kept.update({tag: exif[tag] for tag in DESCRIBING if tag in exif})
    if ORIENTATION in exif:
        kept[ORIENTATION] = 1
    for directory in (ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo):
        if values := dict(exif.get_ifd(directory)):
            values.pop(ExifTags.IFD.Interop, None)  # a place in the file that was read
            kept[directory] = values
    return kept or None


def left_out(image: Image.Image) -> tuple[str, ...]:
    """Kinds of metadata in an opened picture that are not carried over; an EXIF that cannot be read is one."""
    info = image.info
    photoshop = info.get("photoshop")
    there = {
        "EXIF": "exif" in info and exif_of(image) is None,
        "XMP": "xmp" in info or "XML:com.adobe.xmp" in info,
        "IPTC": isinstance(photoshop, dict) and 0x0404 in photoshop,
        "comments": "comment" in info,
        "PNG texts": bool(getattr(image, "text", None)),
    }
    return tuple(name for name, is_there in there.items() if is_there)


def sized(exif: Image.Exif, width: int, height: int) -> Image.Exif:
    """A copy whose pixel sizes, if it has them, are those of the result."""
    copy = Image.Exif()
    copy.endian = exif.endian
    copy.update(exif)
    if directory := copy.get(ExifTags.IFD.Exif):
        sizes = {WIDTH: width, HEIGHT: height}
        copy[ExifTags.IFD.Exif] = {tag: sizes.get(tag, value) for tag, value in directory.items()}
    return copy


def block(exif: Image.Exif) -> bytes | None:
    """The bytes that Pillow takes as `exif`; None if its values cannot be written."""
    try:
        return exif.tobytes()
    except Exception:  # Pillow's: of a tag whose value is not of its kind
        return None


def append_to_tiff(path: Path, exif: Image.Exif) -> None:
    """Add EXIF to a TIFF, behind its pixels: Pillow's compressing writer takes no directories within the first.

    A new first directory, of the old one's entries and the EXIF's, takes its place (TIFF 6.0, section 2).
    """
    with path.open("r+b") as file:
        order = "<" if file.read(2) == b"II" else ">"

        def entries(place: int) -> list[bytes]:
            file.seek(place)
            return [file.read(12) for _ in range(*struct.unpack(f"{order}H", file.read(2)))]

        file.seek(4)
        own = entries(*struct.unpack(f"{order}I", file.read(4)))
        exif.endian = order
        begin = file.seek(file.seek(0, SEEK_END) + 1 & ~1)  # on a word
        file.write(exif.tobytes(begin).removeprefix(b"Exif\0\0")[8:])  # without the head
        merged = {struct.unpack(f"{order}H", entry[:2]): entry for entry in (*entries(begin), *own)}
        place = file.seek(file.seek(0, SEEK_END) + 1 & ~1)
        directory = b"".join(merged[tag] for tag in sorted(merged))
        file.write(struct.pack(f"{order}H", len(merged)) + directory + bytes(4))  # no directory follows
        file.seek(4)
        file.write(struct.pack(f"{order}I", place))
