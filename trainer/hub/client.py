"""The model hub: where a run goes, errands to it, and what is known to be there."""

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
OPENING = 30.0
"""Seconds for the hub to open the repository before a run begins."""


@dataclass(frozen=True, kw_only=True, slots=True)
class HubResult:
    """What came of an errand: it was done where there is no `error`."""

    error: str = ""
    refused: bool = False
    """Another attempt would meet the same: a person has to put it right."""
    key: str = "repo_id"
    """What of the hub section that is about."""
    offline: bool = False
    """It is refused because HF_HUB_OFFLINE is set: nothing that the hub said."""
    pause: float = 0.0
    """Seconds that the hub asks to be left alone."""
    commit: str = ""


def request_in_process(
    request: dict[str, Any], seconds: float, cancelled: Event, heeds_stop: bool = False
) -> HubResult:
    """Send a courier, and end it after `seconds`, when `cancelled` is set, or with `heeds_stop` at a stop request."""
    command = [sys.executable, "-P", str(WORKER)]
    pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
    deadline = time.monotonic() + seconds
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, text=True) as courier:
        assert courier.stdin
        assert courier.stdout
        try:
            courier.stdin.write(json.dumps(request) + "\n")
            courier.stdin.flush()
            while courier.poll() is None:
                if cancelled.wait(0.1) or (heeds_stop and REQUEST.name is not None):
                    return HubResult(error="cut off")
                if time.monotonic() > deadline:
                    return HubResult(error=f"no answer within {seconds:.0f} seconds")
        finally:
            courier.kill()  # nothing, where it has ended
        said = courier.stdout.read().splitlines()
    if courier.returncode or not said:
        return HubResult(error=f"{WORKER.name} ended with status {courier.returncode}")
    return HubResult(**json.loads(said[-1]))


def try_repo(config: HubConfig, metadata: str, cancelled: Event) -> HubResult:
    """Make sure that the repository is there, and takes what the run will push under a card with this `metadata`."""
    request = {"errand": "open_repo", "repo_id": config.repo_id, "private": config.private, "metadata": metadata}
    return request_in_process(request, OPENING, cancelled, heeds_stop=True)


def open_repo(config: HubConfig, metadata: str, options: Collection[str] = ()) -> HubResult:
    """The same for where a person is waiting.

    Mistake where a person must help, naming the key of the hub section, or the option where it is one of `options`,
    those of the command line; an answer with an `error` where the hub is only away, or this machine offline.
    """
    answer = try_repo(config, metadata, Event())
    if answer.refused and not answer.offline:
        key = f"--{answer.key.replace('_', '-')}" if answer.key in options else f"hub.{answer.key}"
        raise Mistake(f"{key}: {config.repo_id} cannot be pushed to: {answer.error}.")
    return answer


@dataclass(frozen=True, kw_only=True, slots=True)
class Pushed:
    """The last push of a run that is known to be complete."""

    repo_id: str
    step: int
    commit: str

    @staticmethod
    def read(folder: RunFolder) -> "Pushed | None":
        """What `write` left in the run folder."""
        try:
            return Pushed(**json.loads((folder.hub / "pushed.json").read_text()))
        except (OSError, ValueError, TypeError):  # there never was one, or it is another program's
            return None

    def write(self, folder: RunFolder) -> None:
        """Put this in the place of the last one."""
        write_atomically(folder.hub / "pushed.json", json.dumps(asdict(self), indent=1) + "\n")
