"""Identity of a set of pictures: checksums of names below their folder, sizes and content, never of a path."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trainer.mistakes import Mistake


@dataclass(frozen=True, slots=True)
class Identity:
    """Identity of a set of pictures: the same for a moved folder, another mount point and another machine."""

    pictures: int
    """Number of pictures; of a stream, number of shards."""
    names: str
    """A checksum of their names below their folder, in order."""
    content: str
    """A checksum of names, and of file sizes or the content of rows, as far as that is cheap."""
    times: str = ""
    """A checksum of the files' modification times: a copy has other times, so a difference is only reported."""


def sha256_of(parts: Iterable[object]) -> str:
    """SHA-256, hexadecimal, of texts, numbers and bytes in their order; names need not be UTF-8."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def identity_of_files(root: str, files: Iterable[str]) -> Identity:
    """The identity of files below a folder; a missing one counts with size -1.

    Raises Mistake if the folder is gone.
    """
    names, sizes, times = list(files), [], []
    for name in names:
        size, time = _size_and_time(Path(root, name))
        if size < 0 and not Path(root).is_dir():
            raise Mistake(f"path: folder {root!r} went away while it was read.")
        if size < 0:  # it may have been unavailable for a moment
            size, time = _size_and_time(Path(root, name))
        sizes.append(size)
        times.append(time)
    return Identity(len(names), sha256_of(names), sha256_of([*names, *sizes]), sha256_of(times))


def _size_and_time(file: Path) -> tuple[int, int]:
    """Size in bytes and modification time in nanoseconds; -1 for a link that leads nowhere."""
    try:
        status = file.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def combined(*parts: Identity) -> Identity:
    """The identity of several sources together, with the count of the first."""
    return Identity(
        parts[0].pictures,
        sha256_of(part.names for part in parts),
        sha256_of(part.content for part in parts),
        sha256_of(part.times for part in parts),
    )
