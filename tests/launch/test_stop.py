"""Stops on request, stops of a run that cannot succeed, and the death of a rank.

Through the true launcher where it has a part in that; elsewhere by forked ranks, which start in a second, not in ten.
"""

import json
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from launcher import ROOT, RUN, TINY, command, environment, failed

from tests.faults.forked import Job

pytestmark = pytest.mark.launch
LONG = ("max_train_steps=100000", "validation=null", "telemetry.report_to=none", "checkpoints.checkpointing_steps=1000")


def start(processes: int, folder: Path) -> subprocess.Popen[str]:
    """Start a run that does not end by itself, and wait for its first steps."""
    arguments = command(processes, RUN, str(TINY), f"output_dir={folder}", *LONG)
    running = subprocess.Popen(
        arguments, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment(), cwd=ROOT
    )
    deadline = time.monotonic() + 120
    while len(steps(folder)) < 5:
        assert running.poll() is None, running.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return running


def said(running: subprocess.Popen[str], seconds: float = 60) -> str:
    """The output of a run, once it has ended."""
    return running.communicate(timeout=seconds)[0]


def forked(processes: int, folder: Path, *overrides: str) -> tuple[Job, Path]:
    """The same without the launcher, and the file of its ranks' output."""
    log = folder / "log"
    log.unlink(missing_ok=True)
    return Job(processes, log, [str(TINY), f"output_dir={folder}", *LONG, *overrides]), log


def steps(folder: Path) -> list[int]:
    """The steps that are reported, in their order; the last line may be half written."""
    metrics = folder / "tiny" / "metrics.jsonl"
    lines = metrics.read_text().splitlines(keepends=True) if metrics.exists() else []
    return [json.loads(line)["step"] for line in lines if line.endswith("\n")]


def test_a_signal_to_the_launcher_is_answered_by_a_checkpoint_of_both_ranks(tmp_path: Path) -> None:
    running = start(2, tmp_path)
    running.send_signal(signal.SIGHUP)  # a dropped ssh session; the launcher passes on what it gets
    text = said(running)
    last = steps(tmp_path)[-1]
    assert f"stopped at step {last} (signal) and saved; the same command resumes the run." in text
    assert (tmp_path / "tiny" / "STOPPED").read_text() == f"step {last}: signal\n"
    assert (tmp_path / "tiny" / "checkpoints" / f"step-{last:08d}" / "manifest.json").is_file()

    resumed, log = forked(2, tmp_path, f"max_train_steps={last + 2}")
    assert resumed.wait(60) == [0, 0], log.read_text()
    assert f"resumes at step {last}" in log.read_text()
    assert steps(tmp_path) == list(range(1, last + 3))
    assert not (tmp_path / "tiny" / "STOPPED").exists()


def test_a_stop_file_and_a_time_budget_stop_a_run(tmp_path: Path) -> None:
    running, log = forked(1, tmp_path)
    deadline = time.monotonic() + 60
    while len(steps(tmp_path)) < 5:
        assert running.wait(0.02) is None, log.read_text()
        assert time.monotonic() < deadline
    (tmp_path / "tiny" / "STOP").touch()
    assert running.wait(60) == [0], log.read_text()
    assert "(STOP file) and saved" in log.read_text()

    running, log = forked(1, tmp_path, "max_hours=0.0002")
    assert running.wait(60) == [0], log.read_text()
    assert "(time budget) and saved" in log.read_text()
    assert not (tmp_path / "tiny" / "STOP").exists()
    assert steps(tmp_path) == list(range(1, len(steps(tmp_path)) + 1))


def test_a_rank_that_dies_ends_the_job_within_a_minute(tmp_path: Path) -> None:
    running = start(2, tmp_path)
    children = Path(f"/proc/{running.pid}/task/{running.pid}/children").read_text().split()
    ranks = [pid for pid in children if b"run.py" in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(ranks) == 2
    subprocess.run(["kill", "-9", ranks[1]], check=True)
    said(running)
    assert running.returncode != 0
    assert not any(Path(f"/proc/{pid}").exists() for pid in ranks)


def test_a_run_that_diverges_stops_on_all_ranks_and_leaves_a_dump(tmp_path: Path) -> None:
    overrides = ("optimizer.learning_rate=1e30", "optimizer.max_grad_norm=null", "max_skipped=4", "queue_size=8")
    running, log = forked(2, tmp_path, *overrides)
    assert failed(running, log) == [1, 1], log.read_text()
    assert log.read_text().count("error: 4 steps in a row had a gradient that is not finite") == 1
    dumps = sorted((tmp_path / "tiny" / "dump").iterdir())
    assert len(dumps) == 2
    content = torch.load(dumps[0], weights_only=True)
    assert content["lq"].dtype == torch.uint8
    assert len(content["positions"]) == len(content["lq"]) == 2
    assert "resize1.scale" in content["recipe"]
    lines = [json.loads(line) for line in (tmp_path / "tiny" / "metrics.jsonl").read_text().splitlines()]
    assert lines[-1]["training/grad_norm"] is None
    assert lines[-1]["training/skipped_share"] == 1
