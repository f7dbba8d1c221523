"""Read and write GeoTIFF by rasterio, with all bands, their type and their georeference."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import UnidentifiedImageError

from trainer.images.opened import BUDGET, Budget, Unreadable, opened, reason_of
from trainer.images.radiometry import describe, opened_raster
from trainer.upscale.picture import Georeference, Numbers, Picture

SUFFIXES = frozenset({".tif", ".tiff"})
GEO_TAGS = frozenset({33550, 33922, 34264, 34735})
"""Pixel scale, tie points, transformation and keys: any of them places a TIFF on Earth (OGC 19-008r4)."""
TYPES = frozenset({"uint8", "int8", "uint16", "int16", "float32", "float64"})
ABOUT = ("nodata", "descriptions", "units", "scales", "offsets")
"""Attributes copied from dataset to dataset."""
UNBOUNDED = Budget(mib=2**40)


def is_raster(path: Path) -> bool:
    """True if a file is a georeferenced TIFF, or one with bands that no photograph has."""
    if path.suffix.lower() not in SUFFIXES:
        return False
    try:
        with opened(path, str(path), UNBOUNDED) as image:  # of which the header is all that is read
            return not GEO_TAGS.isdisjoint(getattr(image, "tag_v2", ()))
    except UnidentifiedImageError:
        return True
    except OSError as error:
        raise Unreadable(str(path), reason_of(error)) from error


def read_raster(path: Path, bands: int, black: float | None, white: float | None, budget: Budget = BUDGET) -> Picture:
    """Read all bands. Numbers that mean "no data" become `black`. A last band marked as alpha is one only if `bands`
    others come before it: GDAL marks the fourth of four 8-bit bands so, whatever it is.

    Raises `Unreadable` for what cannot be read, placed or scaled: `white` may be None for 8 bits only, and is then 255.
    """
    name = str(path)
    with opened_raster(path, name, "--input") as file:
        kind = file.dtypes[0]
        if len(set(file.dtypes)) > 1 or kind not in TYPES:
            raise Unreadable(name, f"its bands are {', '.join(file.dtypes)}; wanted one of {', '.join(sorted(TYPES))}")
        if white is None and kind != "uint8":
            raise Unreadable(name, f"its numbers are {kind}: which of them means 1 must be said with --white")
        if file.gcps[0] or file.rpcs:
            raise Unreadable(name, "it is placed by control points or polynomials; rectify it first")
        size = np.dtype(kind).itemsize + (file.nodata is not None)  # and the mask of "no data"
        budget.check(name, describe(file), file.width * file.height * file.count * size)
        low = 0.0 if black is None else black
        numbers = file.read()
        absent = _absent(numbers, file.nodata)
        if absent is not None:
            numbers[absent] = low
        about = {key: getattr(file, key) for key in ABOUT} | {"crs": file.crs, "colorinterp": file.colorinterp}
        tags = [file.tags(), *(file.tags(band) for band in file.indexes)]
        georeference = Georeference(size=file.shape, transform=file.transform, about=about, tags=tags, absent=absent)
        has_alpha = file.count == bands + 1 and file.colorinterp[-1].name == "alpha" and numbers.dtype.kind in "iu"
    return Picture(
        numbers=numbers[:-1] if has_alpha else numbers,
        alpha=numbers[-1] if has_alpha else None,
        black=low,
        white=255.0 if white is None else white,
        georeference=georeference,
    )


def _absent(numbers: Numbers, nodata: float | None) -> Numbers | None:
    if nodata is None:
        return None
    absent: Numbers = np.isnan(numbers) if np.isnan(nodata) else numbers == nodata
    return absent if absent.any() else None


def write_raster(path: Path, picture: Picture) -> None:
    """Write a picture as a GeoTIFF that covers the same ground as when it was read, whatever its size is."""
    georeference, planes = picture.georeference, picture.planes()
    assert georeference is not None
    (count, height, width), nodata = planes.shape, georeference.about["nodata"]
    if georeference.absent is not None:
        rows, columns = (
            np.arange(new) * old // new for new, old in zip((height, width), georeference.size, strict=True)
        )
        planes = np.where(georeference.absent[:, rows[:, None], columns], np.array(nodata, planes.dtype), planes)
    profile = {
        "driver": "GTiff",
        "dtype": planes.dtype.name,
        "count": count,
        "height": height,
        "width": width,
        "crs": georeference.about["crs"],
        "nodata": nodata,
        "transform": _finer(georeference.transform, georeference.size[1] / width, georeference.size[0] / height),
        "compress": "deflate",
        "predictor": 3 if planes.dtype.kind == "f" else 2,
        "tiled": True,
        "bigtiff": "if_safer",
    }
    with opened_raster(path, str(path), "--output", "w", **profile) as file:
        file.colorinterp = georeference.about["colorinterp"]
        for key in ABOUT:
            if key != "nodata":
                setattr(file, key, georeference.about[key])
        for band, tags in enumerate(georeference.tags):
            file.update_tags(band, **tags)
        file.write(planes)


def _finer(transform: Any, width: float, height: float) -> Any:
    """An Affine for pixels that are `width` and `height` of the former ones wide and high."""
    a, b, c, d, e, f = transform[:6]
    return type(transform)(a * width, b * height, c, d * width, e * height, f)
