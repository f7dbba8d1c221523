"""Check and ranks as forks: their ends, signals, and the machines on which they are not used."""

import ast
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trainer.launcher.forked import can_fork

ROOT = Path(__file__).parents[3]
PROGRAM = Path(__file__).with_name("forked_ranks.py")
STOPPED = {0, -signal.SIGTERM}
"""Ends of a rank that is asked to stop: with a handler of its own, and before it has one."""


def came_of(case: str) -> tuple[Any, str]:
    """What a case of forked_ranks.py returns, and what it says on stderr."""
    done = subprocess.run(
        [sys.executable, str(PROGRAM), case], env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=100,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return ast.literal_eval(done.stdout), done.stderr


@pytest.mark.parametrize(
    ("case", "status", "sentence"),
    [
        ("ends", 3, ""),
        ("raises", 1, "ValueError: in the fork"),
        (
            "kills_itself",
            128 + signal.SIGKILL,
            "error: process 0 was ended by SIGKILL (the system does so",
        ),
    ],
)
def test_a_rank_that_fails_ends_the_others(case: str, status: int, sentence: str) -> None:
    (found, ended), said = came_of(case)
    assert found == status
    assert ended[1] in STOPPED
    assert sentence in said


def test_a_signal_is_handed_on_and_waited_for() -> None:
    (status, ended), _ = came_of("asked")
    assert status == 128 + signal.SIGTERM
    assert ended.keys() == {0, 1}
    assert set(ended.values()) <= STOPPED


def test_ranks_that_do_not_stop_in_time_are_killed() -> None:
    (status, ended), _ = came_of("overdue")
    assert (status, ended) == (128 + signal.SIGINT, {0: -signal.SIGKILL})


def test_a_forks_output_is_read_and_its_status_raised() -> None:
    assert came_of("read")[0] == ("last", 2)


@pytest.mark.parametrize("device", ["nvidia0", "nvhost-gpu", "kfd", "dxg", "dri/render128"])
def test_where_a_gpu_may_be_nothing_is_forked(device: str, tmp_path: Path) -> None:
    for name in ("null", "dri/card0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert can_fork(tmp_path)
    (tmp_path / device).touch()
    assert not can_fork(tmp_path)
