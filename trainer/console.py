"""Standard output and error of the program: lines for the person who watches, and no error where nobody can.

A closed pipe, a full log disk, a terminal that hung up: what cannot be written is dropped, and the program goes on.
"""

import os
import sys
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm


def say(text: str) -> None:
    """Write a line that does not tear a progress bar, whichever thread says it."""
    tqdm.write(text)
    sys.stdout.flush()


class Unfailing:
    """A text stream that drops what `stream` cannot take; all else is `stream`'s."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write `text`, or lose it."""
        try:
            self.stream.write(text)
        except (OSError, UnicodeEncodeError) as error:
            if isinstance(error, UnicodeEncodeError):  # a file's name, or a sign that the terminal does not know
                return self.write(text.encode("ascii", "backslashreplace").decode())
        return len(text)

    def flush(self) -> None:
        """Hand on what was written, or lose it."""
        try:
            self.stream.flush()
        except OSError:
            return


def guard() -> None:
    """Let no later write to standard output or error fail, from whichever library. Called once, by the entry."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # started without one, as daemons are
            stream = Path(os.devnull).open("w")  # noqa: SIM115 - for the rest of the process
        if not isinstance(stream, Unfailing):
            setattr(sys, name, Unfailing(stream))
