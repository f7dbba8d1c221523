"""Requests to the model hub, each in a process of its own, and the record of the last complete push."""

import json
import subprocess
import sys
import time
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Event
from typing import Any

from trainer.checkpoints.run_folder import RunFolder
from trainer.config.hub import HubConfig
from trainer.distributed.signals import REQUEST
from trainer.files.atomic import write_atomically
from trainer.mistakes import Mistake

WORKER = Path(__file__).with_name("upload_process.py")
OPEN_SECONDS = 30.0
"""Seconds allowed for opening the repository before a run begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubResult:
    """Result of a hub request; succeeded iff `error` is empty."""

    error: str = ""
    refused: bool = False
    """True if another attempt would fail the same way, until a person puts it right."""
    key: str = "repo_id"
    """The key of the hub section that is wrong."""
    offline: bool = False
    """True if refused on this machine, because HF_HUB_OFFLINE is set."""
    pause: float = 0.0
    """Seconds that the hub asks to wait before the next request."""
    commit: str = ""


def request_in_process(
    request: dict[str, Any], seconds: float, cancelled: Event, ends_on_stop: bool = False
) -> HubResult:
    """Run one request in a child process, killed after `seconds`, once `cancelled` is set, or at a stop request if
    `ends_on_stop`."""
    command = [sys.executable, "-P", str(WORKER)]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    deadline = time.monotonic() + seconds
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, text=True) as process:
        assert process.stdin
        assert process.stdout
        try:
            process.stdin.write(json.dumps(request) + "\n")
            process.stdin.flush()
            while process.poll() is None:
                if cancelled.wait(0.1) or (ends_on_stop and REQUEST.name is not None):
                    return HubResult(error="cut off")
                if time.monotonic() > deadline:
                    return HubResult(error=f"no answer within {seconds:.0f} seconds")
        finally:
            process.kill()  # no-op if it has exited
        answer = process.stdout.read().splitlines()
    if process.returncode or not answer:
        return HubResult(error=f"{WORKER.name} ended with status {process.returncode}")
    return HubResult(**json.loads(answer[-1]))


def try_repo(config: HubConfig, metadata: str, cancelled: Event) -> HubResult:
    """Create the repository if needed, and check that it may be written to and accepts a card with this `metadata`."""
    request = {"action": "open_repo", "repo_id": config.repo_id, "private": config.private, "metadata": metadata}
    return request_in_process(request, OPEN_SECONDS, cancelled, ends_on_stop=True)


def open_repo(config: HubConfig, metadata: str, options: Collection[str] = ()) -> HubResult:
    """Create and check the repository as `try_repo` does, raising what a person must put right.

    Raises Mistake, naming the key of the hub section, or the command-line option if the key is one of `options`.
    Returns a result with an `error` if the hub cannot be reached, or this machine is offline.
    """
    answer = try_repo(config, metadata, Event())
    if answer.refused and not answer.offline:
        key = f"--{answer.key.replace('_', '-')}" if answer.key in options else f"hub.{answer.key}"
        raise Mistake(f"{key}: {config.repo_id} cannot be pushed to: {answer.error}.")
    return answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """The last push of a run that is known to be complete: `hub/pushed.json`."""

    repo_id: str
    step: int
    commit: str

    @staticmethod
    def read(folder: RunFolder) -> "Pushed | None":
        """Read the record in the run folder; None if there is none, or it cannot be read."""
        try:
            return Pushed(**json.loads((folder.hub / "pushed.json").read_text()))
        except (OSError, ValueError, TypeError):  # no push yet, or another program's file
            return None

    def write(self, folder: RunFolder) -> None:
        """Replace the record in the run folder, atomically."""
        write_atomically(folder.hub / "pushed.json", json.dumps(asdict(self), indent=1) + "\n")
