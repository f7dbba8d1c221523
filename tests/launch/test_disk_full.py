"""A disk that fills up during a save: what was saved stays, and the run does what the configuration says."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from launcher import TINY

from tests.faults.forked import Job
from trainer.checkpoints.store import Checkpoints, verify

pytestmark = pytest.mark.launch
SETTINGS = ("validation=null", "telemetry.report_to=none", "checkpoints.checkpointing_steps=2", "queue_size=100")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1.5 MB: a checkpoint of this run, with 100 pairs in the pool, takes 0.5 MB."""
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(tmp_path)], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small disk can only be mounted by root")
    yield tmp_path
    subprocess.run(["umount", "-l", str(tmp_path)], check=True)


def fails(folder: Path, log: Path, *overrides: str) -> str:
    """The stderr of a run that must end as a Failure."""
    job = Job(1, log, [str(TINY), f"output_dir={folder}", *SETTINGS, *overrides])
    assert job.wait(120) == [1], log.read_text()
    return log.read_text()


@pytest.fixture
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file on another disk."""
    return tmp_path_factory.mktemp("log") / "log"


@pytest.mark.parametrize("background", ["false", "true"])
def test_a_full_disk_stops_the_run_and_spares_the_last_checkpoint(small_disk: Path, log: Path, background: str) -> None:
    limit = "checkpoints.checkpoints_total_limit=null"
    said = fails(small_disk, log, limit, f"checkpoints.background={background}", "max_train_steps=20")
    assert "could not be written" in said
    assert "No space left on device" in said
    assert "The last complete checkpoint is untouched." in said
    assert "Traceback" not in said
    checkpoints = Checkpoints(small_disk / "tiny" / "checkpoints")
    steps = checkpoints.steps()
    assert len(steps) >= 2
    for step in steps:
        verify(checkpoints.path(step))


def test_a_full_disk_is_said_and_lived_with_where_that_is_wanted(small_disk: Path, log: Path) -> None:
    limit = "checkpoints.checkpoints_total_limit=null"
    said = fails(small_disk, log, limit, "checkpoints.stop_on_error=false", "max_train_steps=10")
    assert "training goes on, the last complete checkpoint is untouched." in said
    assert "step 10/10" in said
    assert "error: the checkpoint of step 10 could not be written" in said  # for the result is not on the disk
    assert not (small_disk / "tiny" / "DONE").exists()
