"""A job below a launcher that can be killed too, as `accelerate launch` can."""

import ctypes
import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path

from tests.faults.forked import Job

SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER: orphans become the caller's children, so that it can wait for them


class Launched:
    """The processes of one run, and the launcher above them.

    Parameters
    ----------
    folder : where the launcher notes its ranks' processes, and how they ended
    log : what all of them say
    """

    def __init__(self, world: int, folder: Path, log: Path, arguments: Sequence[str]) -> None:
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)
        self.started, self.ended = folder / "ranks.json", folder / "codes.json"
        for note in (self.started, self.ended):
            note.unlink(missing_ok=True)
        self.launcher: int | None = os.fork()
        if not self.launcher:
            os.environ["ACCELERATE_MIXED_PRECISION"] = "no"  # by which a rank knows that its parent is a launcher
            _launch(world, log, arguments, self.started, self.ended)
        while not self.started.exists():
            time.sleep(0.002)
        self.ranks: list[int] = json.loads(self.started.read_text())
        self.codes: dict[int, int] = {}

    def wait(self, seconds: float) -> list[int] | None:
        """Every rank's exit status, minus the signal that ended it; None if one is there after `seconds`."""
        deadline = time.monotonic() + seconds
        while (codes := self._codes()) is None and time.monotonic() < deadline:
            time.sleep(0.005)
        return codes

    def kill(self, rank: int, number: int = signal.SIGKILL) -> None:
        """Send a signal to a rank, if it is still there."""
        send(self.ranks[rank], number)

    def kill_launcher(self) -> None:
        """Kill the launcher only; the ranks go on without it."""
        if self.launcher is not None:
            os.kill(self.launcher, signal.SIGKILL)
            os.waitpid(self.launcher, 0)
            self.launcher = None

    def end(self) -> None:
        """Kill the processes that still run."""
        for rank in self.ranks:
            send(rank, signal.SIGKILL)
        assert self.wait(60) is not None, "a killed process did not end"

    def loader_workers(self) -> list[int]:
        """The processes that decode pictures: children of the ranks' fork servers."""
        below = _children()
        servers = [child for rank in self.ranks for child in below.get(rank, []) if b"forkserver" in _words(child)]
        return [worker for server in servers for worker in below.get(server, [])]

    def _codes(self) -> list[int] | None:
        if self.launcher is not None:
            ended, _ = os.waitpid(self.launcher, os.WNOHANG)
            if not ended:
                return None
            self.launcher = None
            self.codes = dict(zip(self.ranks, json.loads(self.ended.read_text()), strict=True))
        for rank in self.ranks:
            if rank not in self.codes:
                ended, status = os.waitpid(rank, os.WNOHANG)
                if ended:
                    self.codes[rank] = os.waitstatus_to_exitcode(status)
        return [self.codes[rank] for rank in self.ranks] if len(self.codes) == len(self.ranks) else None


def _launch(world: int, log: Path, arguments: Sequence[str], started: Path, ended: Path) -> None:
    """The launcher itself: never returns."""
    job = Job(world, log, arguments)
    for note, content in ((started, lambda: job.processes), (ended, lambda: job.wait(3600))):
        aside = note.with_suffix(".aside")
        aside.write_text(json.dumps(content()))
        aside.replace(note)
    os._exit(0)


def send(process: int, number: int) -> None:
    """Send a signal, unless the process has ended."""
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return


def _children() -> dict[int, list[int]]:
    """All processes by their parent."""
    below: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:  # it has just ended
                continue
            below.setdefault(parent, []).append(int(entry.name))
    return below


def _words(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""
