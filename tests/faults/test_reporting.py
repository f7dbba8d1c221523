"""Failing outputs do not end a run: real pipes, terminals and disks that accept nothing any more."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults.forked import TINY, Job
from trainer.checkpoints.store import Checkpoints, verify

SHORT = (
    "validation=null",
    "telemetry.report_to=none",
    "queue_size=0",
    "degradation={type: pipeline, steps: [{type: fit}]}",
    "checkpoints.checkpointing_steps=1000",
)


def job(tmp_path: Path, world: int, log: Path, *settings: str) -> Job:
    return Job(world, log, [str(TINY), f"output_dir={tmp_path}", *SHORT, *settings])


def closed_after_a_line(tmp_path: Path) -> tuple[Path, Callable[[], object]]:
    """A pipe whose reader leaves as `head` does."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)

    def leave() -> None:
        while not os.read(reader, 1):
            time.sleep(0.01)
        os.close(reader)

    os.set_blocking(reader, True)
    return pipe, leave


def hung_up(_tmp_path: Path) -> tuple[Path, Callable[[], object]]:
    """A terminal whose other end is closed."""
    master, slave = os.openpty()
    return Path(os.ttyname(slave)), lambda: (os.read(master, 1), os.close(slave), os.close(master))


def full(_tmp_path: Path) -> tuple[Path, Callable[[], object]]:
    return Path("/dev/full"), lambda: None


@pytest.mark.parametrize(("world", "where"), [(1, closed_after_a_line), (1, hung_up), (2, full)])
def test_a_run_that_nobody_hears_goes_on(
    tmp_path: Path, world: int, where: Callable[[Path], tuple[Path, Callable[[], object]]]
) -> None:
    log, leave = where(tmp_path)
    ranks = job(tmp_path, world, log)
    try:
        leave()
        assert ranks.wait(60) == [0] * world
    finally:
        ranks.end()
    assert (tmp_path / "tiny" / "DONE").read_text() == "6\n"


def spoil_metrics(folder: Path) -> None:
    """Make every write to metrics.jsonl fail, as on a full disk, once the run has begun."""
    deadline = time.monotonic() + 60
    while not (folder / "metrics.jsonl").exists() and time.monotonic() < deadline:
        time.sleep(0.005)
    (folder / "full").symlink_to("/dev/full")
    (folder / "full").replace(folder / "metrics.jsonl")


@pytest.fixture
def spoilt(tmp_path: Path) -> Iterator[Callable[..., tuple[list[int] | None, str]]]:
    """The exit codes and the output of a run of two ranks whose metrics.jsonl cannot be written any more."""
    started: list[Job] = []

    def run(*settings: str) -> tuple[list[int] | None, str]:
        log = tmp_path / "log"
        started.append(job(tmp_path, 2, log, *settings))
        spoil_metrics(tmp_path / "tiny")
        deadline = time.monotonic() + 60
        while not started[0].codes and time.monotonic() < deadline:
            started[0].wait(0.01)
        started[0].kill(1, signal.SIGTERM)  # as the launcher does once a rank has ended
        return started[0].wait(60), log.read_text()

    yield run
    for ranks in started:
        ranks.end()


def test_records_that_cannot_be_written_are_lived_with(spoilt: Callable[..., tuple[list[int], str]]) -> None:
    codes, log = spoilt("checkpoints.stop_on_error=false", "max_train_steps=80")
    assert codes == [0, 0], log
    assert log.count("metrics.jsonl could not be written: ") == 1
    assert "done at step 80" in log
    assert "Traceback" not in log


def test_records_that_cannot_be_written_stop_the_run_saved(
    spoilt: Callable[..., tuple[list[int], str]], tmp_path: Path
) -> None:
    codes, log = spoilt("max_train_steps=100000")
    assert codes is not None, log
    assert codes[0] == 1, log
    assert "Traceback" not in log
    (error,) = [line for line in log.splitlines() if line.startswith("error: ")]
    assert error.startswith("error: metrics.jsonl could not be written: [Errno 28] No space left on device")
    checkpoints = Checkpoints(tmp_path / "tiny" / "checkpoints")
    (step,) = checkpoints.steps()
    verify(checkpoints.path(step))
    assert f"saved at step {step};" in error
