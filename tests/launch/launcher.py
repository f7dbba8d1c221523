"""Starts of the trainer by its launcher."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.forked import Job

ROOT = Path(__file__).parents[2]
RUN = ROOT / "trainer" / "run.py"
TINY = Path(__file__).with_name("tiny.yaml")
LAUNCHER = Path(sys.executable).with_name("accelerate")


def environment() -> dict[str, str]:
    """One thread per process and no network; the launcher's own settings cleared."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("ACCELERATE_", "HF_"))}
    return {**kept, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "ACCELERATE_USE_CPU": "true"}


def command(processes: int, program: Path, *arguments: str) -> list[str]:
    """`accelerate launch` as launch/local.sh writes it."""
    several = ["--multi_gpu", "--main_process_port", "0"] if processes > 1 else []
    fixed = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    launch = [str(LAUNCHER), "launch", "--num_processes", str(processes), *several, *fixed]
    return [*launch, str(program), *arguments]


def launch(processes: int, folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Train the tiny run in `folder`, to the end."""
    arguments = command(processes, RUN, str(TINY), f"output_dir={folder}", *overrides)
    done = subprocess.run(arguments, capture_output=True, text=True, env=environment(), cwd=ROOT, timeout=200)
    assert done.returncode == 0, done.stderr
    return done


def failed(job: Job, log: Path) -> list[int]:
    """Exit codes of forked ranks; after the first bad one the others are signalled, as by the launcher."""
    deadline = time.monotonic() + 200
    while job.wait(0.02) is None and not any(job.codes.values()):
        assert time.monotonic() < deadline, log.read_text()
    for rank in range(len(job.processes)):
        job.kill(rank, signal.SIGTERM)
    codes = job.wait(60)
    assert codes is not None, log.read_text()
    return codes
