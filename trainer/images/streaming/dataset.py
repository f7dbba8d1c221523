"""Pictures from a Hugging Face dataset that is streamed: read shard after shard, never downloaded as a whole."""

import errno
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from trainer.files.paths import PathText
from trainer.images.away import TRANSIENT_ERRNOS, Away, is_network_error
from trainer.images.hub_dataset import (
    GLOB,
    check_dataset_path,
    decode_stored,
    find_column,
    first_line,
    hint,
    is_local_path,
    key_of,
    listed,
    roots_of,
)
from trainer.images.identity import Identity, sha256_of
from trainer.images.opened import BUDGET, Budget, Unreadable
from trainer.mistakes import Mistake

SHARDS = {".parquet": "parquet", ".tar": "webdataset"}
"""The loader of `datasets` for each kind of shard that a local path may name."""

ROWS = 2**32
"""Limit of the rows of a shard: picture `row` of shard `shard` has the number `shard * ROWS + row`."""

TRIES = 100
"""Pictures tried before a run begins, of which one must decode."""

COMMIT = re.compile(r"@[0-9a-f]{40}(?=/)")
"""The commit in the names of the hub's files. A run is recognised by the names without it: any edit of the hub's README
is a new commit."""


@dataclass(frozen=True, slots=True)
class Shards:
    """The shards of a streamed dataset, each a sequence of pictures that is read from its beginning.

    Picklable: a rank or a worker gets the resolved list of files, so all read the same ones.
    """

    where: str
    names: tuple[str, ...]
    dataset: Any  # datasets.IterableDataset of one column, Image(decode=False)
    column: str
    logical_streams: int
    """Number of streams that may be read side by side, at most."""
    identity: Identity
    roots: tuple[Path, ...] = ()
    """Folders below which a row may name a file in place of holding it: none for data from the hub."""
    budget: Budget = BUDGET
    key: str = "path"
    notes: tuple[str, ...] = ()

    def name(self, number: int) -> str:
        """The shard and the row in it, counted from 0, of picture `number`."""
        shard, row = divmod(number, ROWS)
        return f"{self.names[shard]}, row {row}"

    def rows(self, shard: int) -> Iterator[Any]:
        """The rows of a shard, encoded as they are stored.

        Raises:
            Mistake: the shard cannot be read (any more): a damaged archive, a file that the hub has no more.
            Away: its disk, or the network to it, is unavailable.
        """
        try:
            for row in self.dataset.shard(num_shards=len(self.names), index=shard):
                yield row[self.column]
        except Exception as error:  # hub, tar and arrow have no common type below Exception
            is_of_disk = isinstance(error, OSError) and error.errno in {*TRANSIENT_ERRNOS, errno.ENOENT, errno.EIO}
            if is_of_disk or is_network_error(error):
                raise Away(self.names[shard], first_line(error)) from error
            raise Mistake(f"{self.names[shard]} cannot be read: {first_line(error)}.") from error

    def read(self, number: int) -> Tensor:
        """Decode picture `number`; its shard is read up to it: see `decode`."""
        shard, row = divmod(number, ROWS)
        return self.decode(next(islice(self.rows(shard), row, None), None), number)

    def decode(self, stored: Any, number: int) -> Tensor:
        """Decode the content of a row, picture `number`: see `decode_stored`."""
        return decode_stored(stored, self.name(number), self.roots, self.budget)


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamedDataset:
    """A Hugging Face dataset with a column of pictures, streamed: for data that do not fit on a disk."""

    path: PathText
    """`user/name` on the hub, or parquet files or webdataset archives: `x.tar`, `tiles/*.parquet` or their folder."""
    name: str | None = None
    """The configuration (subset) of the dataset, if it has several."""
    data_files: str | None = None
    """The files of the repository or folder to read, such as `data/train-*.parquet`; by default all of the split."""
    split: str = "train"
    """The split to read."""
    image_column: str | None = None
    """The column of the pictures; by default `image`, or the only one that holds pictures. A webdataset's columns are
    named by the endings of its files, such as `png`."""
    revision: str | None = None
    """A branch, tag or commit on the hub; by default the newest at each start, so name a tag or commit if the files
    may change before the run is resumed."""
    logical_streams: int = 48
    """Number of shards read side by side over all processes, at most: the largest number up to it that divides
    `batch.global_size`. Each keeps a row group (parquet, about twice its size) or a picture (webdataset) in memory."""
    type: Literal["stream"] = "stream"

    def __post_init__(self) -> None:
        if self.logical_streams < 1:
            raise ValueError(f"logical_streams must be at least 1, got {self.logical_streams}")
        if "[" in self.split:
            raise ValueError(
                f"split: got {self.split!r}; nobody has counted a stream, so it has no parts: name some of its shards "
                "by data_files, or use `type: dataset`"
            )

    @property
    def radiometry(self) -> None:
        """None: they are photographs."""

    def open(self, budget: Budget = BUDGET) -> Shards:
        """List the shards, find the column of pictures, and check that one of the first pictures decodes.

        Fewer parquet files than `logical_streams` are split into their row groups.

        Raises:
            Mistake: it cannot be loaded, has no such split or column, or none of its first pictures decodes.
        """
        where = f"streamed dataset {self.path!r}, split {self.split!r}"
        try:
            files, streamed = self._stream()
            names = [self._shown(file) for file in files]
            pictures, column = self._pictures(streamed, where)
            if len(names) < self.logical_streams:
                names, pictures = _split(names, pictures)
        except Mistake:
            raise
        except Exception as error:  # hub, cache, tar and arrow raise OSError, ValueError, httpx errors ... alike
            reason = first_line(error) + hint(self.path)
            raise Mistake(f"{key_of(error)}: dataset {self.path!r} cannot be streamed: {reason}") from error
        identity, roots = self._identity(files, len(names)), roots_of(self.path) if is_local_path(self.path) else ()
        shards = Shards(where, tuple(names), pictures, column, self.logical_streams, identity, roots, budget)
        _check_first(shards)
        return shards

    def _stream(self) -> tuple[list[str], Any]:
        """Names of the shards' files, and the streamed dataset."""
        builder = self._builder()
        streamed = builder.as_streaming_dataset(split=self.split)
        files = [str(file) for file in (builder.config.data_files or {}).get(self.split, ())]
        if len(files) != streamed.num_shards:  # a loader that makes shards of something else than files
            files = [f"shard {number}" for number in range(streamed.num_shards)]
        return files, streamed

    def _shown(self, file: str) -> str:
        """A file's name, relative if the path is: the same on every machine that has the files at that path."""
        name = COMMIT.sub("", file)
        return name if Path(self.path).is_absolute() else name.removeprefix(f"{Path.cwd()}/")

    def _identity(self, files: list[str], shards: int) -> Identity:
        """Identity of the shards: names below their folder and sizes, or names on the hub."""
        root = roots_of(self.path)[0].resolve()
        names, sizes, times = [], [], []
        for file in files:
            here = Path(file)
            if not here.is_file():
                names.append(COMMIT.sub("", file))
                continue
            names.append(os.path.relpath(here.resolve(), root))
            sizes.append(here.stat().st_size)
            times.append(here.stat().st_mtime_ns)
        return Identity(shards, sha256_of(names), sha256_of([shards, *names, *sizes]), sha256_of(times))

    def _builder(self) -> Any:
        import datasets  # 0.5 s, and only runs with such a source need it

        check_dataset_path(self.path)
        local = Path(self.path)
        if (local / "dataset_dict.json").is_file() or (local / "state.json").is_file():
            raise Mistake(f"path: {self.path!r} was written by save_to_disk, which is not streamed: `type: dataset`.")
        if local.suffix in SHARDS and not local.is_dir():
            for key in ("name", "data_files", "revision"):
                if getattr(self, key) is not None:
                    raise Mistake(f"{key}: got {getattr(self, key)!r}; must be null where path names the files.")
            return datasets.load_dataset_builder(SHARDS[local.suffix], data_files={self.split: self.path})
        if GLOB & set(self.path):
            raise Mistake(f"path: {self.path!r} must end in {' or '.join(SHARDS)}.")
        if local.is_dir() and not any(file.suffix in SHARDS for file in local.rglob("*")):
            raise Mistake(
                f"path: folder {self.path!r} holds no {' or '.join(SHARDS)} file; for a folder of pictures write "
                "`type: folder`."
            )
        chosen = {self.split: self.data_files} if self.data_files else None
        return datasets.load_dataset_builder(self.path, self.name, data_files=chosen, revision=self.revision)

    def _pictures(self, streamed: Any, where: str) -> tuple[Any, str]:
        """The streamed column of pictures alone, not decoded, and its name."""
        import datasets

        features = streamed.features or {}
        column = self.image_column or find_column(features, where)
        if column not in features:
            raise Mistake(f"image_column: {where} has no column {column!r}; it has {listed(features)}.")
        pictures = streamed.select_columns([column]).cast_column(column, datasets.Image(decode=False))
        if not isinstance(features[column], datasets.Image) and not _castable(pictures, column):
            raise Mistake(
                f"image_column: column {column!r} of {where} holds no pictures; the columns are {listed(features)}."
            )
        return pictures, column


def _castable(pictures: Any, column: str) -> bool:
    """True if a column that is not declared as pictures holds some, as bytes in any other program's parquet file."""
    try:
        return all(isinstance(row[column], dict) for row in pictures.take(1))
    except Exception:  # arrow's errors have no common type below Exception
        return False


def _split(files: list[str], pictures: Any) -> tuple[list[str], Any]:
    """Names and dataset with a shard for each row group, if the files have row groups."""
    finer = pictures.reshard()
    groups = [pictures.shard(num_shards=len(files), index=number).reshard() for number in range(len(files))]
    if sum(group.num_shards for group in groups) != finer.num_shards:  # an empty file has no row group, but counts 1
        kept = [number for number, group in enumerate(groups) if next(iter(group), None) is not None]
        files, groups = [files[number] for number in kept], [groups[number] for number in kept]
    names = [
        f"{file}, row group {number}" if group.num_shards > 1 else file
        for file, group in zip(files, groups, strict=True)
        for number in range(group.num_shards)
    ]
    return names, finer


def _check_first(shards: Shards) -> None:
    """Mistake unless one of the first `TRIES` pictures decodes."""
    try:
        numbered = ((shard, row) for shard in range(len(shards.names)) for row in enumerate(shards.rows(shard)))
        reasons = []
        for shard, (row, stored) in islice(numbered, TRIES):
            try:
                shards.decode(stored, shard * ROWS + row)
            except Unreadable as error:
                reasons.append(str(error))
            else:
                return
    except (Mistake, Away) as mistake:
        raise Mistake(f"path: {mistake}") from mistake
    if not reasons:
        raise Mistake(f"path: {shards.where} holds no picture.")
    raise Mistake(
        f"path: none of the first {len(reasons)} pictures of {shards.where} can be decoded; first {reasons[0]}."
    )
