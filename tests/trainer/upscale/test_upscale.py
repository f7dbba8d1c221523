"""The command: files and targets, skipped files, and reports of those that failed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, TiffImagePlugin
from torch import nn

from trainer.networks import ImportedNetwork, SRVGGNetCompactConfig
from trainer.upscale import png16
from trainer.upscale.__main__ import main
from trainer.upscale.files import find_jobs
from trainer.upscale.upscaler import Upscaler

ROOT = Path(__file__).parents[3]
ODD = ROOT.parent / "shared" / "data" / "bench" / "odd_inputs"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("model")
    SRVGGNetCompactConfig(init="torch", num_feat=4, num_conv=1).build(2, 3).save_pretrained(folder)
    return str(folder)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """a.png, b.jpg and deep/c.webp, and a text."""
    folder = tmp_path / "photos"
    (folder / "deep").mkdir(parents=True)
    for name, colour in (("a.png", "red"), ("b.jpg", "green"), ("deep/c.webp", "blue")):
        Image.new("RGB", (9, 7), colour).save(folder / name)
    (folder / "read.me").write_text("no picture")
    return folder


def below(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())


def upscale(model: str, source: Path | str, output: Path, *options: str) -> int:
    return main(["--model", model, "--input", str(source), "--output", str(output), *options])


def test_a_folder_keeps_names_formats_and_sub_folders(model: str, photos: Path, tmp_path: Path) -> None:
    assert upscale(model, photos, tmp_path / "out") == 0
    assert below(tmp_path / "out") == ["a.png", "b.jpg", "deep/c.webp"]
    with Image.open(photos / "a.png") as image, Image.open(tmp_path / "out" / "a.png") as result:
        assert (result.format, result.size) == ("PNG", (18, 14))
        assert np.array_equal(np.array(result), np.array(Upscaler.from_pretrained(model)(image)))


def test_one_file(model: str, photos: Path, tmp_path: Path) -> None:
    assert upscale(model, photos / "b.jpg", tmp_path / "out", "--suffix", "_x2", "--format", "png") == 0
    assert below(tmp_path / "out") == ["b_x2.png"]


@pytest.mark.parametrize(("pattern", "made"), [("*.png", ["a.png"]), ("**/*", ["a.png", "b.jpg", "deep/c.webp"])])
def test_a_glob(model: str, photos: Path, tmp_path: Path, pattern: str, made: list[str]) -> None:
    assert upscale(model, photos / pattern, tmp_path / "out") == 0
    assert below(tmp_path / "out") == made


def test_what_is_not_written_becomes_png(model: str, photos: Path, tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(photos / "d.gif")
    assert upscale(model, photos / "d.gif", tmp_path / "out") == 0
    assert below(tmp_path / "out") == ["d.png"]


@pytest.mark.parametrize("kind", ["gif", "png", "tif", "webp"])
def test_frames_and_pages_that_are_lost_are_told(
    model: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "green", "blue")]
    frames[0].save(tmp_path / f"a.{kind}", save_all=True, append_images=frames[1:])
    frames[0].save(tmp_path / f"b.{kind}")
    files = [str(tmp_path / f"{name}.{kind}") for name in "ab"]
    assert main(["--model", model, "--input", *files, "--output", str(tmp_path / "out")]) == 0
    assert f"a.{kind}: of its 3 frames or pages only the first is taken" in caplog.text
    assert f"b.{kind}" not in caplog.text


def test_where_nobody_watches_lines_are_all_that_is_said(model: str, tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "green")]
    for name in "ab":
        frames[0].save(tmp_path / f"{name}.webp", save_all=True, append_images=frames[1:])
    command = [sys.executable, "-m", "trainer.upscale", "--model", model, "--output", str(tmp_path / "out"), "--input"]
    files = [str(tmp_path / f"{name}.webp") for name in "ab"]
    ended = subprocess.run([*command, *files], cwd=ROOT, capture_output=True, text=True, timeout=120, check=True)
    told = [f"{file}: of its 2 frames or pages only the first is taken\n" for file in files]
    assert sorted(ended.stderr.splitlines(keepends=True)) == told


def test_outscale_and_tile(model: str, photos: Path, tmp_path: Path) -> None:
    assert (
        upscale(model, photos / "a.png", tmp_path / "out", "--outscale", "1.5", "--tile", "4", "--dtype", "bf16") == 0
    )
    with Image.open(tmp_path / "out" / "a.png") as result:
        assert result.size == (14, 10)


def test_what_is_there_is_skipped_unless_it_is_to_be_made_anew(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "a.png").write_text("precious")
    assert upscale(model, photos, out) == 0
    assert (out / "a.png").read_text() == "precious"
    assert "2 of 3 files upscaled" in (said := capsys.readouterr().out)
    assert "1 were there already" in said
    assert upscale(model, photos, out, "--overwrite") == 0
    with Image.open(out / "a.png") as result:
        assert result.size == (18, 14)


def test_results_of_an_earlier_run_are_no_inputs(model: str, photos: Path) -> None:
    for _ in range(2):
        assert upscale(model, photos, photos, "--suffix", "_x2") == 0
        assert upscale(model, photos, photos / "large") == 0
    assert [name for name in below(photos) if "_x2_x2" in name or "large/large" in name] == []


@pytest.mark.parametrize("way", ["plain", "overwrite", "link", "glob", "spelled"])
def test_an_original_is_no_result_of_another(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    """`cat.png` and `cat_x2.png` are both inputs, and the result of the first would have the name of the second."""
    (folder := tmp_path / "photos").mkdir()
    for name in ("cat.png", "cat_x2.png"):
        Image.new("RGB", (9, 7), "red").save(folder / name)
    before = (folder / "cat_x2.png").read_bytes()
    (tmp_path / "link").symlink_to(folder)
    monkeypatch.chdir(tmp_path)
    source, output = {
        "link": ("photos", Path("link")),
        "glob": (str(folder / "cat*"), Path("photos")),
        "spelled": (str(folder), folder / ".." / "photos"),
    }.get(way, ("photos", Path("photos")))
    more = ("--overwrite",) if way == "overwrite" else ()
    assert upscale(model, source, output, "--suffix", "_x2", *more) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: --output: the result of ")
    assert "cat.png would replace " in told
    assert "cat_x2.png, which is an input too; give another folder or another --suffix." in told
    assert (folder / "cat_x2.png").read_bytes() == before
    assert below(folder) == ["cat.png", "cat_x2.png"]


def test_an_original_that_takes_the_name_of_a_result_later_is_safe(
    model: str, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert upscale(model, photos, photos, "--suffix", "_x2") == 0
    assert upscale(model, photos, photos, "--suffix", "_x2", "--overwrite") == 0  # results are made anew
    Image.new("RGB", (5, 5)).save(photos / "a_x2.png")
    assert upscale(model, photos, photos, "--suffix", "_x2", "--overwrite") == 2
    assert "a_x2.png, which is an input too" in capsys.readouterr().err


def test_two_links_to_one_picture_are_two_pictures(model: str, photos: Path, tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        (photos / name).symlink_to(photos / "a.png")
    assert upscale(model, photos, tmp_path / "out") == 0
    assert below(tmp_path / "out") == ["a.png", "b.jpg", "deep/c.webp", "one.png", "two.png"]


def test_one_picture_by_several_paths_is_one(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    inputs = [str(photos / "a.png"), str(photos / "deep" / ".." / "a.png"), str(photos / "*.png")]
    assert main(["--model", model, "--input", *inputs, "--output", str(tmp_path / "out")]) == 0
    assert "1 of 1 files upscaled" in capsys.readouterr().out


@pytest.mark.parametrize("pattern", ["", "**/*"])
def test_what_is_left_out_is_counted_by_its_ending(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], pattern: str
) -> None:
    for name in ("x.cr2", "deep/y.CR2", "z.svg", "LICENSE", ".hidden.svg"):
        (photos / name).touch()
    os.mkfifo(photos / "deep" / "pipe.png")
    assert upscale(model, photos / pattern, tmp_path / "out") == 0
    assert capsys.readouterr().out.endswith(
        f"3 of 3 files upscaled into {tmp_path / 'out'}\n"
        "left out, for what they are or how their names end: 2 .cr2, 1 .me, 1 .svg, 1 a FIFO, 1 no ending\n"
    )


def test_exif_is_carried_over_and_other_metadata_named(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exif = Image.Exif()
    exif.update({0x0110: "Phone", 0x0112: 6})
    for name in "ab":
        Image.new("RGB", (9, 7)).save(tmp_path / f"{name}.jpg", exif=exif, comment=b"by hand")
    files = [str(tmp_path / f"{name}.jpg") for name in "ab"]
    assert main(["--model", model, "--input", *files, "--output", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.endswith(f"into {tmp_path / 'out'}\nnot carried over: comments of 2\n")
    with Image.open(tmp_path / "out" / "a.jpg") as result, Image.open(files[0]) as image:
        assert (result.size, dict(result.getexif())) == ((14, 18), {0x0110: "Phone", 0x0112: 1})
        large = Upscaler.from_pretrained(model)(image)
        assert (large.size, dict(large.getexif())) == ((14, 18), {0x0110: "Phone", 0x0112: 1})
        assert image.size == (9, 7)


class Interrupting(nn.Upsample):
    """A network at whose second picture, the only one of 5 pixels, Ctrl-C is pressed."""

    def __init__(self) -> None:
        super().__init__(scale_factor=2)
        self.register_buffer("nothing", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.shape[-1] == 5:
            os.kill(os.getpid(), signal.SIGINT)
        return super().forward(x)


@pytest.mark.parametrize("more", [(), ("--overwrite",)])
def test_ctrl_c_says_in_one_sentence_how_far_it_came(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], more: tuple[str, ...]
) -> None:
    net = ImportedNetwork(f"{__name__}.Interrupting", {}, scale=2)
    net.save_pretrained(tmp_path / "net")
    Image.new("RGB", (5, 5)).save(photos / "b.jpg")
    assert upscale(str(tmp_path / "net"), photos, tmp_path / "out", "--trust", __name__, *more) == 130
    goes_on = "without --overwrite the same command" if more else "the same command"
    assert capsys.readouterr().err == f"stopped; 1 of 3 made; {goes_on} goes on.\n"
    assert below(tmp_path / "out") == ["a.png"]


def test_a_file_that_fails_is_named_and_the_others_are_made(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (photos / "broken.png").write_bytes((photos / "a.png").read_bytes()[:40])
    Image.new("RGBA", (4, 4), (1, 2, 3, 4)).save(photos / "clear.png")
    assert upscale(model, photos, tmp_path / "out", "--format", "jpg") == 1
    assert below(tmp_path / "out") == ["a.jpg", "b.jpg", "deep/c.jpg"]  # and no partial file
    captured = capsys.readouterr()
    assert "3 of 5 files upscaled" in captured.out
    assert "error: 2 failed:" in captured.err
    assert f"  {photos / 'clear.png'}: JPEG has no transparency, and the picture has; PNG keeps it" in captured.err
    assert f"  {photos / 'broken.png'}: " in captured.err


def test_a_folder_that_cannot_be_made_is_a_failure_of_its_file(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "deep").write_text("in the way")
    assert upscale(model, photos, tmp_path / "out") == 1
    target = tmp_path / "out" / "deep" / "c.webp"
    said = f"  {photos / 'deep' / 'c.webp'}: {target} cannot be written: File exists\n"
    assert said in capsys.readouterr().err
    assert below(tmp_path / "out") == ["a.png", "b.jpg", "deep"]


def test_a_folder_in_the_place_of_a_result_does_not_count_as_made(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "out" / "a.png").mkdir(parents=True)
    assert upscale(model, photos, tmp_path / "out") == 1
    assert f"{tmp_path / 'out' / 'a.png'} cannot be written: Is a directory\n" in capsys.readouterr().err


def test_a_name_too_long_for_the_disk_is_a_failure_of_its_file(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "large").mkdir()
    assert upscale(model, photos / "a.png", tmp_path / "large", "--suffix", "s" * 252) == 1
    assert "cannot be written: File name too long" in capsys.readouterr().err


def test_without_rasterio_a_geotiff_is_a_failure_of_its_file_alone(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "rasterio", None)
    placed = TiffImagePlugin.ImageFileDirectory_v2()
    placed[33550] = (10.0, 10.0, 0.0)  # the size of a pixel on the ground
    Image.new("RGB", (9, 7)).save(photos / "scene.tif", tiffinfo=placed)
    assert upscale(model, photos, tmp_path / "out") == 1
    reason = "rasters are read by rasterio; `pip install 'wildsr[geo]'` brings it"
    assert capsys.readouterr().err.endswith(f"error: 1 failed:\n  {photos / 'scene.tif'}: {reason}\n")
    assert below(tmp_path / "out") == ["a.png", "b.jpg", "deep/c.webp"]


class Reflecting(nn.Sequential):
    """A network that pads by reflection, as many published ones do, so that it takes no picture of 4 pixels."""

    def __init__(self) -> None:
        super().__init__(nn.Conv2d(3, 3, 9, padding=4, padding_mode="reflect"), nn.Upsample(scale_factor=2))


def test_a_picture_that_a_network_refuses_is_a_failure_of_its_file_alone(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ImportedNetwork(f"{__name__}.Reflecting", {}, scale=2).save_pretrained(tmp_path / "net")
    Image.new("RGB", (4, 4)).save(photos / "small.png")
    assert upscale(str(tmp_path / "net"), photos, tmp_path / "out", "--trust", __name__) == 1
    captured = capsys.readouterr()
    assert "a sight without a known end: fading into each other" in captured.out
    assert f"error: 1 failed:\n  {photos / 'small.png'}: " in captured.err
    assert below(tmp_path / "out") == ["a.png", "b.jpg", "deep/c.webp"]


@pytest.mark.parametrize(("kind", "most"), [("jpg", 65500), ("webp", 16383)])
def test_a_result_that_its_format_cannot_hold_says_so(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str, most: int
) -> None:
    Image.new("RGB", (most // 2 + 1, 1)).save(tmp_path / "long.png")
    assert upscale(model, tmp_path / "long.png", tmp_path / "out", "--format", kind) == 1
    assert f" holds at most {most} pixels per side, and the picture has {2 * (most // 2 + 1)}; PNG holds more" in (
        capsys.readouterr().err
    )


def test_16_bits_with_transparency_and_profile_come_out_so(model: str, tmp_path: Path) -> None:
    numbers = np.linspace(0, 65535, 4 * 6 * 8).astype(np.uint16).reshape(4, 6, 8)
    png16.write(tmp_path / "a.png", numbers, b"any profile")
    assert upscale(model, tmp_path / "a.png", tmp_path / "out") == 0
    result = png16.read((tmp_path / "out" / "a.png").read_bytes(), "a")
    assert (result.shape, result.dtype) == ((4, 12, 16), np.uint16)
    with Image.open(tmp_path / "out" / "a.png") as image:
        assert image.info["icc_profile"] == b"any profile"


def test_strength_mixes_two_models(model: str, photos: Path, tmp_path: Path) -> None:
    SRVGGNetCompactConfig(init="torch", num_feat=4, num_conv=1).build(2, 3).save_pretrained(tmp_path / "weak")
    options = ("--denoise-model", str(tmp_path / "weak"), "--denoise-strength", "0.25", "--format", "png")
    assert upscale(model, photos / "b.jpg", tmp_path / "out", *options) == 0
    upscaler = Upscaler.from_pretrained(model, denoise_model=str(tmp_path / "weak"), denoise_strength=0.25)
    with Image.open(photos / "b.jpg") as image, Image.open(tmp_path / "out" / "b.png") as result:
        assert np.array_equal(np.array(result), np.array(upscaler(image)))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--input", "{photos}/absent.png"], "--input: '{photos}/absent.png' does not exist"),
        (["--input", "{photos}/*.tif"], "--input: no picture is called like '{photos}/*.tif'"),
        (["--input", "{empty}"], "--input: folder '{empty}' is empty"),
        (["--output", "{photos}/a.png"], "--output: {photos}/a.png is a file; wanted a folder"),
        (["--output", "{photos}"], "--output: the result of {photos}/a.png would replace it"),
        (
            ["--output", "{photos}/a.png/deep"],
            "--output: folder {photos}/a.png/deep cannot be made: Not a directory.\n",
        ),
        (["--output", "o" * 300], "--output: 'ooo"),
        (["--input", "o" * 300], "--input: 'ooo"),
        (["--model", "o" * 300], "--model: 'ooo"),
        (["--model", "{empty}"], "--model: "),
        (["--model", "{photos}/a.pth"], "--model: {photos}/a.pth does not exist"),
        (
            ["--denoise-model", "{photos}/a.pth", "--denoise-strength", "0.5"],
            "--denoise-model: {photos}/a.pth does not exist",
        ),
        (["--denoise-strength", "0.5"], "--denoise-strength and --denoise-model mix two networks"),
        (["--denoise-model", "x", "--denoise-strength", "2"], "--denoise-strength: got 2; must be from 0 to 1"),
        (["--device", "gpu"], "--device: gpu is not to be had here: Expected one of cpu, cuda, "),
        (["--device", "meta"], "--device: meta is not to be had here: "),
        (["--output", "/proc"], "--output: folder /proc cannot be written to: "),
        (["--device", "cuda:99"], "--device: cuda:99 is not to be had here: "),
        (["--suffix", "a/b"], "--suffix: got 'a/b'; must be a part of a file's name"),
        (["--black", "5"], "--black needs --white"),
        (["--black", "5", "--white", "5"], "--white: got 5; must be above --black, 5"),
    ],
)
def test_mistakes_are_one_sentence_and_status_2(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], said: str
) -> None:
    places = {"photos": str(photos), "empty": str(tmp_path / "empty")}
    (tmp_path / "empty").mkdir()
    defaults = ["--model", model, "--input", str(photos), "--output", str(tmp_path / "out")]
    assert main([*defaults, *(option.format(**places) for option in options)]) == 2
    assert capsys.readouterr().err.startswith(f"error: {said.format(**places)}")


def test_networks_that_do_not_mix_are_a_mistake(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    SRVGGNetCompactConfig(init="torch", num_feat=4, num_conv=2).build(2, 3).save_pretrained(tmp_path / "deeper")
    options = ("--denoise-model", str(tmp_path / "deeper"), "--denoise-strength", "0.5")
    assert upscale(model, photos, tmp_path / "out", *options) == 2
    assert capsys.readouterr().err.startswith("error: --denoise-model: its network is not of the kind and size")


def test_a_result_that_is_too_large_is_a_failure_of_its_file_alone(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (1, 1)).save(photos / "dot.png")
    Image.new("RGB", (1000, 800)).save(photos / "a.png")
    assert upscale(model, photos, tmp_path / "out", "--outscale", "100") == 1
    reason = "1000x800 would become 100000x80000, more than 4294967296 pixels; cut it into tiles, or enlarge it less"
    assert capsys.readouterr().err.endswith(f"error: 1 failed:\n  {photos / 'a.png'}: {reason}\n")
    assert below(tmp_path / "out") == ["b.jpg", "deep/c.webp", "dot.png"]


@pytest.mark.skipif(not ODD.is_dir(), reason="the shared pictures are not here")
def test_upstreams_odd_inputs_keep_their_kind(model: str, tmp_path: Path) -> None:
    """Twice the size, with the mode and the bits of the file."""
    assert upscale(model, ODD, tmp_path / "out") == 0
    names = below(ODD)
    assert below(tmp_path / "out") == names
    assert len(names) == 9
    for name in names:
        with Image.open(ODD / name) as image, Image.open(tmp_path / "out" / name) as result:
            assert (result.format, result.mode) == (image.format, image.mode), name
            assert result.size == (2 * image.width, 2 * image.height), name
        if name.endswith(".png"):
            depths = [(folder / name).read_bytes()[24] for folder in (ODD, tmp_path / "out")]  # in the header
            assert depths == [16 if "16bit" in name else 8] * 2, name


def test_two_files_that_would_become_one_are_a_mistake(
    model: str, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    Image.new("RGB", (4, 4)).save(other / "a.png")
    assert main(["--model", model, "--input", str(photos), str(other), "--output", str(tmp_path / "out")]) == 2
    assert f"would both become {tmp_path / 'out' / 'a.png'}" in capsys.readouterr().err


def test_what_changes_its_format_makes_way_for_what_keeps_it(photos: Path, tmp_path: Path) -> None:
    """A picture beside its copy in another format used to stop the whole folder."""
    for name in ("a.bmp", "a.gif"):
        Image.new("RGB", (4, 4)).save(photos / name)
    named = {job.source.name: job.target.name for job in find_jobs([str(photos)], tmp_path / "out", "_x2", "same").jobs}
    assert (named["a.png"], named["a.bmp"], named["a.gif"]) == ("a_x2.png", "a.bmp_x2.png", "a.gif_x2.png")


def test_a_picture_beyond_the_memory_that_is_allowed_is_said(
    model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Image.new("RGB", (512, 512)).save(tmp_path / "a.png")
    command = ["--model", model, "--input", str(tmp_path / "a.png"), "--output", str(tmp_path / "out")]
    assert main([*command, "--max-picture-mib", "2"]) == 1
    assert "would take 3 MiB of memory, and --max-picture-mib allows 2; cut it" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (("--tile", "0"), "got 0; must be at least 1"),
        (("--tile", "1.5"), "got 1.5; must be a whole number"),
        (("--overlap", "-1"), "got -1; must be at least 0"),
        (("--outscale", "0"), "got 0; must be above 0"),
        (("--outscale", "two"), "got two; must be a number"),
        (("--format", "exr"), "invalid choice: 'exr'"),
    ],
)
def test_options_out_of_range_are_refused(
    option: tuple[str, str], said: str, photos: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        upscale(model, photos, photos, *option)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err
