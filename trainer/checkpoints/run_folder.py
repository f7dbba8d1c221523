"""The folder of one run: its paths, lock, and marks of starts and ends.

outputs/<name>/
    config.yaml       what runs, every key resolved
    metrics.jsonl     one line per report
    starts.jsonl      one line per start: when, at which step, processes, job, and what came from the hub
    trackers.json     what the servers of trackers call the run, to go on under it
    tensorboard/      the same as curves, and images
    samples/          step-*.png: bicubic | result | ground truth; step-*/: every result, if asked
    samples/views/    step-*/: input, bicubic, result and ground truth one by one, of the newest and best validation
    report.html       the page of the run, written at its end and by `python -m trainer.report`
    checkpoints/      step-*/, complete or absent
    export/           the newest smoothed generator, `from_pretrained` opens it
    release/          what `python -m trainer.export` made of it
    hub/              what is on its way to the hub, and what is known to be there
    DONE              the run has ended
    STOPPED           the run was asked to stop, and has saved itself: the same command resumes it
    STOP              a file of this name, made by anyone, asks the run to do that; obeyed, it is removed
"""

import os
import re
import struct
import sys
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from trainer.checkpoints.names import PARTIAL, STEP_NAMES, step_of
from trainer.distributed.signals import BY_FILE
from trainer.files import json_lines as lines
from trainer.files.atomic import NO_LINK, NOT_INHERITED, write_atomically
from trainer.mistakes import Mistake

try:
    import fcntl
except ImportError:  # Windows, where runs are listed and used, and none is trained
    HAS_LOCKS = False
else:
    HAS_LOCKS = True

_LOCKS: dict[Path, int] = {}  # descriptors: to close one would give the lock up


class RunFolder:
    """The paths of one run."""

    LOCK = ".lock"

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "config.yaml"
        self.metrics = path / "metrics.jsonl"
        self.starts = path / "starts.jsonl"
        self.trackers = path / "trackers.json"
        self.samples = path / "samples"
        self.views = self.samples / "views"
        self.report = path / "report.html"
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
        flags = os.O_RDWR | os.O_CREAT | NO_LINK | NOT_INHERITED  # a link of this name could empty any file
        descriptor = os.open(self.path / self.LOCK, flags, 0o666)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            os.close(descriptor)
            raise Mistake(
                f"another process is training in {self.path}: wait for it, or give this run a name."
            ) from None
        except OSError as error:  # Lustre without `flock`, NFS without its lock service
            print(f"{self.path} is on a file system without locks ({error.strerror}): nothing keeps a second job out")
        _LOCKS[self.path] = descriptor

    def locked(self) -> bool:
        """True if another process trains here, on any node whose locks the file system shares. Takes no lock."""
        try:
            with (self.path / self.LOCK).open("rb") as handle:
                return HAS_LOCKS and _is_locked(handle.fileno())
        except OSError:
            return False

    def finish(self, step: int) -> None:
        """Mark the run as done at its last step."""
        write_atomically(self.done, f"{step}\n")

    def begin(self, step: int, processes: int, hub_names: Collection[str] = (), **found: Any) -> None:
        """Remove the marks of an earlier end, and record the start, with what was found for it, on the hub too."""
        for mark in (self.done, self.stopped):
            mark.unlink(missing_ok=True)
        now = datetime.now(UTC).isoformat(timespec="seconds")
        start: dict[str, Any] = {"time": now, "step": step, "processes": processes, **found, **slurm_job(os.environ)}
        if hub_names:
            start["hub_names"] = sorted(hub_names)
        lines.append(self.starts, start)

    def hub_names(self) -> set[str]:
        """The names of data and weights that a start of this run found on the hub."""
        named = (start.get("hub_names") for start in self.started())
        return {str(name) for names in named if isinstance(names, list) for name in names}

    def started(self) -> list[dict[str, Any]]:
        """The recorded starts, without lines that a death cut short."""
        return [start for start in lines.objects(self.starts) if isinstance(start.get("step"), int)]

    def interrupt(self, step: int, reason: str) -> None:
        """Mark the run as stopped on request and saved; the file STOP, if it asked for that, is removed."""
        write_atomically(self.stopped, f"step {step}: {reason}\n")
        if reason == BY_FILE:
            self.stop.unlink(missing_ok=True)

    def newest_sheet(self) -> Path | None:
        """The sample sheet of the latest validation that drew one."""
        sheets = [sheet for sheet in self.samples.glob(f"{STEP_NAMES}.png") if step_of(sheet.stem) is not None]
        return max(sheets, key=lambda sheet: step_of(sheet.stem) or 0, default=None)

    def steps_done(self) -> int | None:
        """The steps of a run that has ended, else None."""
        text = text_of(self.done).strip()
        return int(text) if text.isdecimal() else None  # a death while it was written may leave it empty

    def evidence(self) -> str | None:
        """Evidence that the run once completed a checkpoint, which may be gone since; None without any."""
        if self.steps_done():
            return f"{self.done.name} says step {self.steps_done()}"
        stopped = re.match(r"step (\d+)", text_of(self.stopped))
        if stopped and int(stopped[1]):
            return f"{self.stopped.name} says {stopped[0]}"
        if self.export.exists():
            return f"{self.export.name}/ is there"
        if resumed := max((start["step"] for start in self.started()), default=0):
            return f"{self.starts.name} has a start at step {resumed}"
        saved = sorted(path.name for path in self.checkpoints.glob(STEP_NAMES) if path.suffix != PARTIAL)
        return f"{saved[-1]} is there" if saved else None


def _is_locked(descriptor: int) -> bool:
    """True if another process holds a lock on a file; asked by `struct flock`, whose fields each system orders anew."""
    if sys.platform == "darwin":  # start, length, process, type, whence
        layout, kind = "qqihh", 3
        query = struct.pack(layout, 0, 0, 0, fcntl.F_WRLCK, os.SEEK_SET)
    else:  # 64-bit Linux: type, whence, start, length, process
        layout, kind = "hhqqi4x", 0
        query = struct.pack(layout, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
    answer: int = struct.unpack(layout, fcntl.fcntl(descriptor, fcntl.F_GETLK, query))[kind]
    return answer != fcntl.F_UNLCK


def text_of(file: Path) -> str:
    """The text of a file; empty if there is none."""
    return file.read_text(encoding="utf-8", errors="replace") if file.is_file() else ""


def slurm_job(environment: Mapping[str, str]) -> dict[str, str | int]:
    """The job that this process belongs to, as `squeue` names it, and how often Slurm started it again; or nothing."""
    if (job := environment.get("SLURM_JOB_ID")) is None:
        return {}
    if array := environment.get("SLURM_ARRAY_JOB_ID"):
        job = f"{array}_{environment['SLURM_ARRAY_TASK_ID']}"
    return {"job": job, "requeues": int(environment.get("SLURM_RESTART_COUNT", 0))}
