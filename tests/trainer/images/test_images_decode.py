"""Any picture file is decoded to RGB as viewers show it."""

import pickle
import struct
import zlib
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from trainer.images.decode import decode
from trainer.images.opened import Unreadable

SHARED = Path(__file__).parents[3].parent / "shared"
ODD = SHARED / "data" / "bench" / "odd_inputs"
RAMP = np.array([[0, 127, 128, 255, 256, 257, 32768, 65407, 65535]], dtype=np.uint16)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png16(samples: np.ndarray, colour_type: int) -> bytes:
    """A 16-bit PNG of [H, W, bands] by hand: Pillow cannot write RGB of 16 bits."""

    def chunk(tag: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + tag + data + struct.pack(">I", zlib.crc32(tag + data))

    height, width = samples.shape[:2]
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


@pytest.fixture
def photo() -> Image.Image:
    y, x = np.mgrid[0:40, 0:60]
    return Image.fromarray(np.stack([4 * x, 6 * y, (x * y) % 256], axis=-1).astype(np.uint8))


def test_rgb_png_is_exact_from_bytes_and_from_a_path(photo: Image.Image, tmp_path: Path) -> None:
    data = encoded(photo)
    (tmp_path / "a.png").write_bytes(data)
    expected = torch.from_numpy(np.array(photo)).permute(2, 0, 1)
    for image in (decode(data, "a"), decode(tmp_path / "a.png", "a")):
        assert image.dtype == torch.uint8
        assert image.shape == (3, 40, 60)
        assert torch.equal(image, expected)


def test_jpeg_is_what_pillow_decodes(photo: Image.Image) -> None:
    data = encoded(photo, "JPEG", quality=90)
    assert np.array_equal(decode(data, "a").permute(1, 2, 0).numpy(), np.array(Image.open(BytesIO(data))))


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_few_colours_become_the_rgb_they_show(photo: Image.Image, mode: str) -> None:
    image = photo.convert(mode)
    expected = np.array(image.convert("RGB"))
    assert np.array_equal(decode(encoded(image), "a").permute(1, 2, 0).numpy(), expected)


def test_cmyk_comes_back_as_the_colours_it_prints() -> None:
    inks = {"white": (0, 0, 0, 0), "black": (0, 0, 0, 255), "red": (0, 255, 255, 0)}
    colours = {"white": [255, 255, 255], "black": [0, 0, 0], "red": [255, 0, 0]}
    for name, ink in inks.items():
        image = decode(encoded(Image.new("CMYK", (8, 8), ink), "JPEG", quality=100), name)
        assert (image[:, 4, 4].int() - torch.tensor(colours[name])).abs().max() <= 2, name


def test_transparency_shows_white_and_not_the_hidden_colour() -> None:
    hidden = Image.new("RGBA", (2, 1), (0, 255, 0, 0))
    hidden.putpixel((1, 0), (200, 100, 0, 255))
    expected = [[255, 255, 255], [200, 100, 0]]
    assert decode(encoded(hidden), "rgba")[:, 0].T.tolist() == expected

    gray = Image.new("LA", (2, 1), (7, 0))
    gray.putpixel((1, 0), (90, 255))
    assert decode(encoded(gray), "la")[:, 0].T.tolist() == [[255] * 3, [90] * 3]

    keyed = Image.new("RGB", (2, 1), (0, 255, 0))
    keyed.putpixel((1, 0), (200, 100, 0))
    assert decode(encoded(keyed, transparency=(0, 255, 0)), "tRNS")[:, 0].T.tolist() == expected

    palette = Image.new("P", (2, 1))
    palette.putpalette([0, 255, 0, 200, 100, 0])
    palette.putpixel((1, 0), 1)
    assert decode(encoded(palette, transparency=b"\x00\xff"), "palette")[:, 0].T.tolist() == expected


def test_half_transparency_is_mixed_with_white() -> None:
    image = decode(encoded(Image.new("RGBA", (1, 1), (0, 0, 255, 128))), "a")
    assert image[:, 0, 0].tolist() == [127, 127, 255]


def test_16_bit_gray_is_scaled_and_rounded() -> None:
    expected = [0, 0, 0, 1, 1, 1, 128, 255, 255]
    assert decode(png16(RAMP[..., None], 0), "a")[:, 0].tolist() == [expected] * 3
    tiff = encoded(Image.fromarray(RAMP), "TIFF")
    assert decode(tiff, "a")[0, 0].tolist() == expected
    portable = b"P5 9 1 65535\n" + RAMP.astype(">u2").tobytes()
    assert decode(portable, "a")[0, 0].tolist() == expected


@pytest.mark.parametrize(("colour_type", "bands"), [(2, 3), (6, 4), (4, 2)])
def test_16_bit_colour_is_within_one_level_of_rounding(colour_type: int, bands: int) -> None:
    samples = np.repeat(RAMP[..., None], bands, axis=-1)
    if bands in (2, 4):
        samples[..., -1] = 65535
    image = decode(png16(samples, colour_type), "a").int()
    assert (image - torch.from_numpy(np.round(RAMP / 257)).int()).abs().max() <= 1
    assert image[:, 0, -1].tolist() == [255] * 3


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(photo: Image.Image, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = decode(encoded(photo, exif=exif), "a").permute(1, 2, 0).numpy()
    upright = np.array(photo)
    mirrored = {2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1], 5: upright.transpose(1, 0, 2)}
    turned = {6: np.rot90(upright, -1), 7: np.rot90(upright, 2).transpose(1, 0, 2), 8: np.rot90(upright)}
    assert np.array_equal(image, {1: upright, **mirrored, **turned}[orientation])


def test_first_frame_of_an_animation_counts() -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "WEBP", save_all=True, append_images=frames[1:], lossless=True)
    assert decode(data, "a")[:, 0, 0].tolist() == [255, 0, 0]


def test_broken_files_are_unreadable_with_a_reason(tmp_path: Path) -> None:
    y, x = np.mgrid[0:400, 0:400]
    photo = Image.fromarray((x * x * y % 251).astype(np.uint8))  # of some hundred kB: the cut lies within the pixels
    png, jpeg = encoded(photo), encoded(photo, "JPEG")
    broken = {
        b"": "not a picture in a format that is read",
        b"<html>404</html>": "not a picture in a format that is read",
        png[: len(png) // 2]: "image file is truncated",
        jpeg[: len(jpeg) // 2]: "image file is truncated",
        png[:20]: "Truncated File Read",
    }
    for data, reason in broken.items():
        with pytest.raises(Unreadable, match=reason) as caught:
            decode(data, "bad.png")
        assert str(caught.value).startswith("bad.png: ")
    with pytest.raises(Unreadable, match=r"^x: the file is gone$"):
        decode(tmp_path / "absent.png", "x")


def test_samples_without_an_agreed_white_are_refused() -> None:
    with pytest.raises(Unreadable, match="floating-point samples have no agreed white level"):
        decode(encoded(Image.new("F", (4, 4), 0.5), "TIFF"), "float")
    with pytest.raises(Unreadable, match="32-bit samples have no agreed white level"):
        decode(encoded(Image.new("I", (4, 4), 70000), "TIFF"), "int")
    negative = Image.new("I", (4, 4), 70)
    negative.putpixel((1, 2), -1)
    with pytest.raises(Unreadable, match="32-bit samples have no agreed white level"):
        decode(encoded(negative, "TIFF"), "int")


def test_size_is_limited_before_decoding_and_by_us_alone() -> None:
    huge = b"P6 20000 20000 255\n" + bytes(60_000)
    with pytest.raises(Unreadable, match="20000x20000 pixels of RGB would take 4197 MiB of memory, and "):
        decode(huge, "huge")
    large = b"P6 13900 13900 255\n" + bytes(60_000)  # 193 megapixels, which Pillow by itself would call a bomb
    with pytest.raises(Unreadable, match="image file is truncated"):
        decode(large, "large")


def test_unreadable_travels_between_processes() -> None:
    error = pickle.loads(pickle.dumps(Unreadable("a.png", "truncated")))
    assert (error.name, error.reason, str(error)) == ("a.png", "truncated", "a.png: truncated")


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "P", "I;16", "CMYK"])
def test_a_picture_in_strips_is_the_whole(photo: Image.Image, mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.fromarray(np.asarray(photo)[..., 0].astype(np.uint16) * 257) if mode == "I;16" else photo
    image = image if mode == "I;16" else image.convert(mode)
    if mode == "RGBA":
        image.putalpha(photo.convert("L"))
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(image, "TIFF", exif=exif)
    whole = decode(data, "a")
    monkeypatch.setattr("trainer.images.decode.STRIP", 170)  # 4 rows of 40 pixels, and a last strip of other height
    assert torch.equal(decode(data, "a"), whole)
    assert whole.shape == (3, 60, 40)


@pytest.mark.skipif(not ODD.is_dir(), reason="the shared pictures are not here")
def test_upstreams_odd_inputs_all_decode() -> None:
    shapes = {path.name: tuple(decode(path, path.name).shape) for path in sorted(ODD.iterdir())}
    assert shapes["tree_alpha_16bit.png"] == (3, 256, 342)
    assert shapes["wolf_gray.jpg"] == (3, 236, 236)
    assert len(shapes) == 9
    gray = decode(ODD / "wolf_gray.jpg", "wolf")
    assert torch.equal(gray[0], gray[2])
    tree = decode(ODD / "tree_alpha_16bit.png", "tree")
    assert tree[:, 0, 0].tolist() == [255, 255, 255], "the corner is transparent"
