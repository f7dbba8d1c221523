"""Rows of datasets, which other people made: the files they may name, the rows of a split, and causes of errors."""

import io
import os
import resource
import signal
import tarfile
from collections.abc import Callable, Sequence
from pathlib import Path

import datasets
import pyarrow as pa
import pyarrow.parquet
import pytest
from accelerate import Accelerator
from PIL import Image

from tests.faults.forked import Job
from trainer.config.schema import RunConfig
from trainer.distributed.comparison import same_everywhere
from trainer.images.hub_dataset import HubDataset, decode_stored, first_line, roots_of
from trainer.images.opened import Unreadable
from trainer.images.streaming.dataset import StreamedDataset
from trainer.lifecycle.open_everywhere import open_everywhere
from trainer.mistakes import Mistake

Tiny = Callable[..., RunConfig]


def encoded(level: int = 0, side: int = 8) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (side, side), (level, 0, 0)).save(buffer, "PNG")
    return buffer.getvalue()


def write(path: Path, rows: Sequence[dict[str, object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = datasets.Dataset.from_dict({"image": rows}).cast_column("image", datasets.Image(decode=False))
    pa.parquet.write_table(stored.data.table, path)
    return path


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    datasets.disable_progress_bars()
    return tmp_path / "cache"


@pytest.mark.usefixtures("cache")
class TestFilesThatRowsName:
    @pytest.fixture
    def named(self, tmp_path: Path) -> Path:
        """Rows that hold a picture; that name one below their folder, by absolute and relative path; and others."""
        for file in (tmp_path / "secret.png", tmp_path / "set" / "own.png", tmp_path / "set2" / "near.png"):
            file.parent.mkdir(exist_ok=True)
            file.write_bytes(encoded(50))
        (tmp_path / "set" / "link.png").symlink_to("../secret.png")
        paths = ["own.png", str(tmp_path / "set" / "own.png"), str(tmp_path / "secret.png"), "../secret.png"]
        paths += ["link.png", str(tmp_path / "set2" / "near.png"), "http://127.0.0.1:1/x.png"]
        rows: list[dict[str, object]] = [{"bytes": encoded(9), "path": "/etc/passwd"}]
        return write(tmp_path / "set" / "a.parquet", rows + [{"bytes": None, "path": path} for path in paths])

    @pytest.mark.parametrize("part", ["a.parquet", "*.parquet"])
    def test_only_below_the_folder_of_the_dataset(self, named: Path, part: str) -> None:
        path = str(named.parent / part)
        source, shards = HubDataset(path=path).open(), StreamedDataset(path=path, logical_streams=1).open()
        for read in (source.read, shards.read):
            assert [int(read(row)[0, 0, 0]) for row in range(3)] == [9, 50, 50]
            for row in (3, 4, 5, 6):
                with pytest.raises(Unreadable, match=r"names a file outside '.*set', '.*', which is not read"):
                    read(row)
            with pytest.raises(Unreadable, match="the file is gone"):
                read(7)

    def test_from_the_hub_only_what_its_own_repository_brought(self, tmp_path: Path) -> None:
        roots = roots_of("user/name")
        assert roots[0].name == "datasets--user--name"
        (tmp_path / "x.png").write_bytes(encoded())
        for allowed in (roots, ()):
            for name in (str(tmp_path / "x.png"), "x\0.png"):
                with pytest.raises(Unreadable, match="the row holds no picture but names a file"):
                    decode_stored({"bytes": None, "path": name}, "row 0", allowed)

    def test_what_a_row_holds_counts_even_where_it_is_nothing(self, named: Path) -> None:
        with pytest.raises(Unreadable, match="not a picture in a format that is read"):
            decode_stored({"bytes": b"", "path": "own.png"}, "row 0", (named.parent,))

    def test_an_empty_picture_is_not_looked_for_under_its_name(self, named: Path, tmp_path: Path) -> None:
        """An empty member of an archive with the name of an existing file; and links, which hold no bytes."""
        (tmp_path / "tars").mkdir()
        with tarfile.open(tmp_path / "tars" / "a.tar", "w") as archive:
            for name, content in (("a.png", encoded(3)), (str(named.parent / "own.png"), b""), ("../secret.png", b"")):
                entry = tarfile.TarInfo(name)
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))
            link = tarfile.TarInfo("b.png")
            link.type, link.linkname = tarfile.SYMTYPE, str(named.parent / "own.png")
            archive.addfile(link)
        shards = StreamedDataset(path=str(tmp_path / "tars" / "a.tar")).open()
        rows = list(shards.rows(0))
        assert len(rows) == 3
        assert int(shards.decode(rows[0], 0)[0, 0, 0]) == 3
        for row in rows[1:]:
            with pytest.raises(Unreadable, match=r"not a picture in a format|names a file outside"):
                shards.decode(row, 1)


@pytest.mark.usefixtures("cache")
def test_a_part_of_a_split(tmp_path: Path) -> None:
    rows = [{"bytes": encoded(level), "path": None} for level in range(10)]
    parquet = write(tmp_path / "a" / "a.parquet", rows)
    saved = datasets.Dataset.from_dict({"image": rows}).cast_column("image", datasets.Image())
    saved.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=saved).save_to_disk(tmp_path / "two")
    for path in (parquet, parquet.parent, tmp_path / "one", tmp_path / "two"):
        parts = {"train[:50%]": range(5), "train[8:]": range(8, 10), "train": range(10), "train[:1]+train[9:]": (0, 9)}
        for split, expected in parts.items():
            source = HubDataset(path=str(path), split=split).open()
            assert [int(source.read(number)[0, 0, 0]) for number in range(len(source))] == list(expected), (path, split)
        for split in ("train[20:]", "train[:x]", "train[:200%]"):
            with pytest.raises(Mistake, match=r"^split: "):
                HubDataset(path=str(path), split=split).open()
    with pytest.raises(Mistake, match=r"^split: dataset .* cannot be streamed: Bad split: val"):
        StreamedDataset(path=str(parquet.parent), split="val").open()
    with pytest.raises(ValueError, match=r"split: got 'train\[:50%\]'; nobody has counted a stream"):
        StreamedDataset(path=str(parquet), split="train[:50%]")


def test_a_full_cache_is_told(tmp_path: Path) -> None:
    """`datasets` reports that an error occurred while generating; the disk's message is its cause."""
    parquet = write(tmp_path / "a.parquet", [{"bytes": os.urandom(200_000), "path": None}])

    def work(arguments: Sequence[str]) -> int:
        datasets.config.HF_DATASETS_CACHE = tmp_path / "cache"
        datasets.disable_progress_bars()
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000))
        try:
            HubDataset(path=arguments[0]).open()
        except Mistake as mistake:
            print(mistake, flush=True)
            return 2
        return 0

    job = Job(1, tmp_path / "log", [str(parquet)], work)
    assert job.wait(60) == [2], (tmp_path / "log").read_text()
    said = (tmp_path / "log").read_text()
    assert "cannot be loaded: An error occurred while generating the dataset" in said
    assert "File too large" in said


def test_causes_are_told_once() -> None:
    error = ValueError("it went wrong.\nsomewhere")
    assert first_line(error) == "it went wrong"
    error.__cause__ = OSError(28, "No space left on device")
    assert first_line(error) == "it went wrong: [Errno 28] No space left on device"
    error.__cause__ = ValueError("wrong")
    assert first_line(error) == "it went wrong"


def two_machines(config: RunConfig, root: Path) -> Callable[[Sequence[str]], int]:
    """The work of ranks that share neither folder nor cache: each opens its own copy of the dataset."""

    def work(arguments: Sequence[str]) -> int:
        del arguments
        os.environ.update(LOCAL_RANK="0", LOCAL_WORLD_SIZE="1")
        os.chdir(root / os.environ["RANK"])
        datasets.config.HF_DATASETS_CACHE = Path("cache").absolute()
        datasets.disable_progress_bars()
        accelerator = Accelerator(cpu=True)
        try:
            (source, _), bad = open_everywhere(accelerator, config)
        except Mistake as mistake:
            print(mistake, flush=True)
            return 2
        same_everywhere(accelerator, {"names": [source.name(0), sorted(bad)]})
        print("read", source.read(1).shape, sorted(bad), flush=True)  # type: ignore[union-attr]
        return 0

    return work


@pytest.mark.launch
def test_each_machine_opens_its_own_copy_of_a_dataset(tmp_path: Path, tiny: Tiny) -> None:
    config = tiny("images.source={type: dataset, path: a.parquet}", "validation=null")
    rows: list[dict[str, object]] = [{"bytes": encoded(level), "path": None} for level in range(6)]
    rows[3] = {"bytes": b"broken", "path": None}
    for rank in "01":
        write(tmp_path / rank / "a.parquet", rows)
    job = Job(2, tmp_path / "log", [], two_machines(config, tmp_path))
    assert job.wait(120) == [0, 0], (tmp_path / "log").read_text()
    assert (tmp_path / "log").read_text().count("read torch.Size([3, 8, 8]) [3]") == 2
    assert (tmp_path / "1" / "cache").is_dir()

    write(tmp_path / "1" / "a.parquet", [{"bytes": encoded(level + 1), "path": None} for level in range(6)])
    job = Job(2, tmp_path / "log2", [], two_machines(config, tmp_path))
    assert job.wait(120) == [2, 2], (tmp_path / "log2").read_text()
    assert (tmp_path / "log2").read_text().count("images: rank 1 on ") == 2
