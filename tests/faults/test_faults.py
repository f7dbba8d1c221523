"""Short versions of the fault hunt and of the table of digests; run the scripts themselves for longer ones."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults import digests, resumed
from tests.faults.hunt import hunt

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.launch


def test_a_run_that_is_killed_again_and_again_comes_out_as_if_nothing_had_happened() -> None:
    count = hunt(5, (1, 2))
    assert count.kills >= 5
    assert count.different == []


def test_a_run_that_meets_all_that_a_machine_can_do_to_it_comes_out_as_if_nothing_had_happened() -> None:
    """Run as a program, because it adopts orphaned processes and changes the hub in its children's environment."""
    command = [sys.executable, "-m", "tests.faults.hunt", "--adversary", "--minutes", "0.4", "--runs", "1"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment, timeout=300)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert "different=[], odd=[]" in done.stdout.splitlines()[-1]


def test_every_number_of_ranks_gives_the_same_pairs_and_updates_of_both_networks_with_a_resume_between(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert digests.main(["--every", "3"]) == 0  # which fails where weights are more than 1e-5 apart
    rows = capsys.readouterr().out.splitlines()
    assert len(rows) == 5
    assert all("digests equal" in row for row in rows)


def test_four_ranks_resume_bitwise(capsys: pytest.CaptureFixture[str]) -> None:
    resumed.main([])
    said = capsys.readouterr().out.splitlines()
    assert said == ["generator: 0.0", "discriminator: 0.0", "generator_ema: 0.0"]
