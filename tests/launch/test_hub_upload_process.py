"""The process of a hub request: its end, its results, and the pauses between two."""

import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from threading import Event

import pytest
from launcher import ROOT
from loopback import Fault, LoopbackHub, until

from trainer.config.schema import RunConfig, folder_of
from trainer.hub.client import HubResult, request_in_process
from trainer.hub.pusher import FIRST_PAUSE, LONGEST_PAUSE, backoff_seconds
from trainer.hub.upload_process import metadata_errors

SENDER = """
import sys
from threading import Event
from trainer.hub.client import request_in_process
request = {"action": "push", "repo_id": "tester/x4", "folder": sys.argv[1], "message": "x", "tag": None}
request_in_process(request, 100.0, Event())
"""


def test_the_process_does_not_outlive_its_sender(hub: LoopbackHub, saved: Callable[..., RunConfig]) -> None:
    hub.add("tester/x4")
    hub.faults = [Fault("/preupload/", "hang", times=9)]
    folder = folder_of(saved()).export
    sender = subprocess.Popen([sys.executable, "-c", SENDER, str(folder)], cwd=ROOT)
    until(lambda: any("preupload" in request for request in hub.requests))
    (child,) = Path(f"/proc/{sender.pid}/task/{sender.pid}/children").read_text().split()
    assert b"upload_process.py" in Path(f"/proc/{child}/cmdline").read_bytes()
    sender.kill()
    sender.wait()
    until(lambda: not alive(child))


def alive(pid: str) -> bool:
    """True if a process exists and is no zombie."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text().rsplit(")", 1)[1].split()[0] != "Z"


@pytest.mark.usefixtures("hub")
def test_a_process_that_fails_is_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    assert request_in_process({"action": "dance"}, 30, Event()) == HubResult(
        error="upload_process.py ended with status 1"
    )
    cancelled = Event()
    cancelled.set()
    assert request_in_process({"action": "push"}, 30, cancelled) == HubResult(error="cut off")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    request = {"action": "push", "repo_id": "tester/x4", "folder": "/", "message": "x", "tag": None}
    assert asdict(request_in_process({**request, "folder": str(ROOT / "launch")}, 30, Event())) == asdict(
        HubResult(error="HF_HUB_OFFLINE is set", refused=True, offline=True)
    )


def test_pauses_grow_up_to_a_limit_and_differ_between_runs() -> None:
    for failures in range(1, 40):
        full = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** (failures - 1))
        pauses = [backoff_seconds(failures, f"run {number}") for number in range(200)]
        assert all(full / 2 < pause <= full for pause in pauses)
        assert max(pauses) - min(pauses) > 0.45 * full
        assert pauses == [backoff_seconds(failures, f"run {number}") for number in range(200)]


def test_what_the_hub_says_of_a_card_is_a_line() -> None:
    answer = '{"errors": [{"message": "one"}, {"message": "two\\nlines."}], "warnings": []}'
    assert metadata_errors(answer) == "one; two lines"
    for other in ("a proxy's page", "[]", '{"errors": 3}'):
        assert metadata_errors(other) == other
