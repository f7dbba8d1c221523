"""Preparation of a data set: upstream's places, exactly the pictures' pixels, and stops."""

import io
import json
import resource
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from einops import rearrange
from PIL import Image
from pyarrow import parquet

from tests.faults.forked import TINY, Job
from trainer.images.decode import decode
from trainer.images.hub_dataset import HubDataset
from trainer.images.sources import Folder
from trainer.prepare.__main__ import main
from trainer.prepare.shards import MANIFEST
from trainer.prepare.tiles import Cut, size_at

SMALL = ["--tile", "64", "--step", "32", "--min-side", "24"]


def cut(
    tile: int = 480, step: int = 240, thresh_size: int = 0, min_side: int = 1, scales: tuple[str, ...] = ("1",)
) -> Cut:
    return Cut(tile, step, thresh_size, min_side, scales)


def photograph(path: Path, width: int, height: int, seed: int = 0, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = torch.randint(256, (height, width, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    Image.fromarray(noise.numpy()).save(path, **options)


def rows(folder: Path) -> list[tuple[str, bytes]]:
    """Source and bytes of each tile, shard after shard."""
    tables = [parquet.read_table(file).to_pylist() for file in sorted(folder.glob("*.parquet"))]
    return [(row["source"], row["image"]["bytes"]) for table in tables for row in table]


def content(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


class TestGeometry:
    @pytest.mark.parametrize("thresh_size", [0, 30])
    @pytest.mark.parametrize(("tile", "step"), [(480, 240), (100, 100), (64, 90)])
    def test_places_are_upstreams_in_closed_form(self, tile: int, step: int, thresh_size: int) -> None:
        for length in range(tile, 3 * tile, 7):
            regular, rest = divmod(length - tile, step)
            wanted = [k * step for k in range(regular + 1)] + [length - tile] * (rest > thresh_size)
            assert cut(tile, step, thresh_size).starts(length) == wanted

    def test_a_side_shorter_than_a_tile_has_one(self) -> None:
        assert cut().boxes(300, 200) == [(0, 0, 300, 200)]
        assert cut().boxes(500, 200) == [(0, 0, 480, 200), (20, 0, 500, 200)]

    def test_versions_have_upstreams_sizes(self) -> None:
        for width, height in ((2040, 1356), (1356, 2040), (511, 512), (1000, 1000)):
            scales = ("1", "0.75", "0.5", "1/3", "400px")
            least = (400, int(400 * (height / width))) if width < height else (int(400 * (width / height)), 400)
            wanted = [(int(width * factor), int(height * factor)) for factor in (1, 0.75, 0.5, 1 / 3)]
            assert [size_at(scale, width, height) for scale in scales] == [*wanted, least]

    def test_no_version_is_enlarged_or_there_twice(self) -> None:
        assert cut(scales=("1", "400px", "1.0")).sizes(300, 200) == [(300, 200)]
        assert cut(scales=("0.5", "100px")).sizes(300, 200) == [(150, 100)]


def test_tiles_are_the_pixels_that_training_decodes(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned
    photograph(tmp_path / "photos/sub/turned.jpg", 150, 90, exif=exif)
    photograph(tmp_path / "photos/wide.png", 100, 40)
    assert main([str(tmp_path / "photos"), str(tmp_path / "tiles"), *SMALL, "--scales", "1,1/2"]) == 0
    wanted = []
    for name in ("sub/turned.jpg", "wide.png"):
        pixels = rearrange(decode(tmp_path / "photos" / name, name), "c h w -> h w c").numpy()
        picture = Image.fromarray(pixels)
        half = picture.resize((picture.width // 2, picture.height // 2), Image.Resampling.LANCZOS)
        for version in (picture, half) if name != "wide.png" else (picture,):  # whose half has sides below 24
            boxes = cut(64, 32).boxes(*version.size)
            wanted += [
                (f"photos/{name}", np.asarray(version)[top:bottom, left:right]) for left, top, right, bottom in boxes
            ]
    made = rows(tmp_path / "tiles")
    assert [name for name, _ in made] == [name for name, _ in wanted]
    for (_, data), (_, pixels) in zip(made, wanted, strict=True):
        with Image.open(io.BytesIO(data)) as tile:
            assert (tile.format, tile.mode) == ("PNG", "RGB")
            assert np.array_equal(np.asarray(tile), pixels)


def test_threads_do_not_change_a_byte(tmp_path: Path) -> None:
    for number in range(5):
        photograph(tmp_path / f"a/{number}.png", 80 + number, 70, number)
    photograph(tmp_path / "b/0.png", 70, 80)
    sources = [str(tmp_path / "a"), str(tmp_path / "b")]
    for target, workers in (("one", "1"), ("two", "2")):
        assert main([*sources, str(tmp_path / target), *SMALL, "--workers", workers]) == 0
    assert content(tmp_path / "one") == content(tmp_path / "two")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_stopped_amid_shards_it_goes_on_to_the_same_bytes(number: int, tmp_path: Path) -> None:
    for index in range(8):  # each fills a shard of 1 MiB
        photograph(tmp_path / f"photos/{index:02}.png", 620, 600, index, compress_level=1)
    (tmp_path / "photos/00a.png").write_bytes(b"no picture")
    command = [str(tmp_path / "photos"), str(tmp_path / "tiles"), "--tile", "620", "--shard-mib", "1"]
    first, second = (tmp_path / f"tiles/train-{index:05}.parquet" for index in range(2))
    job = Job(1, tmp_path / "log", command, main)
    deadline = time.monotonic() + 60
    while not second.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    job.kill(0, number)
    codes = job.wait(60)
    job.end()
    left = json.loads((tmp_path / "tiles" / MANIFEST).read_text())["shards"]
    assert 0 < len(left) < 8
    log = (tmp_path / "log").read_text()
    if number == signal.SIGINT:
        done = sum(shard["pictures"] for shard in left)
        said = f"stopped; {done} of 9 pictures are in finished shards; the same command goes on.\n"
        assert (codes, log) == ([130], said)
    else:
        assert codes == [-number]
    made = first.stat().st_mtime_ns
    assert main(command) == 1
    assert first.stat().st_mtime_ns == made
    whole = [*command[:1], str(tmp_path / "whole"), *command[2:]]
    assert main(whole) == 1
    assert content(tmp_path / "tiles") == content(tmp_path / "whole")
    assert len(rows(tmp_path / "tiles")) == 8


def with_little_disk(arguments: Sequence[str]) -> int:
    """`main` where no file may be larger than 100 kB."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
    return main(arguments)


def test_a_disk_that_refuses_is_one_sentence_and_leaves_nothing_half(tmp_path: Path) -> None:
    photograph(tmp_path / "photos/a.png", 300, 300)
    command = [str(tmp_path / "photos"), str(tmp_path / "tiles")]
    job = Job(1, tmp_path / "log", command, with_little_disk)
    codes = job.wait(60)
    job.end()
    said = f"error: {tmp_path / 'tiles'} cannot be written: File too large; the same command goes on.\n"
    assert (codes, (tmp_path / "log").read_text()) == ([1], said)
    assert content(tmp_path / "tiles").keys() == {MANIFEST}
    assert main(command) == 0
    assert len(rows(tmp_path / "tiles")) == 1


class TestWhatIsLeftOut:
    def test_a_bad_picture_is_named_counted_and_skipped(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        photograph(tmp_path / "photos/a.png", 70, 70)
        (tmp_path / "photos/b.png").write_bytes((tmp_path / "photos/a.png").read_bytes()[:2000])
        photograph(tmp_path / "photos/c.png", 70, 20)
        command = [str(tmp_path / "photos"), str(tmp_path / "my tiles"), *SMALL]
        for _ in range(2):  # nothing is left to do the second time, and the same is said
            assert main(command) == 1
            said = capsys.readouterr()
            assert said.out.startswith("3 pictures, 4 tiles, 0.0 MB in ")
            assert (
                "; left out: below --min-side 24: 1 picture, unreadable: 1; train on it: wildsr train CONFIG"
                in said.out
            )
            assert f"'images.source={{type: dataset, path: {tmp_path / 'my tiles'}}}'" in said.out
            assert said.err.startswith("error: 1 of 3 pictures cannot be read:\n  photos/b.png: ")

    def test_many_bad_ones_are_said_at_the_end(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        photograph(tmp_path / "photos/a.png", 70, 70)
        (tmp_path / "again").mkdir()
        (tmp_path / "again/photos").symlink_to("../bad/photos")
        for name in "bcd":
            (tmp_path / "bad/photos").mkdir(parents=True, exist_ok=True)
            (tmp_path / f"bad/photos/{name}.png").write_bytes(b"no picture")
        photograph(tmp_path / "photos/b.png", 20, 20)
        sources = [str(tmp_path / f"{above}/photos") for above in (".", "bad", "again")]  # all are `photos` in the rows
        assert main([*sources, str(tmp_path / "tiles"), *SMALL]) == 1
        assert "error: 6 of 8 pictures (75.0 %) cannot be read, more than 1 %:" in capsys.readouterr().err
        assert len(rows(tmp_path / "tiles")) == 4

    def test_nothing_left_is_a_mistake(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        photograph(tmp_path / "photos/a.png", 20, 20)
        assert main([str(tmp_path / "photos"), str(tmp_path / "tiles")]) == 2
        assert "none of the 1 pictures gave a tile: below --min-side 128: 1 picture." in capsys.readouterr().err
        assert not rows(tmp_path / "tiles")


class TestAnotherPreparation:
    @pytest.fixture
    def made(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
        photograph(tmp_path / "photos/a.png", 70, 70)
        assert main([str(tmp_path / "photos"), str(tmp_path / "tiles"), *SMALL]) == 0
        capsys.readouterr()
        return tmp_path

    def test_other_settings_and_pictures_are_named(self, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
        command = [str(made / "photos"), str(made / "tiles"), *SMALL]
        before = content(made / "tiles")
        assert main([*command, "--step", "16"]) == 2
        assert "was prepared otherwise: --step was 32 and is 16. Name another" in capsys.readouterr().err
        photograph(made / "photos/a.png", 80, 70)
        assert main(command) == 2
        assert "the pictures of SRC 'photos' have other names or sizes." in capsys.readouterr().err
        photograph(made / "photos/b.png", 80, 70)
        assert main(command) == 2
        assert "SRC was 'photos' with 1 pictures and is 'photos' with 2 pictures." in capsys.readouterr().err
        assert main([str(made / "photos"), *command]) == 2
        assert "SRC was 1 folders and is 2." in capsys.readouterr().err
        assert content(made / "tiles") == before
        assert main([*command, "--fresh"]) == 0
        assert {name for name, _ in rows(made / "tiles")} == {"photos/a.png", "photos/b.png"}

    def test_a_shard_that_went_missing_is_made_again(self, made: Path) -> None:
        before = content(made / "tiles")
        (made / "tiles/train-00000.parquet").unlink()
        shutil.copy(made / "photos/a.png", made / "tiles/train-00007.parquet")  # as of an earlier preparation
        assert main([str(made / "photos"), str(made / "tiles"), *SMALL]) == 0
        assert content(made / "tiles") == before

    def test_a_folder_of_others_is_left_alone(self, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
        for arguments, sentence in (
            ([made / "photos", made], "which this program did not write"),
            ([made / "photos", made / "photos"], "is a SRC too"),
            ([made / "photos", made / "photos/a.png"], "is a file; wanted a folder"),
            ([made / "nowhere", made / "x"], "SRC: folder '"),
        ):
            before = {file: file.stat().st_mtime_ns for file in made.rglob("*")}
            assert main([str(word) for word in (*arguments, "--fresh")]) == 2
            assert sentence in capsys.readouterr().err
            assert {file: file.stat().st_mtime_ns for file in made.rglob("*")} == before

    def test_a_broken_manifest_is_named(self, made: Path, capsys: pytest.CaptureFixture[str]) -> None:
        command = [str(made / "photos"), str(made / "tiles"), *SMALL]
        for text in (
            "",
            "[]",
            '{"made_of": {}, "shards": []}',
            '{"made_of": [], "shards": []}',
            '{"made_of": {"sources": 1}, "shards": [{"x": 1}]}',
        ):
            (made / "tiles" / MANIFEST).write_text(text)
            assert main(command) == 2
            assert "is no manifest of a preparation; --fresh" in capsys.readouterr().err
        assert main([*command, "--fresh"]) == 0


@pytest.mark.parametrize("scales", ["2", "0", "1/0", "-0.5", "a", "0px", "xpx", ""])
def test_scales_that_are_none(scales: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["photos", "tiles", f"--scales={scales}"])
    assert ended.value.code == 2
    assert "must be factors above 0 and up to 1, or lengths such as 400px" in capsys.readouterr().err


def test_what_it_wrote_is_a_dataset_that_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    photograph(tmp_path / "photos/a.png", 120, 70)
    target = tmp_path / "tiles"
    assert main([str(tmp_path / "photos"), str(target), *SMALL]) == 0
    loaded = datasets.load_dataset("parquet", data_files=str(target / "*.parquet"), split="train")
    assert loaded[0]["image"].size == (64, 64)
    assert loaded[0]["source"] == "photos/a.png"
    photo = Folder(path=str(tmp_path / "photos")).open().read(0)
    assert torch.equal(HubDataset(path=str(target)).open().read(0), photo[:, :64, :64])
    short = ["max_train_steps=2", "validation=null", "checkpoints.checkpointing_steps=2"]
    source = f"images.source={{type: dataset, path: {target}}}"
    job = Job(1, tmp_path / "log", [str(TINY), f"output_dir={tmp_path}", source, *short])
    codes = job.wait(60)
    job.end()
    assert codes == [0], (tmp_path / "log").read_text()
    assert (tmp_path / "tiny/DONE").is_file()
