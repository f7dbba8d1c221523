"""Reasons for a run to stop, and their priority."""

import time
from pathlib import Path

import pytest

from trainer.checkpoints.run_folder import RunFolder
from trainer.distributed.agreement import DATA, StopConsensus
from trainer.distributed.signals import StopRequest
from trainer.distributed.waiting import Stopped
from trainer.mistakes import Mistake


def test_the_time_budget_is_in_hours(tmp_path: Path) -> None:
    deadline = StopConsensus(tmp_path, max_hours=1).deadline
    assert deadline is not None
    assert deadline - time.monotonic() == pytest.approx(3600, abs=60)


def test_a_stop_file_is_where_the_run_folder_says(tmp_path: Path) -> None:
    control = StopConsensus(tmp_path, None)
    assert control.agree(0).stop == ""
    RunFolder(tmp_path).stop.touch()
    assert control.agree(0).stop == "STOP file"


def test_pictures_that_do_not_come_are_a_reason_of_their_own_unless_a_stop_request_ended_the_wait(
    tmp_path: Path,
) -> None:
    control = StopConsensus(tmp_path, None, StopRequest())
    control.data_error = Stopped("rank 0: SIGTERM while waiting for a batch.")
    assert control.agree(0).stop == ""
    control.request.name = "SIGTERM"
    assert control.agree(0).stop == "signal"
    control.data_error = Mistake("no picture can be read.")
    assert control.agree(0).stop == DATA
