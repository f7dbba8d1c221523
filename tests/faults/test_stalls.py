"""Stalled waits: the run reports the wait, and ends with a checkpoint or continues unchanged."""

import os
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from PIL import Image

from tests.faults.forked import TINY, Job
from tests.faults.hunt import fingerprint
from trainer.distributed.waiting import WATCH
from trainer.run import main

COUNT = 6


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    (folder := tmp_path / "pictures").mkdir()
    for number in range(COUNT):
        Image.effect_mandelbrot((64, 56), (-2 + number / 10, -1, 1, 1), 50).save(folder / f"{number}.png")
    return folder


@pytest.fixture
def jobs() -> Iterator[list[Job]]:
    """Kill the processes that are left at the end."""
    started: list[Job] = []
    yield started
    for job in started:
        job.end()


def start(world: int, folder: Path, pictures: Path, *settings: str) -> Job:
    """Train on `pictures` in `folder`, with minutes and grace periods of a fraction of a second."""

    def work(arguments: Sequence[str]) -> int:
        from trainer.images import loader, opened

        opened.check_regular = lambda *_: None  # which refuses the FIFO that stands for a stalled mount
        loader.GRACE, loader.PAUSE, WATCH.reminder_seconds = 0.2, 0.2, 0.3
        return main(arguments)

    folder.mkdir(exist_ok=True)
    arguments = [
        *(str(TINY), f"output_dir={folder}", f"images.source={{type: folder, path: {pictures}}}", "queue_size=4"),
        *("validation=null", "telemetry.report_to=none", "checkpoints.checkpointing_steps=1000"),
        *("images.cache_mib=0", "images.dataloader_num_workers=0", *settings),
    ]
    return Job(world, folder / "log", arguments, work)


def steps(folder: Path) -> int:
    metrics = folder / "tiny" / "metrics.jsonl"
    return metrics.read_text().count("\n") if metrics.exists() else 0


def wait_for(text: str, folder: Path, seconds: float = 90) -> None:
    deadline = time.monotonic() + seconds
    while not (folder / "log").exists() or text not in (folder / "log").read_text():
        assert time.monotonic() < deadline, (folder / "log").read_text()
        time.sleep(0.02)


@pytest.mark.launch
@pytest.mark.parametrize("world", [1, 2])
def test_a_batch_that_never_comes_ends_saved_on_a_stop_request_and_the_run_is_the_same(
    world: int, tmp_path: Path, pictures: Path, jobs: list[Job]
) -> None:
    """A picture whose open blocks, as on a stalled mount, and one SIGTERM to each rank, as a launcher sends it."""
    run = tmp_path / "run"
    jobs.append(start(world, run, pictures, "max_train_steps=100000"))
    wait_for("step 3/", run)
    os.mkfifo(aside := tmp_path / "fifo")
    (pictures / "2.png").rename(tmp_path / "2.png")
    aside.rename(pictures / "2.png")
    wait_for("is still waiting for a batch (position ", run)
    for rank in range(world):
        jobs[-1].kill(rank, signal.SIGTERM)
    assert jobs[-1].wait(25) == [0] * world, (run / "log").read_text()
    stopped = steps(run)
    assert f"stopped at step {stopped} (signal) and saved" in (run / "log").read_text()
    assert (run / "tiny" / "STOPPED").read_text() == f"step {stopped}: signal\n"

    (tmp_path / "2.png").replace(pictures / "2.png")
    pictures.rename(away := tmp_path / "away")  # a disk that is mounted late
    last = f"max_train_steps={stopped + 2}"
    jobs.append(start(world, run, pictures, last))
    wait_for(f"folder {pictures} cannot be read: No such file or directory; the run was trained on it", run)
    wait_for("rank 0 is still waiting for the pictures", run)
    jobs[-1].kill(0, signal.SIGTERM)
    assert jobs[-1].wait(25) == [0] * world, (run / "log").read_text()
    assert "stopped before the first step: rank 0: SIGTERM while waiting for the pictures" in (run / "log").read_text()
    begun = (run / "log").stat().st_size
    jobs.append(start(world, run, pictures, last))
    while b"so it is waited for" not in (run / "log").read_bytes()[begun:]:
        assert jobs[-1].wait(0.02) is None, (run / "log").read_text()
    away.rename(pictures)

    jobs.append(start(world, tmp_path / "straight", pictures, last))
    for job in jobs[2:]:
        assert job.wait(90) == [0] * world, (run / "log").read_text()
    assert fingerprint(run / "tiny") == fingerprint(tmp_path / "straight" / "tiny")


@pytest.mark.launch
def test_pictures_that_stay_away_end_the_run_saved_and_as_a_failure(
    tmp_path: Path, pictures: Path, jobs: list[Job]
) -> None:
    run = tmp_path / "run"
    jobs.append(start(2, run, pictures, "max_train_steps=100000", "distributed.timeout_minutes=0.02"))
    wait_for("step 3/", run)
    pictures.rename(tmp_path / "away")
    wait_for("error: ", run)
    jobs[-1].kill(1, signal.SIGTERM)  # as the launcher does, for which a rank waits with the same error
    assert jobs[-1].wait(90) == [1, 1], (run / "log").read_text()
    said = (run / "log").read_text()
    assert f"its folder {pictures} cannot be read: No such file or directory; it is tried again" in said
    assert "longer than distributed.timeout_minutes, 0.02. The run is saved at step " in said
    assert (run / "tiny" / "checkpoints" / f"step-{steps(run):08d}" / "manifest.json").is_file()


@pytest.mark.launch
def test_pictures_that_go_bad_while_a_run_trains_end_it_saved(tmp_path: Path, pictures: Path, jobs: list[Job]) -> None:
    run = tmp_path / "run"
    jobs.append(start(2, run, pictures, "max_train_steps=100000", "telemetry.report_steps=30"))
    wait_for("step 30/", run)
    for picture in pictures.iterdir():
        (spoilt := tmp_path / picture.name).write_bytes(b"no picture")
        spoilt.replace(picture)
    wait_for("error: ", run)
    jobs[-1].kill(1, signal.SIGTERM)
    assert jobs[-1].wait(90) == [1, 1], (run / "log").read_text()
    said = (run / "log").read_text()
    assert "in a row could not be used; last " in said
    assert "The run is saved at step " in said
    assert list((run / "tiny" / "checkpoints").glob("step-*/manifest.json"))


@pytest.mark.launch
def test_a_rank_that_is_gone_is_told_by_the_others(tmp_path: Path, pictures: Path, jobs: list[Job]) -> None:
    run = tmp_path / "run"
    jobs.append(start(2, run, pictures, "max_train_steps=100000"))
    wait_for("step 3/", run)
    jobs[-1].kill(1)
    assert jobs[-1].wait(60) == [1, -signal.SIGKILL], (run / "log").read_text()
    said = (run / "log").read_text()
    assert "error: rank 0: another rank is gone" in said
    assert "No checkpoint is in" in said
    assert "Traceback" not in said
