"""Bit depth, transparency, orientation and colour profile are kept by reading and writing."""

from dataclasses import replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from trainer.images.opened import Unreadable
from trainer.upscale import png16
from trainer.upscale.photographs import from_pillow, read_photograph, to_pillow, write_photograph
from trainer.upscale.picture import Numbers, Picture

ODD = Path(__file__).parents[3].parent / "shared" / "data" / "bench" / "odd_inputs"
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def levels(*shape: int, kind: type = np.uint8) -> Numbers:
    """Every level, in an irregular order."""
    count = int(np.prod(shape))
    return (
        (np.arange(count, dtype=np.uint64) * 2654435761 // 977 % (np.iinfo(kind).max + 1)).astype(kind).reshape(shape)
    )


@pytest.mark.parametrize("channels", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(1, 1), (7, 5), (40, 61)])
@pytest.mark.parametrize("icc", [None, SRGB])
def test_png_of_16_bits_is_exact(channels: int, size: tuple[int, int], icc: bytes | None, tmp_path: Path) -> None:
    numbers = levels(channels, *size, kind=np.uint16)
    png16.write(tmp_path / "a.png", numbers, icc)
    picture = read_photograph(tmp_path / "a.png")
    assert np.array_equal(picture.planes(), numbers)
    assert picture.white == 65535
    assert (picture.alpha is not None) == (channels in (2, 4))
    assert picture.icc == icc
    with Image.open(tmp_path / "a.png") as image:  # Pillow reads the high bytes, and checks every checksum
        seen = np.asarray(image)
    if channels > 2:
        assert np.array_equal(seen, (numbers >> 8).transpose(1, 2, 0))


def test_png_is_written_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = levels(3, 33, 20, kind=np.uint16)
    png16.write(tmp_path / "one.png", numbers, None)
    monkeypatch.setattr(png16, "BLOCK", 700)
    png16.write(tmp_path / "many.png", numbers, None)
    assert np.array_equal(read_photograph(tmp_path / "many.png").numbers, numbers)


def test_16_bits_of_a_real_file_are_those_that_another_reader_finds() -> None:
    rasterio = pytest.importorskip("rasterio")
    if not ODD.is_dir():
        pytest.skip("the demo pictures are not here")
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning), rasterio.open(ODD / "tree_alpha_16bit.png") as file:
        expected = file.read()
    assert len(np.unique(expected)) > 256
    assert np.array_equal(read_photograph(ODD / "tree_alpha_16bit.png").planes(), expected)


def test_orientation_is_applied_and_gone(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    samples = levels(4, 9, 3)
    Image.fromarray(samples).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_photograph(tmp_path / "a.png").numbers, np.rot90(samples, -1).transpose(2, 0, 1))


def test_orientation_of_16_bits(tmp_path: Path) -> None:
    numbers, exif = levels(3, 4, 9, kind=np.uint16), Image.Exif()
    exif[0x0112] = 6
    png16.write(tmp_path / "a.png", numbers, None)
    data, chunk = (tmp_path / "a.png").read_bytes(), png16._chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    (tmp_path / "a.png").write_bytes(data[:33] + chunk + data[33:])  # after the header
    assert np.array_equal(read_photograph(tmp_path / "a.png").numbers, np.rot90(numbers, -1, axes=(1, 2)))


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif"])
def test_the_colour_profile_is_kept(kind: str, tmp_path: Path) -> None:
    Image.fromarray(levels(8, 8, 3)).save(tmp_path / f"a.{kind}", icc_profile=SRGB)
    picture = read_photograph(tmp_path / f"a.{kind}")
    write_photograph(tmp_path / "b", f".{kind}", picture)
    with Image.open(tmp_path / "b") as image:
        assert image.info["icc_profile"] == SRGB


@pytest.mark.parametrize(
    ("mode", "bands", "has_alpha"),
    [("1", 1, False), ("L", 1, False), ("LA", 1, True), ("P", 3, False), ("RGB", 3, False), ("RGBA", 3, True),
     ("CMYK", 3, False), ("YCbCr", 3, False)],
)  # fmt: skip
def test_every_mode_becomes_gray_or_rgb(mode: str, bands: int, has_alpha: bool) -> None:
    image = Image.fromarray(levels(8, 9, 4 if has_alpha else 3)).convert(mode)
    picture = from_pillow(image)
    assert picture.numbers.shape == (bands, 8, 9)
    assert (picture.alpha is not None) == has_alpha
    wanted = image.convert(("L" if bands == 1 else "RGB") + "A" * has_alpha)
    assert np.array_equal(np.asarray(to_pillow(picture)), np.asarray(wanted))


def test_a_transparent_colour_of_a_palette_becomes_transparency() -> None:
    image = Image.fromarray(levels(8, 8) % 4)
    image.putpalette([255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 9, 9])
    image.info["transparency"] = 2
    alpha = from_pillow(image).alpha
    assert alpha is not None
    assert np.array_equal(alpha == 0, np.asarray(image) == 2)


def test_a_transparent_colour_of_16_bits_becomes_transparency(tmp_path: Path) -> None:
    numbers = levels(3, 4, 5, kind=np.uint16)
    png16.write(tmp_path / "a.png", numbers, None)
    data, key = (tmp_path / "a.png").read_bytes(), numbers[:, 2, 3].astype(">u2").tobytes()
    (tmp_path / "a.png").write_bytes(data[:33] + png16._chunk(b"tRNS", key) + data[33:])
    picture = read_photograph(tmp_path / "a.png")
    assert picture.alpha is not None
    assert np.argwhere(picture.alpha == 0).tolist() == [[2, 3]]
    assert np.array_equal(picture.numbers, numbers)


def test_cmyk_with_a_profile_that_is_none_says_so(tmp_path: Path) -> None:
    Image.new("CMYK", (8, 8)).save(tmp_path / "a.jpg", icc_profile=b"no profile at all" * 20)
    with pytest.raises(Unreadable, match="profile"):
        read_photograph(tmp_path / "a.jpg")


@pytest.mark.parametrize(
    ("content", "said"),
    [(b"no picture", "not a picture in a format that is read"), (b"", "not a picture in a format that is read"),
     (b"cut", "truncated")],
)  # fmt: skip
def test_what_is_no_picture_is_unreadable(content: bytes, said: str, tmp_path: Path) -> None:
    if content == b"cut":
        buffer = BytesIO()
        Image.fromarray(levels(64, 64, 3)).save(buffer, "PNG")
        content = buffer.getvalue()[: len(buffer.getvalue()) // 2]
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(Unreadable, match=said):
        read_photograph(tmp_path / "a.png")


def test_floats_are_refused(tmp_path: Path) -> None:
    Image.new("F", (4, 4), 0.5).save(tmp_path / "a.tif")
    with pytest.raises(Unreadable, match="no agreed white level"):
        read_photograph(tmp_path / "a.tif")


def test_what_a_format_cannot_hold_is_said(tmp_path: Path) -> None:
    clear = Picture(numbers=levels(3, 4, 4), alpha=levels(4, 4), white=255)
    with pytest.raises(ValueError, match="JPEG has no transparency"):
        write_photograph(tmp_path / "a", ".jpg", clear)
    for suffix in (".jpg", ".webp", ".tif"):
        with pytest.raises(ValueError, match="would have 8 bits, and the picture has 16"):
            write_photograph(tmp_path / "a", suffix, Picture(numbers=levels(3, 4, 4, kind=np.uint16), white=65535))


def test_gray_of_16_bits_is_kept_as_tiff(tmp_path: Path) -> None:
    numbers = levels(1, 4, 5, kind=np.uint16)
    write_photograph(tmp_path / "a", ".tif", Picture(numbers=numbers, white=65535))
    assert np.array_equal(read_photograph(tmp_path / "a").numbers, numbers)


def phone_exif() -> Image.Exif:
    """EXIF as a phone writes it for a picture of 9x3 pixels: camera, date, place, orientation, maker's own notes."""
    exif = Image.Exif()
    exif.update({0x010F: "Maker", 0x0110: "Phone", 0x0132: "2026:11:26 10:00:00", 0x0112: 6, 0x0213: 1})
    exif[0x8769] = {
        0x9003: "2026:11:26 10:00:00",
        0x829A: 0.01,
        0x927C: b"notes",
        0xA002: 9,
        0xA003: 3,
        0xA005: {1: "R"},
    }
    exif[0x8825] = {1: "N", 2: (48.0, 8.0, 30.0), 3: "E", 4: (11.0, 34.0, 0.0)}
    return exif


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "tif", "16 bits.png"])
def test_exif_is_kept_upright_and_with_the_new_size(kind: str, tmp_path: Path) -> None:
    source, written = tmp_path / f"a.{kind}", phone_exif().tobytes()
    if kind == "16 bits.png":
        png16.write(source, levels(3, 3, 9, kind=np.uint16), None, written)
    else:
        Image.fromarray(levels(3, 9, 3)).save(source, exif=written)
    picture = read_photograph(source)
    assert picture.numbers.shape == (3, 9, 3)
    large = replace(picture, numbers=picture.numbers.repeat(2, axis=1).repeat(2, axis=2))
    assert write_photograph(tmp_path / "b", source.suffix, large) == []
    with Image.open(tmp_path / "b") as result:
        assert result.size == (6, 18)
        exif = result.getexif()
        kept = [exif.get(tag) for tag in (0x010F, 0x0110, 0x0132, 0x0112, 0x0213)]
        upright = None if kind == "tif" else 1  # Pillow turns a TIFF by itself, and takes the tag away
        assert kept == ["Maker", "Phone", "2026:11:26 10:00:00", upright, None]
        camera = exif.get_ifd(0x8769)
        assert (camera[0x9003], camera[0x829A], camera[0x927C]) == ("2026:11:26 10:00:00", 0.01, b"notes")
        assert (camera[0xA002], camera[0xA003], 0xA005 in camera) == (6, 18, False)
        assert exif.get_ifd(0x8825)[2] == (48.0, 8.0, 30.0)


def test_exif_that_a_jpeg_cannot_hold_is_named(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x8769] = {0x927C: b"n" * 70_000}
    picture = Picture(numbers=levels(3, 4, 4), white=255, exif=exif, left_out=("XMP",))
    assert write_photograph(tmp_path / "a", ".jpg", picture) == ["XMP", "EXIF"]
    assert write_photograph(tmp_path / "b", ".png", picture) == ["XMP"]


def test_damaged_exif_is_left_out_and_named(tmp_path: Path) -> None:
    Image.fromarray(levels(9, 3)).save(tmp_path / "a.jpg", exif=b"Exif\0\0no directory", comment="by hand")
    picture = read_photograph(tmp_path / "a.jpg")
    assert (picture.exif, picture.left_out) == (None, ("EXIF", "comments"))
