"""A disk that fills up during a save: what was saved stays, and the run does what the configuration says."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from launcher import ROOT, RUN, TINY, environment

from trainer.checkpoint import Checkpoints, verify

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


def run(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(RUN), str(TINY), f"output_dir={folder}", *SETTINGS, *overrides]
    return subprocess.run(command, capture_output=True, text=True, env=environment(), cwd=ROOT, timeout=120)


@pytest.mark.parametrize("background", ["false", "true"])
def test_a_full_disk_stops_the_run_and_spares_the_last_checkpoint(small_disk: Path, background: str) -> None:
    limit = "checkpoints.checkpoints_total_limit=null"
    done = run(small_disk, limit, f"checkpoints.background={background}", "max_train_steps=20")
    assert done.returncode == 1, done.stdout + done.stderr
    assert "could not be written" in done.stderr
    assert "No space left on device" in done.stderr
    assert "The last complete checkpoint is untouched." in done.stderr
    assert "Traceback" not in done.stderr
    checkpoints = Checkpoints(small_disk / "tiny" / "checkpoints")
    steps = checkpoints.steps()
    assert len(steps) >= 2
    for step in steps:
        verify(checkpoints.path(step))


def test_a_full_disk_is_said_and_lived_with_where_that_is_wanted(small_disk: Path) -> None:
    limit = "checkpoints.checkpoints_total_limit=null"
    done = run(small_disk, limit, "checkpoints.stop_on_error=false", "max_train_steps=10")
    assert "training goes on, the last complete checkpoint is untouched." in done.stdout
    assert "step 10/10" in done.stdout
    assert done.returncode == 1, done.stdout + done.stderr  # for the result is not on the disk
    assert "the checkpoint of step 10 could not be written" in done.stderr
    assert not (small_disk / "tiny" / "DONE").exists()
