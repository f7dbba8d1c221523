"""The folder of one run: where everything lies, and nothing about what is in it.

outputs/<name>/
    config.yaml       what runs, every key resolved
    metrics.jsonl     one line per report
    tensorboard/      the same as curves, and images
    samples/          step-*.png: bicubic | result | ground truth
    checkpoints/      step-*/, complete or absent
    export/           the newest smoothed generator, `from_pretrained` opens it
    release/          what `python -m trainer.export` made of it
    hub/              what is on its way to the hub, and what is known to be there
    DONE              the run has ended
    STOPPED           the run was asked to stop, and has saved itself: the same command resumes it
    STOP              a file of this name, made by anyone, asks the run to do that
"""

import fcntl
from pathlib import Path
from typing import IO

from trainer.mistakes import Mistake

_LOCKS: dict[Path, IO[str]] = {}  # closing a handle would give the lock up


class RunFolder:
    """The paths of one run."""

    LOCK = ".lock"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.samples = path / "samples"
        self.checkpoints = path / "checkpoints"
        self.export = path / "export"
        self.release = path / "release"
        self.hub = path / "hub"
        self.done = path / "DONE"
        self.stopped = path / "STOPPED"
        self.stop = path / "STOP"

    def lock(self) -> None:
        """Keep other processes from training here until this one ends, however it ends; Mistake if one does."""
        if self.path in _LOCKS:
            return
        handle = (self.path / self.LOCK).open("w")
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Mistake(
                f"another process is training in {self.path}: wait for it, or give this run a name."
            ) from None
        _LOCKS[self.path] = handle

    def finish(self, step: int) -> None:
        """Say that the run has taken its last step."""
        self.done.write_text(f"{step}\n")

    def begin(self) -> None:
        """Take away the marks of an earlier end."""
        for mark in (self.done, self.stopped, self.stop):
            mark.unlink(missing_ok=True)

    def interrupt(self, step: int, reason: str) -> None:
        """Say that the run stopped on request, saved, and can be resumed."""
        self.stopped.write_text(f"step {step}: {reason}\n")

    def steps_done(self) -> int | None:
        """The steps of a run that has ended, else None."""
        text = self.done.read_text().strip() if self.done.is_file() else ""
        return int(text) if text.isdecimal() else None  # a death while it was written may leave it empty
