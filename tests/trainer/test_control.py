"""What asks a run to stop."""

import time
from pathlib import Path

import pytest

from trainer.control import Control
from trainer.run_folder import RunFolder


def test_the_time_budget_is_in_hours(tmp_path: Path) -> None:
    deadline = Control(tmp_path, max_hours=1).deadline
    assert deadline is not None
    assert deadline - time.monotonic() == pytest.approx(3600, abs=60)


def test_a_stop_file_is_where_the_run_folder_says(tmp_path: Path) -> None:
    control = Control(tmp_path, None)
    assert control.agree(0).stop == ""
    RunFolder(tmp_path).stop.touch()
    control.agree(0)
    assert control.agree(0).stop == "STOP file"  # agreed on a step later
