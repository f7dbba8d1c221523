"""Streamed datasets: opening them, the order of the pictures, and the reader that finds them."""

import io
import pickle
import ssl
import tarfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import pyarrow
import pyarrow.parquet
import pytest
import requests
import skimage
import torch
from accelerate import Accelerator
from PIL import Image

from trainer.distributed.signals import StopRequest
from trainer.distributed.waiting import Watch
from trainer.images.away import Away
from trainer.images.crops import ImageBatch, TrainingImagesConfig
from trainer.images.decode import decode
from trainer.images.loader import ImageLoader
from trainer.images.opened import Unreadable
from trainer.images.positions import Positions
from trainer.images.streaming.dataset import ROWS, Shards, StreamedDataset
from trainer.images.streaming.order import ShardSchedule, shard_schedule
from trainer.images.streaming.reader import TrainingStream
from trainer.images.unreadable import LEAST_SAMPLES, UnreadableImages
from trainer.mistakes import Mistake

SIZES = (3, 9, 1, 5, 7, 2, 6)
SIDE = 16


def tiles(count: int) -> list[bytes]:
    """Different pieces of scikit-image's photographs, as PNG."""
    folder = Path(skimage.__file__).parent / "data"
    photos = [Image.open(folder / name).convert("RGB") for name in ("astronaut.png", "coffee.png", "chelsea.png")]
    made = []
    for number in range(count):
        photo = photos[number % 3]
        x, y = number * 37 % (photo.width - SIDE), number * 53 % (photo.height - SIDE)
        buffer = io.BytesIO()
        photo.crop((x, y, x + SIDE, y + SIDE)).save(buffer, "PNG")
        made.append(buffer.getvalue())
    assert len(set(made)) == count
    return made


def shares(sizes: Sequence[int]) -> list[list[bytes]]:
    pictures = iter(tiles(sum(sizes)))
    return [[next(pictures) for _ in range(size)] for size in sizes]


def write_parquet(file: Path, pictures: Iterable[bytes | None], group: int | None = None, **columns: Any) -> None:
    rows = [picture and {"bytes": picture, "path": None} for picture in pictures]
    table = datasets.Dataset.from_dict({"image": rows, **columns}).cast_column("image", datasets.Image())
    file.parent.mkdir(exist_ok=True)
    table.to_parquet(file, batch_size=group)


def write_tar(file: Path, pictures: Iterable[bytes], ending: str = "png", **others: bytes) -> None:
    file.parent.mkdir(exist_ok=True)
    with tarfile.open(file, "w") as archive:
        for number, picture in enumerate(pictures):
            for name, content in {ending: picture, **others}.items():
                entry = tarfile.TarInfo(f"{file.stem}-{number:03d}.{name}")
                entry.size = len(content)
                archive.addfile(entry, io.BytesIO(content))


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stream") / "parquet"
    for number, pictures in enumerate(shares(SIZES)):
        write_parquet(root / f"{number}.parquet", pictures)
    return root


@pytest.fixture(scope="module")
def tars(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("stream") / "tars"
    for number, pictures in enumerate(shares(SIZES)):
        write_tar(root / f"{number}.tar", pictures, json=b"{}")
    return root


def opened(path: Path, logical_streams: int = 4) -> Shards:
    return StreamedDataset(path=str(path), logical_streams=logical_streams).open()


def training(
    shards: Shards, lengths: dict[int, int] | None = None, workers: int = 0, batch: int = 12
) -> TrainingStream:
    """A stream of whole tiles, so that a sample identifies its picture."""
    source = StreamedDataset(path="as opened")
    config = TrainingImagesConfig(
        source=source, crop_size=SIDE, use_hflip=False, cache_mib=0, dataloader_num_workers=workers
    )
    schedule = shard_schedule(len(shards.names), shards.logical_streams, batch, 5)
    return TrainingStream(shards, schedule, config, 5, lengths or {})


def seen(samples: TrainingStream, positions: Iterable[int]) -> list[bytes]:
    return [samples[position].pixels.numpy().tobytes() for position in positions]


def answered(status: int) -> Exception:
    """The exceptions of a hub's clients for an answer of that status."""
    answer = requests.Response()
    answer.status_code = status
    return requests.exceptions.HTTPError(f"{status} of a server", response=answer)


class Failing:
    """A dataset whose connection fails once in each shard, after its first row."""

    def __init__(self, dataset: Any, error: Exception | None = None) -> None:
        self.dataset, self.error, self.met = dataset, error or ConnectionError("Server Disconnected"), set[int]()

    def shard(self, num_shards: int, index: int) -> Iterator[Any]:
        for number, row in enumerate(self.dataset.shard(num_shards=num_shards, index=index)):
            if number == 1 and index not in self.met:
                self.met.add(index)
                raise self.error
            yield row


def all_pictures(shards: Shards) -> Counter[bytes]:
    rows = ((shard, row) for shard, size in enumerate(SIZES) for row in range(size))
    return Counter(shards.read(shard * ROWS + row).contiguous().numpy().tobytes() for shard, row in rows)


class TestOrder:
    @pytest.mark.parametrize(("shards", "streams"), [(7, 4), (12, 12), (5, 1), (48, 6)])
    def test_the_streams_share_every_epochs_shards(self, shards: int, streams: int) -> None:
        order = ShardSchedule(shards, streams, block=1, seed=3)
        row = [order.shard(turn % streams, turn // streams) for turn in range(3 * shards)]
        epochs = [row[at : at + shards] for at in range(0, len(row), shards)]
        assert all(sorted(epoch) == list(range(shards)) for epoch in epochs)
        assert shards == 1 or epochs[0] != epochs[1]

    @pytest.mark.parametrize(("streams", "block"), [(1, 12), (4, 3), (12, 1)])
    def test_every_picture_of_every_stream_has_one_position(self, streams: int, block: int) -> None:
        places = [ShardSchedule(20, streams, block, seed=0).place(position) for position in range(120)]
        assert len(set(places)) == 120
        for stream in range(streams):  # in a fixed turn
            assert [number for own, number in places if own == stream] == list(range(120 // streams))

    def test_ranks_keep_to_their_own_streams(self) -> None:
        order = shard_schedule(shards=100, logical_streams=48, global_size=96, seed=0)
        assert (order.streams, order.block) == (48, 2)
        for world in (1, 2, 3, 8):
            assert not order.shared(world)
            parts = [range(rank * 96 // world, (rank + 1) * 96 // world) for rank in range(world)]
            touched = [{order.place(step * 96 + place)[0] for step in range(5) for place in part} for part in parts]
            assert sum(map(len, touched)) == 48
        assert order.shared(96)

    @pytest.mark.parametrize(
        ("shards", "wanted", "batch", "streams"),
        [(100, 48, 48, 48), (100, 48, 40, 40), (100, 48, 100, 25), (5, 48, 48, 4), (1, 48, 48, 1), (9, 2, 7, 1)],
    )
    def test_as_many_streams_as_divide_the_batch(self, shards: int, wanted: int, batch: int, streams: int) -> None:
        order = shard_schedule(shards, wanted, batch, seed=0)
        assert order.streams == streams
        assert order.streams * order.block == batch


class TestReading:
    @pytest.mark.parametrize("kind", ["parquet", "tars"])
    def test_one_stream_shows_every_picture_once_per_epoch(self, kind: str, request: pytest.FixtureRequest) -> None:
        shards = opened(request.getfixturevalue(kind), logical_streams=1)
        expected, total = all_pictures(shards), sum(SIZES)
        pictures = seen(training(shards), range(2 * total + 5))
        assert Counter(pictures[:total]) == Counter(pictures[total : 2 * total]) == expected
        assert pictures[:total] != pictures[total : 2 * total]  # in another order

    def test_the_streams_of_an_epoch_together_show_every_picture_once(self, parquet: Path) -> None:
        shards = opened(parquet)
        order = training(shards).schedule
        assert order.streams == 4
        rows: list[int] = []
        for stream in range(4):
            turns = [turn for turn in range(9) if turn * 4 + stream < len(SIZES)]  # of the first epoch
            length = sum(SIZES[order.shard(stream, turn)] for turn in turns)
            reader = training(shards)._stream(stream)
            rows += [reader.picture(number).number for number in range(length)]
        assert sorted(rows) == [shard * ROWS + row for shard, size in enumerate(SIZES) for row in range(size)]

    @pytest.mark.parametrize("kind", ["parquet", "tars"])
    def test_a_position_shows_the_same_wherever_reading_begins(self, kind: str, request: pytest.FixtureRequest) -> None:
        """A resumed run does this, with the lengths that it has recorded, with some of them, or none."""
        shards = opened(request.getfixturevalue(kind))
        whole = training(shards)
        expected = seen(whole, range(150))
        lengths = dict(whole.lengths.known)
        assert lengths == dict(enumerate(SIZES))
        for start in (0, 1, 13, 64, 131):
            for known in (lengths, {}, {1: 9, 4: 7}):
                assert seen(training(shards, known), range(start, start + 12)) == expected[start : start + 12]

    def test_positions_may_fall(self, parquet: Path) -> None:
        samples = training(opened(parquet))
        forward = seen(samples, range(60))
        assert seen(samples, reversed(range(60))) == forward[::-1]

    @pytest.mark.parametrize("world", [1, 2, 3])
    def test_ranks_accumulation_and_blocks_do_not_change_the_stream(self, parquet: Path, world: int) -> None:
        shards = opened(parquet)
        expected = seen(training(shards), range(5, 65))
        got: dict[int, bytes] = {}
        for rank in range(world):
            samples, read = training(shards), 0
            for positions in Positions(global_size=12, per_device=2, rank=rank, world=world, start=5):
                for sample in samples.__getitems__(positions):
                    got[sample.position] = sample.pixels.numpy().tobytes()
                read += 2
                if read == 60 // world:
                    break
        assert [got[position] for position in range(5, 65)] == expected

    def test_known_lengths_save_reading(self, parquet: Path) -> None:
        """Shards before the wanted one are not opened."""
        shards = opened(parquet, logical_streams=1)
        late = training(shards, dict(enumerate(SIZES)))
        order, total = late.schedule, sum(SIZES)
        reader = late._stream(0)
        stored = reader.picture(3 * total)
        assert stored.number == order.shard(0, 3 * len(SIZES)) * ROWS
        assert late.lengths.new == {}

    def test_an_empty_shard_is_passed_over(self, tmp_path: Path) -> None:
        first, second = shares((3, 2))
        for name, pictures in (("a", first), ("b", []), ("c", second)):
            write_parquet(tmp_path / f"{name}.parquet", pictures)
        samples = training(opened(tmp_path, logical_streams=3), batch=3)
        assert len(set(seen(samples, range(40)))) == 5
        assert samples.lengths.known == {0: 3, 1: 0, 2: 2}

    def test_fewer_files_than_streams_are_split_into_row_groups(self, tmp_path: Path) -> None:
        for name, pictures in zip("ab", shares((5, 3)), strict=True):
            write_parquet(tmp_path / f"{name}.parquet", pictures, group=2)
        shards = opened(tmp_path, logical_streams=12)
        assert [Path(name).name for name in shards.names] == [
            *(f"a.parquet, row group {group}" for group in range(3)),
            *(f"b.parquet, row group {group}" for group in range(2)),
        ]
        assert training(shards).schedule.streams == 4
        assert len(set(seen(training(shards), range(48)))) == 8

    def test_a_shard_that_became_shorter_is_noticed(self, parquet: Path) -> None:
        shards = opened(parquet)
        with pytest.raises(Mistake) as caught:
            seen(training(shards, {1: 12}), range(150))
        assert str(caught.value) == (
            f"images.source: {parquet / '1.parquet'} has 9 pictures, and had 12 earlier in this run: the stream is not "
            "the same any more. Put the file back."
        )

    def test_a_shard_that_cannot_be_read_stops_the_run_by_its_name(self, tmp_path: Path) -> None:
        for name, pictures in zip("ab", shares((3, 3)), strict=True):
            write_tar(tmp_path / f"{name}.tar", pictures)
        shards = opened(tmp_path, logical_streams=2)
        whole = (tmp_path / "b.tar").read_bytes()
        (tmp_path / "b.tar").write_bytes(whole[:1200])
        with pytest.raises(Mistake) as caught:
            seen(training(shards, batch=2), range(12))
        assert str(caught.value) == f"{tmp_path / 'b.tar'} cannot be read: unexpected end of data."

    def test_a_network_that_fails_in_the_middle_is_asked_again(
        self, parquet: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
    ) -> None:
        """An interruption is not the end of a shard: the pictures are the same as without it."""
        monkeypatch.setattr("trainer.images.loader.PAUSE", 0.01)
        monkeypatch.setattr("trainer.images.loader.WATCH", Watch(StopRequest(), reminder_seconds=0))
        whole = training(opened(parquet))
        expected, lengths = seen(whole, range(48)), whole.lengths.known
        samples = training(replace(opened(parquet), dataset=Failing(opened(parquet).dataset)))
        batches = ImageLoader(samples, [list(range(at, at + 12)) for at in range(0, 48, 12)], pin_memory=False)
        assert [pixels.numpy().tobytes() for batch in batches for pixels in batch.pixels] == expected
        assert samples.lengths.known == lengths
        assert ": Server Disconnected; it is tried again)" in capfd.readouterr().err

    @pytest.mark.parametrize(
        ("error", "away"),
        [
            (TimeoutError("timed out"), True),
            (ssl.SSLEOFError("EOF occurred in violation of protocol"), True),
            (requests.exceptions.ChunkedEncodingError("Connection broken"), True),
            (answered(503), True),
            (answered(429), True),
            (answered(404), False),
            (answered(401), False),
            (FileNotFoundError("no such repository"), False),
            (pyarrow.ArrowInvalid("Parquet magic bytes not found"), False),
        ],
        ids=repr,
    )
    def test_a_network_is_told_from_what_is_not_there(self, parquet: Path, error: Exception, away: bool) -> None:
        outer = ValueError("a generator failed")
        outer.__cause__ = error
        for raised in (error, outer):
            shards = replace(opened(parquet), dataset=Failing(opened(parquet).dataset, raised))
            with pytest.raises(Away if away else Mistake, match=r"\.parquet"):
                list(shards.rows(0))


class TestUnreadable:
    @pytest.fixture
    def torn(self, tmp_path: Path) -> Shards:
        """Three shards of 4, 6 and 5; rows 1 of the first, 2 and 3 of the second hold no pictures."""
        first, second, third = shares((4, 6, 5))
        second[2:4] = [b"broken", b"also broken"]
        write_parquet(tmp_path / "a.parquet", [first[0], None, *first[2:]])
        write_parquet(tmp_path / "b.parquet", second)
        write_parquet(tmp_path / "c.parquet", third)
        return opened(tmp_path, logical_streams=3)

    def test_the_next_picture_of_the_stream_takes_its_place(self, torn: Shards, tmp_path: Path) -> None:
        bad = {1, ROWS + 2, ROWS + 3}
        samples, reader = training(torn, batch=3), training(torn, batch=3)
        met: Counter[int] = Counter()
        for position in range(45):
            sample = samples[position]
            stream, number = samples.schedule.place(position)
            wanted = [reader._stream(stream).picture(number + later).number for later in range(4)]
            good = next(picture for picture in wanted if picture not in bad)
            assert torch.equal(sample.pixels, torn.read(good))
            assert list(sample.unreadable) == wanted[: wanted.index(good)]
            met.update(sample.unreadable)
        assert met.keys() == bad
        assert met[ROWS + 3] > met[ROWS + 2]  # once itself, and once as the replacement of its neighbour
        assert samples.reasons == {
            1: f"{tmp_path / 'a.parquet'}, row 1: the row holds no picture",
            ROWS + 2: f"{tmp_path / 'b.parquet'}, row 2: not a picture in a format that is read",
            ROWS + 3: f"{tmp_path / 'b.parquet'}, row 3: not a picture in a format that is read",
        }

    def test_batches_of_any_size_are_mended_alike(self, torn: Shards) -> None:
        expected = seen(training(torn, batch=12), range(48))
        for size in (1, 4, 12, 48):
            samples = training(torn, batch=12)
            parts = [samples.__getitems__(range(at, at + size)) for at in range(0, 48, size)]
            assert [sample.pixels.numpy().tobytes() for part in parts for sample in part] == expected

    def test_no_picture_in_a_row_is_a_mistake(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "a.parquet", [*tiles(1), *[b"broken"] * 12])
        with pytest.raises(Mistake) as caught:
            seen(training(opened(tmp_path)), range(2))
        assert str(caught.value) == (
            f"9 pictures of streamed dataset '{tmp_path}', split 'train' in a row could not be decoded; "
            f"last {tmp_path / 'a.parquet'}, row 9: not a picture in a format that is read."
        )

    def test_the_share_is_that_of_the_samples_seen(self, torn: Shards, accelerator: Accelerator) -> None:
        said: list[str] = []
        position = 0
        unreadable = UnreadableImages(accelerator, torn, set(), lambda: position)
        unreadable.note([1], {1: "its reason"})
        unreadable.note(range(100, 109))  # ten in all
        unreadable.agree(said.append)
        assert said[0] == "cannot be read, another picture takes its place: its reason"
        position = 2 * LEAST_SAMPLES
        unreadable.note(range(200, 210))
        unreadable.agree(said.append)
        unreadable.note([300])
        with pytest.raises(Mistake, match=f"21 of {2 * LEAST_SAMPLES} pictures"):
            unreadable.agree(said.append)


@pytest.mark.parametrize("workers", [0, 3])
def test_the_loader_brings_pictures_reasons_and_lengths(parquet: Path, tmp_path: Path, workers: int) -> None:
    for file in parquet.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    write_parquet(tmp_path / "0.parquet", [b"broken", *tiles(2)])
    shards = opened(tmp_path)
    positions = Positions(global_size=12, per_device=4, rank=1, world=3)
    loader = ImageLoader(training(shards, workers=workers), positions, pin_memory=False)
    batches: list[ImageBatch] = [next(loader) for _ in range(30)]
    loader.close()
    alone = training(shards)
    for number, batch in enumerate(batches):
        assert batch.positions.tolist() == list(range(number * 12 + 4, number * 12 + 8))
        assert torch.equal(batch.pixels, torch.stack([alone[int(position)].pixels for position in batch.positions]))
    assert {index for batch in batches for index in batch.unreadable} <= {0}
    reasons = {index: reason for batch in batches for index, reason in batch.reasons.items()}
    assert reasons == {0: f"{tmp_path / '0.parquet'}, row 0: not a picture in a format that is read"}
    lengths = {shard: length for batch in batches for shard, length in batch.lengths.items()}
    assert lengths == alone.lengths.known
    assert lengths


class TestOpening:
    def refused(self, **settings: Any) -> str:
        with pytest.raises(Mistake) as caught:
            StreamedDataset(**{key: str(value) for key, value in settings.items()}).open()
        sentence = str(caught.value)
        assert "\n" not in sentence
        return sentence

    def test_files_folders_and_patterns(self, parquet: Path, tars: Path) -> None:
        for path in (parquet, parquet / "*.parquet", tars, tars / "*.tar"):
            shards = opened(path)
            assert [Path(name).stem for name in shards.names] == [str(number) for number in range(len(SIZES))]
            assert shards.column == ("png" if "tar" in path.name else "image")
        assert len(opened(tars / "3.tar").names) == 1
        chosen = StreamedDataset(path=str(parquet), data_files="[0-3].parquet", logical_streams=2).open()
        assert len(chosen.names) == 4

    def test_names_are_relative_where_the_path_is(self, tars: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tars.parent)
        shards = opened(Path("tars"))
        assert shards.name(ROWS) == "tars/1.tar, row 0"
        monkeypatch.chdir("/")
        assert shards.read(ROWS).shape == (3, SIDE, SIDE)

    def test_what_is_opened_travels(self, tars: Path) -> None:
        shards = opened(tars)
        copy = pickle.loads(pickle.dumps(shards))
        assert torch.equal(copy.read(ROWS + 4), shards.read(ROWS + 4))

    def test_a_picture_by_its_number(self, parquet: Path) -> None:
        shards = opened(parquet)
        assert shards.name(ROWS + 4) == f"{parquet / '1.parquet'}, row 4"
        assert shards.read(ROWS + 4).shape == (3, SIDE, SIDE)
        with pytest.raises(Unreadable, match="row 9: the row holds no picture"):
            shards.read(ROWS + 9)

    def test_columns(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "a.parquet", tiles(2), label=[1, 2])
        assert StreamedDataset(path=str(tmp_path)).open().column == "image"
        where = f"streamed dataset '{tmp_path}', split 'train'"
        columns = "image (Image(mode=None, decode=True)), label (Value('int64'))"
        assert self.refused(path=tmp_path, image_column="hr") == (
            f"image_column: {where} has no column 'hr'; it has {columns}."
        )
        assert self.refused(path=tmp_path, image_column="label") == (
            f"image_column: column 'label' of {where} holds no pictures; the columns are {columns}."
        )

    def test_parquet_files_of_other_programs_hold_bytes(self, tmp_path: Path) -> None:
        pictures = tiles(2)
        table = pyarrow.table({"jpeg": pictures, "image": [{"bytes": picture, "path": None} for picture in pictures]})
        pyarrow.parquet.write_table(table, tmp_path / "a.parquet")
        for column in ("jpeg", "image"):
            shards = StreamedDataset(path=str(tmp_path), image_column=column).open()
            assert torch.equal(shards.read(1), decode(pictures[1], "second"))

    def test_webdatasets_with_several_pictures(self, tmp_path: Path) -> None:
        good, poor = tiles(2)
        write_tar(tmp_path / "a.tar", [good], "gt.png", **{"lq.png": poor})
        sentence = self.refused(path=tmp_path)
        assert "has several columns of pictures; name one of " in sentence
        assert "gt.png (Image(" in sentence
        named = StreamedDataset(path=str(tmp_path), image_column="lq.png").open()
        assert torch.equal(named.read(0), decode(poor, "poor"))

    def test_webdatasets_without_pictures(self, tmp_path: Path) -> None:
        write_tar(tmp_path / "a.tar", [b"words"], "txt")
        assert "has no column of pictures; name one of " in self.refused(path=tmp_path)

    def test_nothing_that_decodes(self, tmp_path: Path) -> None:
        write_parquet(tmp_path / "a.parquet", [])
        write_parquet(tmp_path / "b.parquet", [b"broken", None])
        assert self.refused(path=tmp_path) == (
            f"path: none of the first 2 pictures of streamed dataset '{tmp_path}', split 'train' can be decoded; "
            f"first {tmp_path / 'b.parquet'}, row 0: not a picture in a format that is read."
        )
        (tmp_path / "b.parquet").unlink()
        assert self.refused(path=tmp_path) == f"path: streamed dataset '{tmp_path}', split 'train' holds no picture."

    def test_what_cannot_be_opened(self, tmp_path: Path, parquet: Path) -> None:
        assert self.refused(path="someone/something") == (
            "path: dataset 'someone/something' cannot be streamed: Couldn't reach 'someone/something' on the Hub "
            "(OfflineModeIsEnabled); it is no local path, so it was looked for on the hub: is the name right, is there "
            "a network, is HF_HUB_OFFLINE set, does it need `hf auth login`?"
        )
        assert self.refused(path=parquet, split="val").startswith(
            f"split: dataset '{parquet}' cannot be streamed: Bad split: val. Available splits: ['train']"
        )
        for key in ("name", "data_files", "revision"):
            assert self.refused(path=parquet / "*.parquet", **{key: "x"}) == (
                f"{key}: got 'x'; must be null where path names the files."
            )
        assert self.refused(path=tmp_path / "*.zip") == (f"path: '{tmp_path / '*.zip'}' must end in .parquet or .tar.")
        Image.new("L", (4, 4)).save(tmp_path / "a.png")
        assert self.refused(path=tmp_path) == (
            f"path: folder '{tmp_path}' holds no .parquet or .tar file; for a folder of pictures write `type: folder`."
        )
        datasets.Dataset.from_dict({"a": [1]}).save_to_disk(tmp_path / "saved")
        assert self.refused(path=tmp_path / "saved") == (
            f"path: '{tmp_path / 'saved'}' was written by save_to_disk, which is not streamed: `type: dataset`."
        )
        assert self.refused(path=tmp_path / "absent.tar") == (
            f"path: '{tmp_path / 'absent.tar'}' does not exist (seen from '{Path.cwd()}'), and is no name on the hub."
        )
        (tmp_path / "bad.parquet").write_bytes(b"nonsense")
        assert "cannot be streamed: " in self.refused(path=tmp_path / "bad.parquet")
        assert "cannot be streamed: " in self.refused(path=tmp_path / "absent-*.parquet")

    def test_no_streams(self) -> None:
        with pytest.raises(ValueError, match="logical_streams must be at least 1, got 0"):
            StreamedDataset(path="a", logical_streams=0)
