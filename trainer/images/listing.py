"""List the pictures below a folder, with notes on files that were left out."""

import os
import stat
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from PIL import features

from trainer.images.lists import examples
from trainer.images.opened import KINDS
from trainer.mistakes import Mistake

_OPTIONAL = {".avif": "avif", ".jp2": "jpg_2000", ".webp": "webp"}
IMAGE_SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff"}
    | {suffix for suffix, feature in _OPTIONAL.items() if features.check(feature)}
)
"""Endings, in lower case, of files that count as pictures in a folder: formats that this Pillow reads safely."""
ENDINGS_LISTED = 6
"""Endings of left-out files that a note counts one by one."""


@dataclass(frozen=True, slots=True)
class Listing:
    """The pictures below a folder."""

    files: tuple[str, ...]
    """Relative to the folder, with "/", sorted so that every machine numbers them alike."""
    notes: tuple[str, ...] = ()
    """Notes on files that were left out or are there twice, a sentence each."""


def printable(name: str) -> str:
    r"""A file's name in a form that can be printed, encoded and drawn: bytes that are not UTF-8, and control
    characters, as `\xff`, `\n`."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(letter if letter >= " " and letter != "\x7f" else repr(letter)[1:-1] for letter in text)


def list_folder(path: str, key: str) -> list[os.DirEntry[str]]:
    """The entries of a folder, hidden ones included; Mistake, naming `key`, if it is missing, a file, or empty."""
    try:
        with os.scandir(path) as entries:
            found = list(entries)
    except FileNotFoundError:
        raise Mistake(f"{key}: folder {path!r} does not exist (seen from {str(Path.cwd())!r}).") from None
    except NotADirectoryError:
        raise Mistake(f"{key}: {path!r} is a file; wanted the folder that holds the pictures.") from None
    except OSError as error:
        raise Mistake(f"{key}: folder {path!r} cannot be listed: {error.strerror}.") from error
    if not found:
        raise Mistake(f"{key}: folder {path!r} is empty; wanted pictures ({_suffixes()}).")
    return found


def list_images(path: str, key: str) -> Listing:
    """The pictures below a folder; Mistake, naming `key`, if there is none."""
    list_folder(path, key)
    walk = _Walk(key)
    files = sorted(walk.below(path, "", frozenset()))
    found = tuple(name for name in files if _suffix(name) in IMAGE_SUFFIXES)
    if not found:
        wanted = f"is a picture ({_suffixes()})"
        raise Mistake(f"{key}: none of the {len(files)} files in folder {path!r} {wanted}.")
    endings = Counter(_suffix(name) for name in files if _suffix(name) not in IMAGE_SUFFIXES)
    return Listing(found, tuple(f"folder {path!r}: {note}" for note in walk.notes(endings)))


def find_images(path: str, key: str) -> tuple[str, ...]:
    """Relative paths of the pictures below a folder, sorted; Mistake, naming `key`, if there is none."""
    return list_images(path, key).files


@dataclass
class _Walk:
    """One recursive pass through a folder."""

    key: str
    odd: dict[str, str] = field(default_factory=dict)
    """Entries that are no regular files -> their kind."""
    first: dict[tuple[int, int], str] = field(default_factory=dict)
    """Device and inode of a file -> the name under which it was found first."""
    again: dict[str, str] = field(default_factory=dict)
    """Further names of files found before -> the first name."""

    def below(self, path: str, prefix: str, above: frozenset[tuple[int, int]]) -> Iterator[str]:
        """All regular files below a folder, and links that lead nowhere. `above` are the folders on the way here: a
        link back to one of them is not followed."""
        here = Path(path).stat()
        identity = (here.st_dev, here.st_ino)
        if identity in above:
            return
        try:
            with os.scandir(path) as found:
                entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda e: e.name)
        except OSError as error:
            raise Mistake(f"{self.key}: folder {path!r} cannot be listed: {error.strerror}.") from error
        for entry in entries:
            name = prefix + entry.name
            try:
                if entry.is_dir():
                    yield from self.below(entry.path, f"{name}/", above | {identity})
                elif self._is_file(entry, name, here.st_dev):
                    yield name
            except OSError as error:  # a link to itself
                self.odd[name] = str(error.strerror).lower()

    def _is_file(self, entry: os.DirEntry[str], name: str, device: int) -> bool:
        """True for an entry to be read: a regular file, or a link whose target is missing, which is reported when it is
        read."""
        if entry.is_file():
            to = entry.stat() if entry.is_symlink() else None
            identity = (to.st_dev, to.st_ino) if to else (device, entry.inode())
            if (other := self.first.setdefault(identity, name)) != name and _suffix(name) in IMAGE_SUFFIXES:
                self.again[name] = other
            return True
        try:
            mode = Path(entry.path).stat().st_mode
        except FileNotFoundError:
            return True
        self.odd[name] = KINDS.get(stat.S_IFMT(mode), "no file")
        return False

    def notes(self, endings: Counter[str]) -> Iterator[str]:
        """Notes on what was left out or is there twice; `endings` counts those of the files that were left out."""
        if endings:
            first = sorted(endings.items(), key=lambda item: (-item[1], item[0]))[:ENDINGS_LISTED]
            parts = [f"{count} {suffix or 'without one'}" for suffix, count in first]
            rest = endings.total() - sum(count for _, count in first)
            parts += [f"{rest} others"] if rest else []
            yield f"{endings.total()} files are not read for their endings: {', '.join(parts)}"
        if self.odd:
            parts = [f"{printable(name)} ({kind})" for name, kind in sorted(self.odd.items())]
            yield f"{len(parts)} are not read because they are no regular files: {examples(parts)}"
        if self.again:
            name, other = min(self.again.items())
            yield (
                f"{len(self.again)} pictures are there under two names and shown as often as they have names, first "
                f"{printable(name)}, which is {printable(other)}"
            )


def _suffix(name: str) -> str:
    return PurePosixPath(name).suffix.lower()


def _suffixes() -> str:
    return ", ".join(sorted(IMAGE_SUFFIXES))
