"""Multi-band pictures: the declared meaning of their numbers, and reports of files that cannot be read."""

import warnings
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from trainer.images.crops import TrainingImages, TrainingImagesConfig
from trainer.images.hub_dataset import HubDataset
from trainer.images.opened import Unreadable
from trainer.images.radiometry import Radiometry
from trainer.images.sources import Folder
from trainer.lifecycle.open_images import notes_on_levels, open_training

rasterio = pytest.importorskip("rasterio", reason="rasters are read by rasterio: pip install 'wildsr[geo]'")

FOUR = Radiometry(bands=(3, 2, 1, 4), black=1000, white=11000)


def numbers(bands: int = 4, height: int = 40, width: int = 48, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    cells: np.ndarray[Any, Any] = np.arange(bands * height * width).reshape(bands, height, width)
    return (cells * 7919 % 13000).astype(dtype)


def write(path: Path, content: np.ndarray[Any, Any], **profile: Any) -> Path:
    count, height, width = content.shape
    shape = {"count": count, "height": height, "width": width, "dtype": content.dtype}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", driver="GTiff", **shape, **profile) as file:
            file.write(content)
    return path


def expected(content: np.ndarray[Any, Any], meaning: Radiometry) -> np.ndarray[Any, Any]:
    chosen = content.astype(np.float64)[[band - 1 for band in meaning.bands]]
    share = ((chosen - meaning.black) / (meaning.white - meaning.black)).clip(0, 1)
    return np.rint(share * 65535).astype(np.uint16)


@pytest.mark.parametrize("dtype", ["uint16", "int16", "float32"])
def test_digital_numbers_become_levels_as_declared(tmp_path: Path, dtype: str) -> None:
    content = numbers(dtype=dtype)
    file = write(tmp_path / "tile.tif", content)
    for data in (file, file.read_bytes()):
        levels = FOUR.decode(data, "tile")
        assert levels.dtype == torch.uint16
        assert np.array_equal(levels.numpy(), expected(content, FOUR))


def test_no_data_and_not_a_number_are_black(tmp_path: Path) -> None:
    content = numbers(dtype="float32") + 2000
    content[:, 0, 0], content[1, 2, 3] = -9999, np.nan
    levels = FOUR.decode(write(tmp_path / "tile.tif", content, nodata=-9999), "tile")
    assert levels.numpy()[:, 0, 0].tolist() == [0, 0, 0, 0]
    assert levels.numpy()[FOUR.bands.index(2), 2, 3] == 0
    assert int((levels == 0).sum()) == 5


def test_a_folder_of_rasters_is_cut_as_photographs_are(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.tif", numbers(height=40 + number))
    folder = Folder(path=str(tmp_path), radiometry=replace(FOUR, bands=(1, 2, 3)))
    config = TrainingImagesConfig(source=folder, crop_size=16, use_rot=True)
    assert (config.bands, config.radiometry) == (3, folder.radiometry)
    samples = TrainingImages(folder.open(), config, seed=1)
    whole = [folder.open().read(number).numpy() for number in range(3)]
    for position in range(12):
        pixels = samples[position].pixels
        assert (pixels.dtype, pixels.shape, pixels.is_contiguous()) == (torch.uint16, (3, 16, 16), True)
        corner = pixels[:, 0, 0].numpy()[:, None, None]
        assert any((picture == corner).all(0).any() for picture in whole)


def test_arrays_and_encoded_rasters_in_a_dataset(tmp_path: Path) -> None:
    import datasets

    content = numbers(height=20, width=24)
    encoded = BytesIO(write(tmp_path / "tile.tif", content).read_bytes()).getvalue()
    rows = {"pixels": [content.astype(np.int32).tolist()], "file": [{"bytes": encoded, "path": None}], "words": ["no"]}
    saved = datasets.Dataset.from_dict(rows).cast_column("file", datasets.Image(decode=False))
    saved.save_to_disk(tmp_path / "saved")
    source = HubDataset(path=str(tmp_path / "saved"), image_column="pixels", radiometry=FOUR)
    for column in ("pixels", "file"):
        read = replace(source, image_column=column).open().read(0)
        assert np.array_equal(read.numpy(), expected(content, FOUR)), column
    with pytest.raises(Unreadable, match=r"row 0: it holds .*; wanted numbers \[bands, height, width\]"):
        replace(source, image_column="words").open().read(0)
    few = replace(source, radiometry=replace(FOUR, bands=(7,)))
    with pytest.raises(Unreadable, match=r"have the shape \[4, 20, 24\]; wanted .* with at least 7 bands"):
        few.open().read(0)


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    three = write(tmp_path / "three.tif", numbers(bands=3))
    with pytest.raises(Unreadable, match="three: it has 3 bands, and band 4 is wanted"):
        FOUR.decode(three, "three")
    with pytest.raises(Unreadable, match="gone: the file is gone"):
        FOUR.decode(tmp_path / "gone.tif", "gone")
    (tmp_path / "torn.tif").write_bytes(three.read_bytes()[:300])
    with pytest.raises(Unreadable, match="torn: "):
        FOUR.decode(tmp_path / "torn.tif", "torn")
    with pytest.raises(Unreadable, match="bytes: "):
        FOUR.decode(b"not a raster", "bytes")


def test_wrong_declarations() -> None:
    with pytest.raises(ValueError, match=r"bands: got \[0, 1\]; must be numbers from 1 on"):
        Radiometry(bands=(0, 1), white=1)
    with pytest.raises(ValueError, match=r"bands: got \[\]"):
        Radiometry(bands=(), white=1)
    with pytest.raises(ValueError, match="white: got 0; must be above black, 0"):
        Radiometry(bands=(1,), white=0)


def test_a_black_that_the_files_type_does_not_hold(tmp_path: Path) -> None:
    content = numbers(dtype="uint16") + 1
    content[:, 0, 0] = 0
    meaning = replace(FOUR, black=-500.5)
    levels = meaning.decode(write(tmp_path / "tile.tif", content, nodata=0), "tile")
    assert levels.numpy()[:, 0, 0].tolist() == [0, 0, 0, 0]
    assert np.array_equal(levels.numpy()[:, 1:], expected(content, meaning)[:, 1:])


@pytest.mark.parametrize(
    ("white", "said"),
    [
        (8000, ""),
        (
            300,
            "radiometry: black 0 and white 300 are declared, but of the first picture 100 % is at or above white: is ",
        ),
        (1e6, "radiometry: black 0 and white 1e+06 are declared, but of the first picture nothing is above 0.5 % of "),
    ],
)
def test_a_declaration_for_other_numbers_is_doubted(tmp_path: Path, tiny: Any, white: float, said: str) -> None:
    """The numbers are from 1000 to 5000."""
    write(tmp_path / "tile.tif", (numbers() % 4001 + 1000).astype("uint16"))
    source = f"{{type: folder, path: '{tmp_path}', radiometry: {{bands: [1, 2, 3], white: {white}}}}}"
    config = tiny(f"images.source={source}", "validation=null")
    doubts = notes_on_levels(open_training(config), config)
    assert [doubt[: len(said)] for doubt in doubts] == ([said] if said else [])
