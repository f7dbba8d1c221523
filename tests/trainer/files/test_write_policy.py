"""Write errors of run files other than checkpoints: reported once, or a reason to stop."""

from pathlib import Path

import pytest

from trainer.distributed.agreement import DISK, StopConsensus
from trainer.distributed.signals import StopRequest
from trainer.files.write_policy import Disk


def test_a_file_that_cannot_be_written_is_said_once_and_lived_with(capsys: pytest.CaptureFixture[str]) -> None:
    disk = Disk(stop_on_error=False)
    for what in ("metrics.jsonl", "metrics.jsonl", "DONE"):
        with disk.writing(what):
            Path("/dev/full").write_text("a line")
    said = capsys.readouterr().out.splitlines()
    assert [line.split(" could not be written: ")[0] for line in said] == ["metrics.jsonl", "DONE"]
    assert said[0].endswith("No space left on device; training goes on without it.")
    assert not disk.problem


def test_it_is_the_reason_to_stop_where_that_is_wanted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    disk = Disk(stop_on_error=True)
    request = StopRequest()
    control = StopConsensus(tmp_path, None, request, disk)
    assert control.agree(0).stop == ""
    request.name = "SIGTERM"  # another reason does not hide it
    for what in ("metrics.jsonl", "DONE"):
        with disk.writing(what):
            Path("/dev/full").write_text("a line")
    assert disk.problem.startswith("metrics.jsonl could not be written: ")
    assert control.agree(0).stop == DISK
    assert capsys.readouterr().out == ""


def test_what_is_no_matter_of_the_disk_is_not_hidden() -> None:
    with pytest.raises(ValueError, match="a bug"), Disk(stop_on_error=False).writing("metrics.jsonl"):
        raise ValueError("a bug")
