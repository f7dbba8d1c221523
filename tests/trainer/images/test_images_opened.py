"""Files that are refused: kinds that are never opened, pictures too large for memory, pictures with missing rows."""

import ast
import os
import socket
import struct
import warnings
import zlib
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from degradations.preview import read_picture
from trainer.config.schema import RunConfig
from trainer.images.decode import decode
from trainer.images.opened import Budget, Unreadable
from trainer.images.radiometry import Radiometry
from trainer.lifecycle.open_images import open_pictures, open_training
from trainer.mistakes import Mistake
from trainer.upscale.photographs import read_photograph
from trainer.upscale.rasters import is_raster, read_raster

ROOT = Path(__file__).parents[3]
SCRIPT = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(MARK) (w) file closefile showpage\n%%EOF\n"


def chunk(tag: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))


def png(width: int, height: int, colour_type: int, channels: int, rows: int, depth: int = 8) -> bytes:
    """A PNG whose stream ends, as it should, behind `rows` of its rows: no byte of the file is missing."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    lines = (b"\0" + bytes([200]) * (width * channels * depth // 8)) * rows
    end = chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + end


READERS: tuple[Callable[[Path], object], ...] = (
    lambda path: decode(path, "a"),
    lambda path: decode(path.read_bytes(), "a"),
    read_photograph,
    lambda path: read_picture(path, 8, 1),
)


def test_nothing_in_the_program_opens_pictures_in_another_way() -> None:
    found = []
    for file in (path for room in ("trainer", "degradations") for path in (ROOT / room).rglob("*.py")):
        for call in (node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)):
            name = ast.unparse(call.func)
            if name == "Image.open" and "formats" not in {keyword.arg for keyword in call.keywords}:
                found.append(f"{file.name}: Image.open without formats")
            if name == "rasterio.open" and file.name != "radiometry.py":
                found.append(f"{file.name}: rasterio.open")
    assert found == []


@pytest.mark.parametrize("read", READERS)
def test_a_format_that_runs_a_program_is_none(read: Callable[[Path], object], tmp_path: Path) -> None:
    ran = tmp_path / "ran"
    ghostscript = tmp_path / "gs"
    ghostscript.write_text(f"#!/bin/sh\ntouch {ran}\nexit 1\n")
    ghostscript.chmod(0o755)
    before = os.environ["PATH"]
    os.environ["PATH"] = f"{tmp_path}:{before}"
    (tmp_path / "cute.jpg").write_bytes(SCRIPT)
    try:
        with pytest.raises((Unreadable, Image.UnidentifiedImageError)):
            read(tmp_path / "cute.jpg")
    finally:
        os.environ["PATH"] = before
    assert not ran.exists()


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    """Opening a FIFO waits for ever, and so would this test."""
    os.mkfifo(tmp_path / "a.tif")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "b.png"))
    meaning = Radiometry(bands=(1,), white=255)
    for path, what in ((tmp_path / "a.tif", "a FIFO"), (tmp_path / "b.png", "a socket"), (tmp_path, "a folder")):
        for read in (decode, meaning.decode):
            with pytest.raises(Unreadable, match=f"x: it is {what}, and only regular files are read"):
                read(path, "x")
        with pytest.raises(Unreadable, match="only regular files are read"):
            read_photograph(path)
    for read_tiff in (is_raster, lambda path: read_raster(path, 3, None, None)):
        with pytest.raises(Unreadable, match="it is a FIFO"):
            read_tiff(tmp_path / "a.tif")
    with pytest.raises(Unreadable, match="it is a device"):
        decode(Path("/dev/zero"), "x")


@pytest.mark.parametrize(
    ("colour_type", "channels", "depth"),
    [(0, 1, 8), (2, 3, 8), (6, 4, 8), (4, 2, 8), (0, 1, 16), (2, 3, 16), (0, 1, 1)],
)
def test_rows_that_are_not_there_are_missed(colour_type: int, channels: int, depth: int, tmp_path: Path) -> None:
    data = png(64, 64, colour_type, channels, 8, depth)
    (tmp_path / "a.png").write_bytes(data)
    for read in (lambda: decode(data, "a"), lambda: read_photograph(tmp_path / "a.png")):
        with pytest.raises(Unreadable, match="truncated"):
            read()
    assert decode(png(64, 64, colour_type, channels, 64, depth), "a").shape == (3, 64, 64)


@pytest.mark.parametrize("height", [8, 9])
def test_an_interlaced_picture_without_its_last_pass_is_missed(height: int) -> None:
    """The last pass has every second row: for an odd height, not the last one."""
    passes = ((0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2))
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 8, height, 8, 0, 0, 0, 1))
    lines = [
        b"".join(b"\0" + bytes([200]) * len(range(left, 8, across)) for _ in range(top, height, down))
        for left, top, across, down in passes
    ]
    for count in (7, 6):
        body = chunk(b"IDAT", zlib.compress(b"".join(lines[:count]))) + chunk(b"IEND", b"")
        data = b"\x89PNG\r\n\x1a\n" + header + body
        if count == 7:
            assert int(decode(data, "a").min()) == 200
        else:
            with pytest.raises(Unreadable, match=r"truncated|unrecognized"):
                decode(data, "a")


@pytest.mark.parametrize("mode", ["1", "L", "P", "LA", "RGB", "RGBA", "CMYK", "I;16"])
@pytest.mark.parametrize("kind", ["PNG", "TIFF", "GIF", "BMP", "WEBP", "PPM"])
def test_a_black_picture_is_a_picture(mode: str, kind: str) -> None:
    buffer = BytesIO()
    try:
        Image.new(mode, (9, 5)).save(buffer, kind)
    except (OSError, ValueError, KeyError):
        return  # the format has no such pictures
    shown = decode(buffer.getvalue(), "black")
    assert shown.shape == (3, 5, 9)
    assert int(shown.max()) == int(shown.min()), "and of one colour: white where it is transparent"


def test_a_few_bytes_are_no_huge_picture() -> None:
    buffer = BytesIO()
    Image.new("RGB", (4000, 4000)).save(buffer, "WEBP", lossless=True)
    assert len(buffer.getvalue()) < 1600
    with pytest.raises(Unreadable, match=r"a: 4000x4000 pixels in \d+ bytes are no picture"):
        decode(buffer.getvalue(), "a")


def test_a_picture_beyond_the_budget_is_refused_before_it_is_decoded(tmp_path: Path) -> None:
    for mode, needed in (("L", 5), ("RGB", 11), ("RGBA", 11)):
        Image.new(mode, (1024, 1024)).save(tmp_path / "a.png")
        assert decode(tmp_path / "a.png", "a", Budget(needed)).shape == (3, 1024, 1024)
        less, path = Budget(needed - 1, "k"), tmp_path / "a.png"
        for read in (lambda path, less: decode(path, "a", less), read_photograph):
            with pytest.raises(Unreadable, match=f"would take {needed} MiB of memory, and k allows {needed - 1}; cut"):
                read(path, less)


@pytest.mark.parametrize(("kind", "needed"), [("WEBP", 19), ("AVIF", 15), ("JPEG2000", 21)])
def test_what_a_decoder_holds_is_counted(kind: str, needed: int) -> None:
    buffer = BytesIO()
    Image.effect_noise((1024, 1024), 40).convert("RGB").save(buffer, kind)
    with pytest.raises(Unreadable, match=f"would take {needed} MiB of memory"):
        decode(buffer.getvalue(), "a", Budget(needed - 1))


def test_every_source_keeps_to_the_key(tmp_path: Path, tiny: Callable[..., RunConfig]) -> None:
    for name, side in (("gt/a.png", 512), ("lq/a.png", 128)):
        (tmp_path / name).parent.mkdir()
        Image.new("RGB", (side, side)).save(tmp_path / name)
    row = {"bytes": (tmp_path / "gt" / "a.png").read_bytes(), "path": None}
    datasets.Dataset.from_dict({"image": [row]}).save_to_disk(tmp_path / "saved")
    folder = f"images.source={{type: folder, path: '{tmp_path / 'gt'}'}}"
    saved = f"images.source={{type: dataset, path: '{tmp_path / 'saved'}'}}"
    pairs = f"images.pairs={{type: pairs, gt: '{tmp_path / 'gt'}', lq: '{tmp_path / 'lq'}'}}"
    alone = ("images.source=null", pairs, "high_order_degradation=false", "queue_size=0")
    for overrides in ((folder,), (saved,), alone):
        for mib, fits in ((3, True), (2, False)):
            config = tiny(*overrides, f"images.max_picture_mib={mib}")
            if fits:
                assert len(open_training(config)) == 1  # type: ignore[arg-type]
                continue
            with pytest.raises(Mistake, match=r"would take 3 MiB of memory, and images\.max_picture_mib allows 2"):
                open_training(config)
    with pytest.raises(Mistake, match=r"^validation\.source\.files: .*images\.max_picture_mib allows 1"):
        open_pictures(tiny("images.max_picture_mib=1"))


def peak(path: Path) -> int:
    """Peak of the memory that decoding a picture adds to a process, in bytes."""

    def now(key: str) -> int:
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith(key)).split()[1])

    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        try:
            Path("/proc/self/clear_refs").write_text("5")  # reset the peak
            before = now("VmRSS")
            decode(path, "a")
            os.write(writing, str(now("VmHWM") - before).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writing)
    with os.fdopen(reading) as pipe:
        return int(pipe.read())


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="needs Linux")
def test_decoding_takes_no_more_than_is_counted(tmp_path: Path) -> None:
    """16-bit gray used to take 27 bytes per pixel, where the budget counts 7."""
    samples = (np.arange(3000 * 3000, dtype=np.uint32) * 7919 >> 3).astype(np.uint16).reshape(3000, 3000)
    Image.fromarray(samples).save(tmp_path / "a.tif")
    assert peak(tmp_path / "a.tif") < 7 * samples.size + 2**26  # and a strip


MASK = '<Metadata><MDI key="INTERNAL_MASK_FLAGS_1">2</MDI></Metadata>'
"""A side file that GDAL takes for the mask of the raster beside it: no pixel counts where it is 0."""


class TestRasters:
    """A text file that GDAL takes for a raster, and that names other files to read."""

    @pytest.fixture
    def named(self, tmp_path: Path) -> Path:
        rasterio = pytest.importorskip("rasterio")
        secret = tmp_path / "secret.tif"
        place = {"crs": "EPSG:32633", "transform": rasterio.Affine(10, 0, 600000, 0, -10, 5700000)}
        with rasterio.open(secret, "w", driver="GTiff", width=8, height=8, count=1, dtype="uint8", **place) as file:
            file.write(np.full((1, 8, 8), 7, np.uint8))
        text = (
            '<VRTDataset rasterXSize="8" rasterYSize="8"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
            f'<SourceFilename relativeToVRT="0">{secret}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>'
            "</VRTRasterBand></VRTDataset>"
        )
        path = tmp_path / "tile.tif"
        path.write_text(text)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path) as file:
                assert file.read().max() == 7, "GDAL itself follows it"
        return path

    def test_a_text_that_names_a_file_is_no_raster(self, named: Path) -> None:
        meaning = Radiometry(bands=(1,), white=255)
        for data in (named, named.read_bytes()):
            with pytest.raises(Unreadable, match="not a raster in a format that is read"):
                meaning.decode(data, "tile")
        with pytest.raises(Unreadable, match="not a raster in a format that is read"):
            read_raster(named, 1, None, None)

    def test_neither_is_a_mask_beside_a_raster(self, named: Path) -> None:
        import rasterio

        meaning = Radiometry(bands=(1,), white=255)
        with rasterio.open(named.with_name("secret.tif")) as file:
            profile = file.profile
        with rasterio.open(named.with_name("zero.tif"), "w", **profile) as file:
            file.write(np.zeros((1, 8, 8), np.uint8))
        named.write_text(named.read_text().replace("secret.tif", "zero.tif").replace("<VRTR", f"{MASK}<VRTR", 1))
        named.rename(named.with_name("secret.tif.msk"))
        levels = meaning.decode(named.with_name("secret.tif"), "a")
        assert (levels.numpy() == 7 * 257).all()

    def test_a_folder_with_the_name_of_a_protocol_is_a_folder(
        self, named: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.chdir(named.parent)
        Path("s3:").mkdir()
        named.with_name("secret.tif").rename("s3:/a.tif")
        assert Radiometry(bands=(1,), white=255).decode(Path("s3:/a.tif"), "a").shape == (1, 8, 8)

    def test_strips_are_the_whole(self, named: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        import rasterio

        numbers = (np.arange(3 * 70 * 40) % 251).astype(np.float32).reshape(3, 70, 40)
        numbers[1, 33, 5] = -1
        profile = {"width": 40, "height": 70, "count": 3, "dtype": "float32", "nodata": -1, "crs": "EPSG:32633"}
        where = rasterio.Affine(10, 0, 600000, 0, -10, 5700000)
        tiles = {"tiled": True, "blockxsize": 16, "blockysize": 16}
        path = named.with_name("a.tif")
        with rasterio.open(path, "w", driver="GTiff", transform=where, **tiles, **profile) as file:
            file.write(numbers)
        meaning = Radiometry(bands=(3, 2), white=200)
        whole = meaning.decode(path, "a")
        monkeypatch.setattr("trainer.images.radiometry.STRIP", 100)
        parts = meaning.decode(path, "a")
        assert np.array_equal(whole.numpy(), parts.numpy())
        assert whole[1, 33, 5] == 0
