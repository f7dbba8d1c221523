"""By what pictures are recognised: their names below their folder, their sizes and their content, never a path."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from trainer.mistakes import Mistake


@dataclass(frozen=True, slots=True)
class Identity:
    """What pictures are, wherever they lie: equal for a moved folder, another mount point, another machine."""

    pictures: int
    """How many there are; of a stream, shards."""
    names: str
    """A checksum of their names below their folder, in order."""
    content: str
    """A checksum of names, and of sizes or what rows hold, as far as that is cheap."""
    times: str = ""
    """A checksum of when files were modified: a copy has other times, so this is only noted."""


def sha256_of(parts: Iterable[object]) -> str:
    """A checksum of texts, numbers and bytes in their order; names that are not UTF-8 too."""
    digest = hashlib.sha256()
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogateescape")
        digest.update(len(data).to_bytes(8, "little") + data)
    return digest.hexdigest()


def identity_of_files(root: str, files: Iterable[str]) -> Identity:
    """The identity of files below a folder; one that is gone has no size.

    Raises Mistake where the folder is gone.
    """
    names, sizes, times = list(files), [], []
    for name in names:
        size, time = _size_and_time(Path(root, name))
        if size < 0 and not Path(root).is_dir():
            raise Mistake(f"path: folder {root!r} went away while it was read.")
        if size < 0:  # or it was away for a moment
            size, time = _size_and_time(Path(root, name))
        sizes.append(size)
        times.append(time)
    return Identity(len(names), sha256_of(names), sha256_of([*names, *sizes]), sha256_of(times))


def _size_and_time(file: Path) -> tuple[int, int]:
    """Bytes and nanoseconds; -1 for a link that leads nowhere."""
    try:
        status = file.stat()
    except OSError:
        return -1, -1
    return status.st_size, status.st_mtime_ns


def combined(*parts: Identity) -> Identity:
    """The identity of several sources together, counted as the first."""
    return Identity(
        parts[0].pictures,
        sha256_of(part.names for part in parts),
        sha256_of(part.content for part in parts),
        sha256_of(part.times for part in parts),
    )
