"""Two ranks, one of which cannot write a byte to its disk, not even the error message."""

import resource
import signal
import time
from pathlib import Path

import pytest

from tests.faults.forked import TINY, Job
from trainer.checkpoints.store import Checkpoints, verify

PERIOD = 30
SETTINGS = (
    "validation=null",
    "telemetry.report_to=none",
    "degradation={type: pipeline, steps: [{type: fit}]}",
    "gt_size=16",
    "images.crop_size=24",
    "queue_size=8",
    "checkpoints.background=true",  # where ranks meet through the folder alone
    f"checkpoints.checkpointing_steps={PERIOD}",
    "max_train_steps=1000000",
)


@pytest.mark.launch
def test_a_rank_that_cannot_write_ends_the_run_soon_and_spares_what_was_saved(tmp_path: Path) -> None:
    log, checkpoints = tmp_path / "log", Checkpoints(tmp_path / "tiny" / "checkpoints")
    job = Job(2, log, [str(TINY), f"output_dir={tmp_path}", *SETTINGS])
    try:
        deadline = time.monotonic() + 60
        while not checkpoints.steps() and time.monotonic() < deadline:
            assert job.wait(0.05) is None, log.read_text()
        kept = checkpoints.steps()
        resource.prlimit(job.processes[1], resource.RLIMIT_FSIZE, (0, 0))
        deadline = time.monotonic() + 60
        while job.processes[0] not in job.codes and time.monotonic() < deadline:
            job.wait(0.05)
        assert job.processes[0] in job.codes, "it waits for a part that will never come"
        job.kill(1, signal.SIGTERM)  # as the launcher does, for which a rank waits that is not to say it
        assert job.wait(60) == [1, 1], log.read_text()
    finally:
        job.end()
    said = log.read_text()
    assert "could not be written: " in said
    assert "File too large" in said
    assert "The last complete checkpoint is untouched." in said
    assert "Traceback" not in said
    assert f"step {kept[0] + 2 * PERIOD}/" not in said  # known at a report, not at the next save only
    for step in checkpoints.steps():
        verify(checkpoints.path(step))
    assert kept[0] in checkpoints.steps()
