"""Short versions of the fault hunt and of the table of digests; run the scripts themselves for longer ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(module: str, *arguments: str) -> str:
    """Run a script of this folder; what it prints."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", f"tests.faults.{module}", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.mark.launch
def test_a_run_that_is_killed_again_and_again_comes_out_as_if_nothing_had_happened() -> None:
    assert "different=[]" in run("hunt", "--kills", "8")


@pytest.mark.launch
def test_a_run_that_meets_all_that_a_machine_can_do_to_it_comes_out_as_if_nothing_had_happened() -> None:
    assert "different=[], odd=[]" in run("hunt", "--adversary", "--minutes", "0.7", "--runs", "1").splitlines()[-1]


@pytest.mark.launch
def test_every_number_of_ranks_gives_the_same_pairs_and_updates_of_both_networks_with_a_resume_between() -> None:
    rows = run("digests", "--every", "3").splitlines()  # which fails where weights are more than 1e-5 apart
    assert len(rows) == 5
    assert all("digests equal" in row for row in rows)


@pytest.mark.launch
def test_four_ranks_resume_bitwise() -> None:
    assert run("resumed").splitlines() == ["generator: 0.0", "discriminator: 0.0", "generator_ema: 0.0"]
