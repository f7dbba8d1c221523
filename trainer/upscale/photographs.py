"""Read and write photographs with their bit depth, gray or colour, transparency, EXIF and colour profile; upright.

`decode` is for training and makes 8-bit RGB of anything; here a picture is read to be written again.
"""

import logging
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from einops import rearrange
from PIL import Image, ImageCms, ImageOps

from trainer.images.opened import BUDGET, Budget, Unreadable, load, opened, reason_of
from trainer.upscale import png16
from trainer.upscale.exif import MOST_IN_JPEG, append_to_tiff, block, carried, is_turned, left_out, sized
from trainer.upscale.picture import Numbers, Picture

log = logging.getLogger(__name__)

JPEG: dict[str, Any] = {"format": "JPEG", "quality": 95, "subsampling": 0}
TIFF: dict[str, Any] = {"format": "TIFF", "compression": "tiff_adobe_deflate"}
WRITE_OPTIONS: dict[str, dict[str, Any]] = {
    ".png": {"format": "PNG"},
    ".jpg": JPEG,
    ".jpeg": JPEG,
    ".webp": {"format": "WEBP", "quality": 95},
    ".tif": TIFF,
    ".tiff": TIFF,
}
"""Pillow's options for writing, by the ending of a file's name."""
SEQUENCES = frozenset({"AVIF", "GIF", "PNG", "TIFF", "WEBP"})
"""Formats whose further frames or pages are pictures too; in a JPEG they are previews and depths."""
MOST_SIDE = {"JPEG": 65500, "WEBP": 16383}
"""Pixels per side that the formats' own libraries write at most."""


def from_pillow(image: Image.Image) -> Picture:
    """Convert a picture that Pillow has opened: upright, to 8 bits, or 16 if it is gray; with its EXIF.

    A palette is looked up. CMYK becomes sRGB by its own profile, or without one as Pillow does it.
    ValueError for floats and 32 bits, which have no agreed white.
    """
    about: dict[str, Any] = {"exif": carried(image), "left_out": left_out(image)}
    if is_turned(image):
        image = ImageOps.exif_transpose(image)
    icc = image.info.get("icc_profile")
    if image.mode.startswith(("I", "F")):
        return Picture(numbers=_gray_16(image)[None], white=65535, icc=icc, **about)
    if image.mode in ("CMYK", "YCbCr", "LAB", "HSV"):
        image, icc = _to_srgb(image, icc), None  # the profile describes the colours before the conversion
    is_gray, has_alpha = image.mode in ("1", "L", "LA", "La"), image.has_transparency_data
    mode = ("L" if is_gray else "RGB") + ("A" if has_alpha else "")
    samples = np.asarray(image if image.mode == mode else image.convert(mode))
    planes = rearrange(np.atleast_3d(samples), "row column channel -> channel row column")
    if has_alpha:
        return Picture(numbers=planes[:-1], alpha=planes[-1], white=255, icc=icc, **about)
    return Picture(numbers=planes, white=255, icc=icc, **about)


def _gray_16(image: Image.Image) -> Numbers:
    samples = np.asarray(image)
    if image.mode == "F" or samples.min() < 0 or samples.max() > 65535:
        raise ValueError("floating-point and 32-bit samples have no agreed white level; save it with 8 or 16 bits")
    return samples.astype(np.uint16)


def _to_srgb(image: Image.Image, icc: bytes | None) -> Image.Image:
    if image.mode != "CMYK" or not icc:
        return image.convert("RGB")
    theirs, srgb = ImageCms.ImageCmsProfile(BytesIO(icc)), ImageCms.createProfile("sRGB")
    converted = ImageCms.profileToProfile(image, theirs, srgb, outputMode="RGB")
    assert converted is not None  # it was not asked to work in place
    return converted


def to_pillow(picture: Picture) -> Image.Image:
    """The picture as L, LA, RGB or RGBA, or as I;16 for gray of 16 bits; ValueError if Pillow has no such thing."""
    planes = picture.planes()
    kind = planes.dtype.name
    if len(planes) > {"uint8": 4, "uint16": 1}.get(kind, 0):
        raise ValueError(f"Pillow has no pictures of {len(planes)} channels of {kind}")
    pixels = planes[0] if len(planes) == 1 else rearrange(planes, "channel row column -> row column channel")
    image = Image.fromarray(np.ascontiguousarray(pixels))
    if picture.icc:
        image.info["icc_profile"] = picture.icc
    if picture.exif and (written := block(sized(picture.exif, *image.size))):
        image.info["exif"] = written  # where `getexif` looks
    return image


def read_photograph(path: Path, budget: Budget = BUDGET) -> Picture:
    """Read a picture file, upright; `Unreadable` if that fails. Of several frames or pages the first is taken, with a
    warning in the log.

    16 bits are kept from PNG, and of gray from TIFF; Pillow opens all else with 8.
    """
    try:
        with opened(path, str(path), budget) as image:
            if image.format in SEQUENCES and (frames := getattr(image, "n_frames", 1)) > 1:
                log.warning("%s: of its %d frames or pages only the first is taken", path, frames)
            if png16.is_16_bit(image):
                planes = png16.read(path.read_bytes(), str(path), budget)
                return replace(_of_16_bits(planes, image.info), exif=carried(image), left_out=left_out(image))
            if image.format == "TIFF" and image.mode in ("RGB", "RGBA", "CMYK") and ";16" in png16.unpacking(image):
                raise ValueError("Pillow would read its 16 bits as 8; with --white 65535 it is read as a raster")
            load(image, path)
            return from_pillow(image)
    except Unreadable:
        raise
    except Exception as error:  # Pillow's plugins raise many kinds
        raise Unreadable(str(path), reason_of(error)) from error


def _of_16_bits(planes: Numbers, info: dict[Any, Any]) -> Picture:
    icc, key = info.get("icc_profile"), info.get("transparency")
    if len(planes) in (2, 4):
        return Picture(numbers=planes[:-1], alpha=planes[-1], white=65535, icc=icc)
    if key is None:
        return Picture(numbers=planes, white=65535, icc=icc)
    is_key = (planes == np.array(key)[:, None, None]).all(axis=0)  # one colour that is transparent
    return Picture(numbers=planes, alpha=np.where(is_key, 0, 65535).astype(np.uint16), white=65535, icc=icc)


def write_photograph(path: Path, suffix: str, picture: Picture) -> list[str]:
    """Write a picture in the format of `suffix`, whatever `path` is called; the kinds of metadata that are left out.

    Raises ValueError if the format cannot hold the picture.
    """
    options, planes, lost = dict(WRITE_OPTIONS[suffix]), picture.planes(), list(picture.left_out)
    name, (height, width) = options["format"], planes.shape[1:]
    exif = sized(picture.exif, width, height) if picture.exif else None
    written = block(exif) if exif else None
    if exif and (written is None or (name == "JPEG" and len(written) > MOST_IN_JPEG)):
        lost.append("EXIF")
        written = None
    if name == "PNG" and planes.dtype == np.uint16:
        png16.write(path, planes, picture.icc, written)
        return lost
    if name == "JPEG" and picture.alpha is not None:
        raise ValueError("JPEG has no transparency, and the picture has; PNG keeps it")
    if planes.dtype == np.uint16 and (name != "TIFF" or len(planes) > 1):
        raise ValueError(f"{name} would have 8 bits, and the picture has 16; PNG keeps them")
    if (side := max(height, width)) > (limit := MOST_SIDE.get(name, side)):
        raise ValueError(f"{name} holds at most {limit} pixels per side, and the picture has {side}; PNG holds more")
    if written and name != "TIFF":
        options["exif"] = written
    to_pillow(replace(picture, exif=None)).save(path, icc_profile=picture.icc, **options)
    if exif and written and name == "TIFF":
        append_to_tiff(path, exif)
    return lost
