"""Pictures from Hugging Face `datasets`: a repository on the hub, a saved dataset, or parquet files."""

import re
from dataclasses import dataclass
from pathlib import Path, PurePath
from typing import Any, Literal

from torch import Tensor

from trainer.files.paths import PathText, check_path, is_absent
from trainer.images.decode import decode
from trainer.images.identity import Identity, sha256_of
from trainer.images.opened import BUDGET, Budget, Unreadable
from trainer.images.radiometry import Radiometry
from trainer.mistakes import Mistake

GLOB = frozenset("*?[")
OF_SPLITS = re.compile(
    r"Bad split|Instruction \S*\[|Percent slice|Requested slice|Split name|Unknown split|Unrecognized instruction"
)
"""Beginnings of messages of `datasets` about a wrong split, or a wrong part of one."""
PROBES = 32
"""Rows, spread evenly, whose content identifies a dataset."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The pictures in one column of a dataset: encoded as they are stored, or arrays of several bands."""

    where: str
    rows: Any  # datasets.Dataset of one column, Image(decode=False) or numbers in numpy's arrays
    column: str
    identity: Identity
    roots: tuple[Path, ...] = ()
    """Folders below which a row may name a file in place of holding it."""
    radiometry: Radiometry | None = None
    budget: Budget = BUDGET
    key: str = "path"
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.rows)

    def name(self, index: int) -> str:
        """The dataset and the row, counted from 0."""
        return f"{self.where}, row {index}"

    def read(self, index: int) -> Tensor:
        """Decode row `index`: see `decode`, and `Radiometry` if the pictures have bands."""
        stored, name = self.rows[index][self.column], self.name(index)
        if self.radiometry is None:
            return decode_stored(stored, name, self.roots, self.budget)
        if stored is None or isinstance(stored, dict):
            return self.radiometry.decode(picture_in(stored, name, self.roots), name, self.budget)
        return self.radiometry.from_array(stored, name)


@dataclass(frozen=True, kw_only=True, slots=True)
class HubDataset:
    """A Hugging Face dataset with a column of pictures, read by row number (not streamed)."""

    path: PathText
    """`user/name` on the hub, a folder written by `save_to_disk`, or a parquet file, folder or `tiles/*.parquet`."""
    name: str | None = None
    """The configuration (subset) of the dataset, if it has several."""
    split: str = "train"
    """The split to read, or a part of it as `datasets` writes it: `train[:50%]`."""
    image_column: str | None = None
    """The column of the pictures; by default `image`, or the only one that holds pictures."""
    revision: str | None = None
    """A branch, tag or commit on the hub; by default the newest."""
    radiometry: Radiometry | None = None
    """For multi-band pictures, arrays [bands, height, width] or encoded rasters: their bands and what their numbers
    mean. null: photographs."""
    type: Literal["dataset"] = "dataset"

    def open(self, budget: Budget = BUDGET) -> Rows:
        """Load the dataset (from the hub: download it into the cache) and find its pictures.

        Raises:
            Mistake: it cannot be loaded, is empty, has no such split, or no column of pictures.
        """
        import datasets  # 0.5 s, and only runs with such a source need it

        try:
            loaded = self._load()
        except Mistake:
            raise
        except Exception as error:  # hub, cache and arrow raise OSError, ValueError, httpx errors ... alike
            reason = first_line(error) + hint(self.path)
            raise Mistake(f"{key_of(error)}: dataset {self.path!r} cannot be loaded: {reason}") from error
        where = f"dataset {self.path!r}, split {self.split!r}"
        columns = listed(loaded.features)
        column = self.image_column or find_column(loaded.features, where)
        if column not in loaded.features:
            raise Mistake(f"image_column: {where} has no column {column!r}; it has {columns}.")
        if not len(loaded):
            raise Mistake(f"{'split' if '[' in self.split else 'path'}: {where} has no row.")
        rows = loaded.select_columns([column])
        if self.radiometry and not isinstance(loaded.features[column], datasets.Image):
            rows = rows.with_format("numpy")
            return Rows(where, rows, column, identity_of_rows(rows, column), (), self.radiometry, budget)
        try:
            rows = rows.cast_column(column, datasets.Image(decode=False))
        except Exception as error:  # arrow's errors have no common type below Exception
            raise Mistake(
                f"image_column: column {column!r} of {where} holds no pictures; the columns are {columns}."
            ) from error
        identity = identity_of_rows(rows, column)
        return Rows(where, rows, column, identity, roots_of(self.path), self.radiometry, budget)

    def _load(self) -> Any:
        import datasets

        check_dataset_path(self.path)
        local = Path(self.path)
        if (local / "dataset_dict.json").is_file() or (local / "state.json").is_file():
            return self._split_of(datasets.load_from_disk(self.path))
        if local.suffix == ".parquet" or GLOB & set(self.path):
            base = self.split.partition("[")[0]
            return datasets.load_dataset("parquet", data_files={base: self.path}, split=self.split)
        if local.is_dir() and not any(local.rglob("*.parquet")):
            raise Mistake(
                f"path: folder {self.path!r} holds no parquet file; for a folder of pictures write `type: folder`."
            )
        return datasets.load_dataset(self.path, self.name, split=self.split, revision=self.revision)

    def _split_of(self, saved: Any) -> Any:
        """The wanted split, or part of it, out of what `save_to_disk` wrote: one unnamed split, or a dictionary of
        them."""
        import datasets

        base, part, _ = self.split.partition("[")
        if isinstance(saved, dict):
            if base not in saved:
                splits = ", ".join(saved)
                raise Mistake(f"split: dataset {self.path!r} has no split {base!r}; it has {splits}.")
            saved = saved[base]
        if not part:
            return saved
        parts = datasets.ReadInstruction.from_spec(self.split).to_absolute({base: len(saved)})
        return saved.select([row for part in parts for row in range(len(saved))[part.from_ : part.to]])


def decode_stored(stored: Any, name: str, roots: tuple[Path, ...] = (), budget: Budget = BUDGET) -> Tensor:
    """Decode a value of a column of Image(decode=False): see `decode` and `picture_in`."""
    return decode(picture_in(stored, name, roots), name, budget)


def picture_in(stored: Any, name: str, roots: tuple[Path, ...]) -> bytes | Path:
    """The encoded picture in a row; or the path of the file that it names, if that lies below one of `roots`.

    Rows come from other people: without this check they would choose which of this machine's files are trained on,
    shown and pushed. Raises Unreadable if there is neither.
    """
    if stored is None or (stored["bytes"] is None and stored["path"] is None):
        raise Unreadable(name, "the row holds no picture")
    if stored["bytes"] is not None:
        held: bytes = stored["bytes"]
        return held
    for root in roots if "\0" not in stored["path"] else ():  # which no path has
        file: Path = (root / stored["path"]).resolve()
        if file.is_relative_to(root.resolve()):
            return file
    below = f" outside {str(roots[0])!r}" if roots else ""
    raise Unreadable(name, f"the row holds no picture but names a file{below}, {stored['path']!r}, which is not read")


def roots_of(path: str) -> tuple[Path, ...]:
    """Folders below which rows of the dataset at `path` may name files: that of its own files; from the hub, the cache
    that holds a repository's files."""
    import datasets
    from huggingface_hub.constants import HF_HUB_CACHE

    local = Path(path)
    if GLOB & set(path):
        fixed = next(number for number, part in enumerate(local.parts) if GLOB & set(part))
        return (Path(*local.parts[:fixed]),)
    if is_local_path(path):
        return (local if local.is_dir() else local.parent,)
    repository = Path(HF_HUB_CACHE, f"datasets--{path.replace('/', '--')}")
    return (repository, Path(datasets.config.HF_DATASETS_CACHE, "downloads", "extracted"))


def identity_of_rows(rows: Any, column: str) -> Identity:
    """Identity of a dataset's column: the number of rows, and the content of some of them."""
    count = len(rows)
    probed = sorted({number * (count - 1) // max(1, PROBES - 1) for number in range(PROBES)} if count else ())
    parts: list[object] = [count]
    for stored in (rows[number][column] for number in probed):
        if isinstance(stored, dict):
            parts += [stored["bytes"] if stored["bytes"] is not None else PurePath(stored["path"] or "").name]
        else:
            parts += [stored.dtype, stored.shape, stored.tobytes()] if hasattr(stored, "tobytes") else [stored]
    content = sha256_of(parts)
    return Identity(count, content, content)


def is_local_path(path: str) -> bool:
    """True if a dataset's path names local files and no repository on the hub."""
    return Path(path).exists() or bool(GLOB & set(path))


def check_dataset_path(path: str) -> None:
    """Mistake for a `path` that is neither here nor can be on the hub, before the hub is asked again and again."""
    check_path(path, "path")
    if not GLOB & set(path) and is_absent(path):
        raise Mistake(f"path: {path!r} does not exist (seen from {str(Path.cwd())!r}), and is no name on the hub.")


def hint(path: str) -> str:
    """End of an error message about `path`: what to check if the hub was asked."""
    if is_local_path(path) or Path(path).suffix in (".parquet", ".tar"):
        return "."
    return (
        "; it is no local path, so it was looked for on the hub: is the name right, is there a network, "
        "is HF_HUB_OFFLINE set, does it need `hf auth login`?"
    )


def find_column(features: Any, where: str) -> str:
    """Name of the column of pictures: `image`, or the only one; Mistake if that is ambiguous."""
    import datasets

    if "image" in features:
        return "image"
    pictures = [name for name, feature in features.items() if isinstance(feature, datasets.Image)]
    if len(pictures) != 1:
        found = "several columns of pictures" if pictures else "no column of pictures"
        raise Mistake(f"image_column: {where} has {found}; name one of {listed(features)}.")
    return str(pictures[0])


def listed(features: Any) -> str:
    """Names and types of columns: `image (Image(mode=None, decode=True)), label (Value('int64'))`."""
    return ", ".join(f"{name} ({feature})" for name, feature in features.items())


def key_of(error: Exception) -> str:
    """The key of a dataset's section that an error of `datasets` is about."""
    return "split" if isinstance(error, ValueError) and OF_SPLITS.match(str(error)) else "path"


def first_line(error: BaseException) -> str:
    """First line of an exception's message, with that of its cause if the message does not contain it."""
    lines = str(error).strip().splitlines()
    line = lines[0].rstrip(".!") if lines else type(error).__name__
    if error.__cause__ is None:
        return line
    cause = first_line(error.__cause__)
    return line if cause in line or type(error.__cause__).__name__ in line else f"{line}: {cause}"
