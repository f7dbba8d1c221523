"""Files of one JSON object per line that grow while a run lives: no line is joined to a broken one, none is half."""

import json
import os
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Line = dict[str, Any]


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Add a line. OSError where it cannot be written, and then nothing of it is left, as far as the disk lets."""
    with path.open("a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size and file.seek(size - 1) and file.read(1) != b"\n":
            file.write(b"\n")  # what a death cut short is a line of its own
        data = json.dumps(line).encode() + b"\n"
        try:
            while data:  # a disk that fills up takes a part first
                data = data[file.write(data) :]
        except OSError:
            if os.fstat(file.fileno()).st_size > size:
                os.ftruncate(file.fileno(), size)
            raise


class Appender:
    """Adds lines to a file in their order; those that a full disk refuses are kept in memory and tried again.

    Parameters
    ----------
    path : the file
    kept : lines that are kept at most; then the oldest is lost
    """

    def __init__(self, path: Path, kept: int = 10_000) -> None:
        self.path = path
        self.waiting: deque[Line] = deque(maxlen=kept)

    def add(self, line: Line) -> None:
        """Add a line after those that wait; OSError where the disk refuses, and then it waits too."""
        self.waiting.append(line)
        self.flush()

    def flush(self) -> None:
        """Write what waits; OSError where the disk still refuses."""
        while self.waiting:
            append(self.path, self.waiting[0])
            self.waiting.popleft()


def read(path: Path, part: bytes = b"", newest_first: bool = False) -> Iterator[tuple[bytes, Line | None]]:
    """The lines of a file, if it is there, as bytes and as objects: None for a line that is no JSON object.

    Lines without `part` are passed over, unparsed.
    """
    whole = path.read_bytes().splitlines() if path.is_file() else []
    for text in reversed(whole) if newest_first else whole:
        if part in text:
            yield text, _object(text)


def objects(path: Path) -> Iterator[Line]:
    """The lines that are JSON objects."""
    return (line for _, line in read(path) if line is not None)


def _object(text: bytes) -> Line | None:
    try:
        line = json.loads(text)
    except (ValueError, RecursionError):  # bytes that are no text are a ValueError too
        return None
    return line if isinstance(line, dict) else None
