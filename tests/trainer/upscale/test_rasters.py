"""Rasters keep their bands, their type and their georeference."""

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.images.opened import Budget, Unreadable
from trainer.images.radiometry import Radiometry
from trainer.networks import SRVGGNetCompactConfig
from trainer.upscale.__main__ import main
from trainer.upscale.rasters import is_raster, read_raster, write_raster

rasterio = pytest.importorskip("rasterio")
PLACE = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 600000, 0, -10, 5700000)}

POINTS = [rasterio.control.GroundControlPoint(row, column, column, row) for row, column in ((0, 0), (0, 9), (9, 0))]


def numbers(bands: int, kind: str = "uint16") -> np.ndarray[Any, Any]:
    values = np.linspace(0, 200 if kind == "uint8" else 10000, bands * 12 * 17).reshape(bands, 12, 17)
    return (values / 10000 if kind == "float32" else values).astype(kind)


def write(path: Path, values: np.ndarray[Any, Any], **profile: Any) -> Path:
    bands, height, width = values.shape
    profile = {**PLACE, **profile}
    with rasterio.open(path, "w", "GTiff", width, height, bands, dtype=values.dtype.name, **profile) as file:
        file.write(values)
        file.descriptions = [f"B{band:02}" for band in range(1, bands + 1)]
        file.update_tags(SENSOR="MSI")
    return path


def export(folder: Path, bands: int) -> str:
    torch.manual_seed(0)
    SRVGGNetCompactConfig(num_feat=4, num_conv=1, init="residual").build(2, bands).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize(
    ("kind", "white"), [("uint8", "255"), ("uint16", "10000"), ("int16", "10000"), ("float32", "1")]
)
@pytest.mark.parametrize("bands", [1, 4])
def test_bands_type_and_place_are_kept(kind: str, white: str, bands: int, tmp_path: Path) -> None:
    source = write(tmp_path / "scene.tif", numbers(bands, kind))
    model = export(tmp_path / "model", bands)
    out = tmp_path / "out"
    assert main(["--model", model, "--input", str(source), "--output", str(out), "--white", white]) == 0
    with rasterio.open(out / "scene.tif") as file:
        assert (file.count, file.height, file.width, file.dtypes) == (bands, 24, 34, (kind,) * bands)
        assert file.crs == rasterio.CRS.from_epsg(32633)
        assert file.transform == rasterio.Affine(5, 0, 600000, 0, -5, 5700000)
        assert file.descriptions == tuple(f"B{band:02}" for band in range(1, bands + 1))
        assert file.tags()["SENSOR"] == "MSI"
        # the network is still the nearest neighbour, to which its last layer adds zeros
        nearest = numbers(bands, kind).repeat(2, axis=1).repeat(2, axis=2)
        np.testing.assert_allclose(file.read().astype(float), nearest.astype(float), rtol=1e-6, atol=0)


def test_another_size_covers_the_same_ground(tmp_path: Path) -> None:
    source, model = write(tmp_path / "scene.tif", numbers(4)), export(tmp_path / "model", 4)
    command = ["--model", model, "--input", str(source), "--output", str(tmp_path / "out"), "--white", "10000"]
    assert main([*command, "--outscale", "3"]) == 0
    with rasterio.open(source) as before, rasterio.open(tmp_path / "out" / "scene.tif") as after:
        assert after.shape == (36, 51)
        assert after.bounds == pytest.approx(before.bounds)


def test_no_data_stays_no_data(tmp_path: Path) -> None:
    values = numbers(2) + 1
    values[:, 3:6, 4:9] = 0
    picture = read_raster(write(tmp_path / "scene.tif", values, nodata=0), 2, 1, 10000)
    assert picture.numbers.min() == 1
    write_raster(tmp_path / "same.tif", picture)
    with rasterio.open(tmp_path / "same.tif") as file:
        assert file.nodata == 0
        assert np.array_equal(file.read(), values)


def test_a_band_of_transparency_is_no_band_of_the_picture(tmp_path: Path) -> None:
    values = numbers(4, "uint8")
    source = write(tmp_path / "a.tif", values, photometric="RGB", alpha="YES")
    picture = read_raster(source, 3, None, None)
    assert picture.alpha is not None
    assert np.array_equal(picture.planes(), values)
    assert len(picture.numbers) == 3
    assert read_raster(source, 4, None, None).alpha is None
    write_raster(tmp_path / "b.tif", picture)
    with rasterio.open(tmp_path / "b.tif") as file:
        assert file.colorinterp[-1].name == "alpha"


def test_what_counts_as_a_raster(tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.tif")
    Image.new("RGB", (4, 4)).save(tmp_path / "photo.png")
    assert not is_raster(tmp_path / "photo.tif")
    assert not is_raster(tmp_path / "photo.png")
    assert is_raster(write(tmp_path / "placed.tif", numbers(3, "uint8")))
    assert is_raster(write(tmp_path / "bands.tif", numbers(6)))


@pytest.mark.parametrize(
    ("values", "profile", "said"),
    [
        (numbers(4), {}, "its numbers are uint16: which of them means 1 must be said with --white"),
        (numbers(4).astype(np.complex64), {}, "its bands are complex64, complex64, complex64, complex64; wanted one"),
        (
            numbers(4),
            {"transform": None, "gcps": POINTS},
            "it is placed by control points",
        ),
    ],
)  # fmt: skip
def test_what_cannot_be_scaled_or_placed_is_said(
    values: np.ndarray[Any, Any], profile: dict[str, Any], said: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "scene.tif", values, **profile)
    with pytest.raises(Unreadable, match=said):
        read_raster(source, 4, None, 10000 if "gcps" in profile else None)


def test_whoever_reads_a_raster_it_must_not_be_too_large(tmp_path: Path) -> None:
    size = {"width": 2**16, "height": 2**15, "count": 1, "dtype": "uint8"}
    with rasterio.open(tmp_path / "a.tif", "w", "GTiff", **size, **PLACE, sparse_ok=True, tiled=True):
        pass  # a file whose tiles are missing
    said = r"a(\.tif)?: 65536x32768 pixels of 1 bands of 8 bits would take \d+ MiB of memory, and images.max_pict"
    with pytest.raises(Unreadable, match=said):
        read_raster(tmp_path / "a.tif", 1, None, None, Budget(2047))
    for data in (tmp_path / "a.tif", (tmp_path / "a.tif").read_bytes()):
        with pytest.raises(Unreadable, match=said):
            Radiometry(bands=(1,), white=255).decode(data, "a")


def test_files_without_a_place_are_read_in_threads_without_a_warning(tmp_path: Path) -> None:
    """Warning filters are the process's: no thread may restore what another has changed."""
    meaning = Radiometry(bands=(1, 2, 3), white=255)
    with Image.new("RGB", (4, 4)) as image:
        image.save(tmp_path / "a.tif")
    before = list(warnings.filters)
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: meaning.decode(tmp_path / "a.tif", "a"), range(200)))
    assert len(found) == 200  # had a warning become an error, files would be missing
    assert warnings.filters == before


def test_a_broken_raster_is_unreadable(tmp_path: Path) -> None:
    (tmp_path / "a.tif").write_bytes(b"II*\0nothing")
    with pytest.raises(Unreadable, match=r"a\.tif"):
        read_raster(tmp_path / "a.tif", 3, None, None)


def test_a_raster_is_written_as_tiff_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, model = write(tmp_path / "scene.tif", numbers(3, "uint8")), export(tmp_path / "model", 3)
    command = ["--model", model, "--input", str(source), "--output", str(tmp_path / "out"), "--format", "png"]
    assert main(command) == 1
    assert "a raster keeps its bands and its place as .tif only" in capsys.readouterr().err


def test_bands_that_the_network_does_not_take_are_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, model = write(tmp_path / "scene.tif", numbers(6)), export(tmp_path / "model", 4)
    assert main(["--model", model, "--input", str(source), "--output", str(tmp_path / "o"), "--white", "1e4"]) == 1
    assert "it has 6 bands, and the network is for 4" in capsys.readouterr().err
