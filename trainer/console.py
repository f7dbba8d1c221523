"""Standard output and error of the program: lines for the person who watches, and no error where nobody can.

A closed pipe, a full log disk, a terminal that hung up: what cannot be written is dropped, and the program goes on. A
reader that stops to read (`| less`, Ctrl-S) holds up the thread that writes, and nobody else. What a program was called
for, such as a resolved configuration, is no such line: `give` writes it, or says that it could not.
"""

import atexit
import errno
import io
import os
import sys
import time
from queue import Full, Queue
from threading import Thread
from typing import Any, TextIO

from trainer.mistakes import Mistake

CALLED = "WILDSR_CALLED"
"""The environment variable that holds the console script as a shell takes it; unset where it was not used."""
MODULES = {"train": "launcher", "profile": "profiler"}
"""The modules of programs that are called otherwise: `profile` is one of Python's own."""
LINES, PATIENCE = 10_000, 2.0
"""Writes that wait for a reader before more are dropped, and seconds that a flush waits for them."""


class Writer:
    """Writes to file descriptors, in the order of the calls, from a thread of its own."""

    def __init__(self) -> None:
        self.process = 0
        self.waiting: Queue[tuple[int, bytes]] = Queue(LINES)
        self.stuck = False

    def put(self, descriptor: int, data: bytes) -> None:
        """Have `data` written to `descriptor`, or lose it."""
        if self.process != os.getpid():  # threads do not outlive a fork
            self.process, self.waiting, self.stuck = os.getpid(), Queue(LINES), False
            Thread(target=self._work, args=(self.waiting,), name="console", daemon=True).start()
        if not self.waiting.unfinished_tasks:
            self.stuck = False  # the reader reads again
        try:
            self.waiting.put_nowait((descriptor, data))
        except Full:
            self.stuck = True

    def flush(self) -> None:
        """Wait until all is written; not again while a reader has been seen not to read."""
        deadline = time.monotonic() + PATIENCE
        with self.waiting.all_tasks_done:
            while self.waiting.unfinished_tasks and not self.stuck:
                self.stuck = not self.waiting.all_tasks_done.wait(deadline - time.monotonic())
            self.stuck = self.stuck and bool(self.waiting.unfinished_tasks)

    def _work(self, waiting: Queue[tuple[int, bytes]]) -> None:
        while True:
            descriptor, data = waiting.get()
            try:
                while data:  # not through Python's buffers: their lock would hang the interpreter's end
                    data = data[os.write(descriptor, data) :]
            except OSError:
                data = b""
            waiting.task_done()


WRITER = Writer()
"""Of both streams, so that their lines keep their order."""


def say(text: str) -> None:
    """Print a line without tearing a progress bar, from any thread."""
    from tqdm import tqdm  # a tenth of a second that programs need not wait before they hear Ctrl-C

    tqdm.write(text)
    sys.stdout.flush()


def called(program: str) -> str:
    """The words that start one of the programs, such as `wildsr upscale`, in the manner that started this one."""
    if wildsr := os.environ.get(CALLED):
        return f"{wildsr} {program}"
    return f"python -m trainer.{MODULES.get(program, program.replace('-', '_'))}"


def give(text: str) -> None:
    """Write the program's result to standard output; Mistake if that fails."""
    stream: Any = sys.stdout if sys.stdout is not None else Nowhere()
    try:
        (stream if isinstance(stream, Unfailing) else Unfailing(stream)).hand_over(text)
    except OSError as error:
        raise Mistake(f"standard output cannot be written: {error.strerror or error}.") from None


class Unfailing:
    """A text stream that drops what `stream` cannot take; all else is `stream`'s."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        try:
            self.descriptor: int | None = stream.fileno()
            if sys.platform == "win32":  # bytes would be shown by the console's code page, not by its encoding
                self.descriptor = None
            stream.flush()
        except OSError:  # one that is no file, or one that nobody reads
            self.descriptor = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def write(self, text: str) -> int:
        """Write `text`, what its encoding lacks as escapes; or lose it."""
        data = text.encode(self.stream.encoding or "utf-8", "backslashreplace")
        if self.descriptor is not None:
            WRITER.put(self.descriptor, data)
            return len(text)
        try:
            self.stream.write(data.decode(self.stream.encoding or "utf-8"))
        except OSError:
            return len(text)
        return len(text)

    def hand_over(self, text: str) -> None:
        """Write `text` after all that was written before, however long the reader takes; OSError where it is lost."""
        if isinstance(self.stream, Nowhere):
            raise OSError(errno.EBADF, "it is closed")
        if self.descriptor is None:
            self.stream.write(text)
            return self.stream.flush()
        WRITER.flush()
        data = text.encode(self.stream.encoding or "utf-8", "backslashreplace")
        while data:
            data = data[os.write(self.descriptor, data) :]
        return None

    def flush(self) -> None:
        """Hand on what was written, or lose it."""
        if self.descriptor is not None:
            return WRITER.flush()
        try:
            return self.stream.flush()
        except OSError:
            return None


class Nowhere(io.TextIOBase):
    """The stream of a process that was started without one; it has no descriptor, which a file may have got since."""

    encoding = "utf-8"

    def write(self, text: str) -> int:
        """Lose `text`."""
        return len(text)


def guard() -> None:
    """Let no later write to standard output or error fail or hang, from whichever library. Called by the entry."""
    atexit.register(WRITER.flush)
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # started without one, as daemons are
            stream = Nowhere()
        if not isinstance(stream, Unfailing):
            setattr(sys, name, Unfailing(stream))
