"""Pictures from Hugging Face `datasets`: a repository on the hub, a saved dataset, or parquet files."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from trainer.images.decode import Unreadable, decode
from trainer.images.radiometry import Radiometry
from trainer.mistakes import Mistake
from trainer.paths import PathText, is_absent

GLOB = frozenset("*?[")


@dataclass(frozen=True, slots=True)
class Rows:
    """The pictures in one column of a dataset: encoded as they are stored, or arrays of several bands."""

    where: str
    rows: Any  # datasets.Dataset of one column, Image(decode=False) or numbers in numpy's arrays
    column: str
    radiometry: Radiometry | None = None
    key: str = "path"

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """The dataset and the row, counted from 0."""
        return f"{self.where}, row {index}"

    def read(self, index: int) -> Tensor:
        """Decode row `index`: see `decode`, and `Radiometry` where the pictures have bands."""
        stored, name = self.rows[index][self.column], self.name(index)
        if self.radiometry is None:
            return decode_stored(stored, name)
        if isinstance(stored, dict):
            return self.radiometry.decode(stored["bytes"] or Path(stored["path"]), name)
        return self.radiometry.from_array(stored, name)


@dataclass(frozen=True, kw_only=True, slots=True)
class HubDataset:
    """A Hugging Face dataset with a column of pictures, read by row number (not streamed)."""

    path: PathText
    """`user/name` on the hub, what `save_to_disk` wrote, or a parquet file, folder or `tiles/*.parquet`."""
    name: str | None = None
    """The configuration (subset) of the dataset, where it has several."""
    split: str = "train"
    """The split to read."""
    image_column: str | None = None
    """The column of the pictures; by default `image`, or the only one that holds pictures."""
    revision: str | None = None
    """A branch, tag or commit on the hub; by default the newest."""
    radiometry: Radiometry | None = None
    """For multi-band pictures, arrays [bands, height, width] or encoded rasters: their bands and what their numbers
    mean. null: photographs."""
    type: Literal["dataset"] = "dataset"

    def open(self) -> Rows:
        """Load the dataset (from the hub: download it into the cache) and find its pictures.

        Raises:
            Mistake: it cannot be had, is empty, has no such split, or no column of pictures.
        """
        import datasets  # 0.5 s, and only runs with such a source need it

        try:
            loaded = self._load()
        except Mistake:
            raise
        except Exception as error:  # hub, cache and arrow raise OSError, ValueError, httpx errors ... alike
            reason = first_line(error) + hint(self.path)
            raise Mistake(f"path: dataset {self.path!r} cannot be loaded: {reason}") from error
        where = f"dataset {self.path!r}, split {self.split!r}"
        columns = listed(loaded.features)
        column = self.image_column or find_column(loaded.features, where)
        if column not in loaded.features:
            raise Mistake(f"image_column: {where} has no column {column!r}; it has {columns}.")
        rows = loaded.select_columns([column])
        if self.radiometry and not isinstance(loaded.features[column], datasets.Image):
            return Rows(where, rows.with_format("numpy"), column, self.radiometry)
        try:
            rows = rows.cast_column(column, datasets.Image(decode=False))
        except Exception as error:  # arrow's errors have no common type below Exception
            raise Mistake(
                f"image_column: column {column!r} of {where} holds no pictures; the columns are {columns}."
            ) from error
        return Rows(where, rows, column, self.radiometry)

    def _load(self) -> Any:
        import datasets

        prove_named(self.path)
        local = Path(self.path)
        if (local / "dataset_dict.json").is_file() or (local / "state.json").is_file():
            return self._split_of(datasets.load_from_disk(self.path))
        if local.suffix == ".parquet" or GLOB & set(self.path):
            return datasets.load_dataset("parquet", data_files={self.split: self.path}, split=self.split)
        if local.is_dir() and not any(local.rglob("*.parquet")):
            raise Mistake(
                f"path: folder {self.path!r} holds no parquet file; for a folder of pictures write `type: folder`."
            )
        return datasets.load_dataset(self.path, self.name, split=self.split, revision=self.revision)

    def _split_of(self, saved: Any) -> Any:
        """`save_to_disk` writes one split without a name, or a dictionary of splits."""
        if not isinstance(saved, dict):
            return saved
        if self.split not in saved:
            splits = ", ".join(saved)
            raise Mistake(f"split: dataset {self.path!r} has no split {self.split!r}; it has {splits}.")
        return saved[self.split]


def decode_stored(stored: Any, name: str) -> Tensor:
    """Decode what a column of Image(decode=False) holds: see `decode`; Unreadable where it holds nothing."""
    if stored is None or (stored["bytes"] is None and stored["path"] is None):
        raise Unreadable(name, "the row holds no picture")
    return decode(stored["bytes"] or Path(stored["path"]), name)


def prove_named(path: str) -> None:
    """Mistake, before the hub is asked again and again, where `path` can be nothing that it has."""
    if not GLOB & set(path) and is_absent(path):
        raise Mistake(f"path: {path!r} does not exist (seen from {str(Path.cwd())!r}), and is no name on the hub.")


def hint(path: str) -> str:
    """How an error about `path` ends: what to look at, where that is the hub."""
    if Path(path).exists() or GLOB & set(path) or Path(path).suffix in (".parquet", ".tar"):
        return "."
    return (
        "; it is no local path, so it was looked for on the hub: is the name right, is there a network, "
        "is HF_HUB_OFFLINE set, does it need `hf auth login`?"
    )


def find_column(features: Any, where: str) -> str:
    """The column of pictures: `image`, or the only one; Mistake where that is not clear."""
    import datasets

    if "image" in features:
        return "image"
    pictures = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if len(pictures) != 1:
        found = "several columns of pictures" if pictures else "no column of pictures"
        raise Mistake(f"image_column: {where} has {found}; name one of {listed(features)}.")
    return str(pictures[0])


def listed(features: Any) -> str:
    """`image (Image(mode=None, decode=True)), label (Value('int64'))`"""
    return ", ".join(f"{name} ({feature})" for name, feature in features.items())


def first_line(error: Exception) -> str:
    """What a library says went wrong, without what follows."""
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
