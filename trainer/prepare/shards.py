"""Shards of tiles: parquet files that are complete or absent, and the manifest by which a stopped preparation goes on.

A shard ends with a picture, so what each holds follows from the pictures and the settings alone: what is made after a
stop is what would have been made without one.
"""

import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trainer.files.atomic import ASIDE, atomically, remove, sweep, write_atomically
from trainer.images.opened import Unreadable
from trainer.mistakes import Mistake
from trainer.prepare.tiles import Tiles

MANIFEST = ".prepare.json"
"""Hidden, as `datasets` would take another JSON file for rows."""
OURS = re.compile(r"train-\d{5}\.parquet")
ROWS = 100
"""Tiles of a row group, which readers of a stream hold in memory: the number of `datasets` for pictures."""


@dataclass
class Shard:
    """Record of a finished shard, and of the pictures that it was made of."""

    pictures: int = 0
    tiles: int = 0
    bytes: int = 0
    """Of the file; there is none without tiles."""
    small: int = 0
    """Pictures that gave no tile, as all their versions are too small."""
    small_versions: int = 0
    """Versions left out of the other pictures."""
    unreadable: list[list[str]] = field(default_factory=list)
    """Name and reason of each; pictures of two folders may have the same name."""

    def count(self, name: str, made: Tiles | Unreadable) -> None:
        """Enter what a picture gave."""
        self.pictures += 1
        if isinstance(made, Unreadable):
            self.unreadable.append([name, made.reason])
        elif made.encoded:
            self.tiles += len(made.encoded)
            self.small_versions += made.left_out
        else:
            self.small += 1


@dataclass
class Prepared:
    """A folder of shards and its manifest."""

    folder: Path
    made_of: dict[str, Any]
    """Settings and sources, as JSON holds them."""
    shards: list[Shard] = field(default_factory=list)

    def file(self, number: int) -> Path:
        """The file of a shard."""
        return self.folder / f"train-{number:05}.parquet"

    def total(self) -> Shard:
        """The sum of all shards."""
        numbers = ("pictures", "tiles", "bytes", "small", "small_versions")
        sums = {name: sum(getattr(shard, name) for shard in self.shards) for name in numbers}
        return Shard(**sums, unreadable=[bad for shard in self.shards for bad in shard.unreadable])

    def save(self) -> None:
        """Write the manifest."""
        shards = [asdict(shard) for shard in self.shards]
        write_atomically(self.folder / MANIFEST, json.dumps({"made_of": self.made_of, "shards": shards}, indent=1))

    def begin(self) -> None:
        """Make the folder, and remove whatever an earlier preparation left in it that is not in the manifest."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self.save()
        sweep(self.folder)
        kept = {self.file(number).name for number in range(len(self.shards))}
        for file in self.folder.iterdir():
            if OURS.fullmatch(file.name) and file.name not in kept:
                remove(file)

    def add(self, results: Iterator[tuple[str, Tiles | Unreadable]], limit: int) -> None:
        """Write the next shard: tiles of pictures, by name, until they take `limit` bytes or `results` ends."""
        shard, file = Shard(), self.file(len(self.shards))
        with atomically(file) as aside:
            write_rows(aside, _rows(results, shard, limit))
        if shard.tiles:
            shard.bytes = file.stat().st_size
        else:
            file.unlink()
        self.shards.append(shard)
        self.save()


def _rows(results: Iterator[tuple[str, Tiles | Unreadable]], shard: Shard, limit: int) -> Iterator[dict[str, Any]]:
    """Rows of a shard, which is counted on the way."""
    size = 0
    for name, made in results:
        shard.count(name, made)
        for tile in made.encoded if isinstance(made, Tiles) else ():
            size += len(tile)
            yield {"image": {"bytes": tile, "path": None}, "source": name}
        if size >= limit:
            return


def write_rows(file: Path, rows: Iterable[dict[str, Any]]) -> None:
    """Write rows as a parquet file with the features of `datasets`: `image` (PNG bytes) and `source` (a name)."""
    import datasets
    import pyarrow
    from pyarrow.parquet import ParquetWriter

    schema = datasets.Features({"image": datasets.Image(), "source": datasets.Value("string")}).arrow_schema
    group: list[dict[str, Any]] = []
    with ParquetWriter(file, schema, compression="NONE", use_dictionary=["source"], write_statistics=False) as writer:
        for row in rows:
            group.append(row)
            if len(group) == ROWS:
                writer.write_table(pyarrow.Table.from_pylist(group, schema))
                group.clear()
        if group:
            writer.write_table(pyarrow.Table.from_pylist(group, schema))


def open_prepared(folder: Path, made_of: dict[str, Any], fresh: bool) -> Prepared:
    """The finished shards in `folder` of a preparation by `made_of`; nothing is written.

    Raises:
        Mistake: it is no folder, holds what another program wrote, or was prepared otherwise and `fresh` is false.
    """
    if folder.exists() and not folder.is_dir():
        raise Mistake(f"DST: {str(folder)!r} is a file; wanted a folder for the shards.")
    manifest = folder / MANIFEST
    if not manifest.is_file():
        others = (
            sorted(file.name for file in folder.iterdir() if not file.name.startswith(ASIDE)) if folder.is_dir() else []
        )
        if others:
            raise Mistake(f"DST: folder {str(folder)!r} holds {others[0]!r}, which this program did not write; "
                          "wanted a new or an empty folder.")  # fmt: skip
        return Prepared(folder, made_of)
    if fresh:
        return Prepared(folder, made_of)
    try:
        found = json.loads(manifest.read_text(encoding="utf-8"))
        before, shards = found["made_of"], [Shard(**shard) for shard in found["shards"]]
        changes = differences(before, made_of)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise Mistake(f"DST: {str(manifest)!r} is no manifest of a preparation; --fresh makes all anew.") from None
    if changes:
        what = "; ".join(changes)
        raise Mistake(f"DST: {str(folder)!r} was prepared otherwise: {what}. Name another folder, or say --fresh.")
    prepared = Prepared(folder, made_of)
    for number, shard in enumerate(shards):
        if shard.tiles and not _has_size(prepared.file(number), shard.bytes):
            break
        prepared.shards.append(shard)
    return prepared


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """The settings and sources that differ, in words."""
    found = [f"--{key.replace('_', '-')} was {before.get(key)} and is {now[key]}"
             for key in now if key != "sources" and before.get(key) != now[key]]  # fmt: skip
    then, here = before["sources"], now["sources"]
    if len(then) != len(here):
        return [*found, f"SRC was {len(then)} folders and is {len(here)}"]
    for old, new in zip(then, here, strict=True):
        if old["folder"] != new["folder"] or old["pictures"] != new["pictures"]:
            was, is_now = (f"{source['folder']!r} with {source['pictures']} pictures" for source in (old, new))
            found.append(f"SRC was {was} and is {is_now}")
        elif old != new:
            found.append(f"the pictures of SRC {new['folder']!r} have other names or sizes")
    return found


def _has_size(file: Path, size: int) -> bool:
    return file.is_file() and file.stat().st_size == size
