"""Sources of pictures: each configuration opens an `ImageSource`, which reads picture number `index`.

What is opened is small and picklable: one rank opens (and thereby lists) a folder and sends the source to
the others, and every worker process gets a copy. A `HubDataset` pickles as the paths of its memory-mapped
files, so each machine opens its own.
"""

import importlib.util
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal, Protocol

from torch import Tensor

from trainer.files.paths import PathText
from trainer.images.away import read_unless_away
from trainer.images.decode import decode
from trainer.images.identity import Identity, identity_of_files
from trainer.images.listing import list_folder, list_images, printable
from trainer.images.lists import names_of_list
from trainer.images.opened import BUDGET, Budget, Unreadable
from trainer.images.radiometry import Radiometry, raster_library
from trainer.mistakes import Mistake


class Pictures(Protocol):
    """Numbered pictures. Reading is deterministic and leaves the source unchanged."""

    @property
    def where(self) -> str:
        """The source, for error messages: "folder 'photos'"."""
        ...

    @property
    def key(self) -> str:
        """The configuration key that errors about these pictures begin with."""
        ...

    def name(self, index: int) -> str:
        """Name of picture `index` for messages: its path, or its row in a dataset."""
        ...

    def read(self, index: int) -> Tensor:
        """Picture `index`: uint8 [3, H, W], or uint16 [C, H, W] by a radiometry; `Unreadable` if that fails."""
        ...


class ImageSource(Pictures, Protocol):
    """Pictures by number, counted from 0."""

    @property
    def identity(self) -> Identity:
        """Identity of these pictures."""
        ...

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes on how the pictures were found, a sentence each."""
        ...

    def __len__(self) -> int:
        """Number of pictures; at least one."""
        ...


@dataclass(frozen=True, slots=True)
class Files:
    """Picture files below one folder."""

    where: str
    key: str
    root: str
    files: tuple[str, ...]  # relative to `root`, with "/"
    identity: Identity
    radiometry: Radiometry | None = None
    budget: Budget = BUDGET
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        """The path in printable form, beginning with the folder as the user gave it."""
        return printable(str(Path(self.root, self.files[index])))

    def read(self, index: int) -> Tensor:
        """Decode file `index`: see `decode`, and `Radiometry.decode` if the files have bands."""
        file, name = Path(self.root, self.files[index]), self.name(index)
        read = self.radiometry.decode if self.radiometry else decode
        return read_unless_away(lambda: read(file, name, self.budget), file)


@dataclass(frozen=True, kw_only=True, slots=True)
class Folder:
    """A folder of pictures, with its sub-folders."""

    SHORT: ClassVar[str] = "path"

    path: PathText
    """The folder. Its sub-folders count too; names that begin with a dot do not."""
    list: PathText | None = None
    """A text file that chooses among its pictures, a name on each line (upstream's `meta_info`). null takes all."""
    radiometry: Radiometry | None = None
    """For multi-band files, such as GeoTIFF: their bands and what their numbers mean. null: photographs."""
    type: Literal["folder"] = "folder"

    def open(self, budget: Budget = BUDGET) -> Files:
        """List the pictures, sorted by relative path so that every machine numbers them alike, or as `list` has them.

        Raises:
            Mistake: no such folder, a file, nothing in it, no picture in it, or a folder of pairs; see `read_list` and
                `names_of_list` for those about a list.
        """
        if self.list is not None:
            return files_of(self.path, self.list, self.radiometry, budget)
        inside = {entry.name.lower(): entry.name for entry in list_folder(self.path, "path")}
        for gt, lq in (("gt", "lq"), ("hr", "lr")):
            if gt in inside and lq in inside:
                raise Mistake(
                    f"path: folder {self.path!r} holds pairs ({inside[gt]!r} and {inside[lq]!r}): its poor pictures "
                    "would be taken for good ones; name the folder of the good ones, "
                    f"{str(Path(self.path, inside[gt]))!r}."
                )
        return files_of(self.path, None, self.radiometry, budget)


def files_of(path: str, list_file: str | None, radiometry: Radiometry | None, budget: Budget = BUDGET) -> Files:
    """The pictures of a folder, all or those of a list; Mistake as for `Folder.open`."""
    if radiometry:
        raster_library()
    listing = list_images(path, "path")
    if list_file is None:
        return files_below(path, "path", listing.files, radiometry, budget, listing.notes)
    return files_below(path, "path", names_of_list(list_file, path, listing.files), radiometry, budget)


def files_below(
    folder: str,
    key: str,
    files: Iterable[str],
    radiometry: Radiometry | None = None,
    budget: Budget = BUDGET,
    notes: tuple[str, ...] = (),
) -> Files:
    """Picture files below a folder; for their identity the size of each is looked up."""
    files = tuple(files)
    return Files(f"folder {folder!r}", key, folder, files, identity_of_files(folder, files), radiometry, budget, notes)


@dataclass(frozen=True, kw_only=True, slots=True)
class Package:
    """Photographs that an installed Python package ships: real pictures without a download."""

    package: str
    """The package as Python imports it, such as `skimage`."""
    folder: str
    """The folder within the package."""
    files: tuple[str, ...]
    """The pictures within the folder, in the order in which they are numbered."""
    type: Literal["package"] = "package"

    @property
    def radiometry(self) -> None:
        """None: they are photographs."""

    def open(self, budget: Budget = BUDGET) -> Files:
        """Find the package, without importing it, and the files in it.

        Raises:
            Mistake: the package is not installed, or does not have one of the files.
        """
        if not self.files:
            raise Mistake(f"files: no picture of package {self.package!r} is named; wanted at least one.")
        root = self._root()
        if root is None:
            raise Mistake(
                f"package: {self.package!r} is not installed, and its pictures are wanted; "
                "`pip install 'wildsr[quickstart]'` brings those of the quickstart."
            )
        absent = ", ".join(file for file in self.files if not (root / file).is_file())
        if absent:
            raise Mistake(f"files: package {self.package!r} has no {absent} in its folder {self.folder!r}.")
        identity = identity_of_files(str(root), self.files)
        return Files(f"package {self.package!r}", "files", str(root), self.files, identity, budget=budget)

    def _root(self) -> Path | None:
        try:
            spec = importlib.util.find_spec(self.package)
        except (ImportError, ValueError):  # the parent of a dotted name is absent; the name is empty
            return None
        places = spec.submodule_search_locations if spec else None
        return Path(places[0], self.folder) if places else None


def first_readable(source: ImageSource) -> Tensor:
    """The first picture that decodes, so that a source without one is refused before any training.

    Raises:
        Mistake: there is none.
    """
    first_reason = ""
    for index in range(len(source)):
        try:
            return source.read(index)
        except Unreadable as error:
            first_reason = first_reason or str(error)
    raise Mistake(
        f"{source.key}: none of the {len(source)} pictures of {source.where} can be decoded; first {first_reason}."
    )


def why_unreadable(source: Pictures, index: int) -> str:
    """Name of a picture that a batch reported as unreadable, and the reason."""
    try:
        source.read(index)
    except Unreadable as error:
        return str(error)
    return f"{source.name(index)}: could not be read a moment ago, and now it can"
