"""Ranks that wait for rank 0, for each other, or for one that never comes. Each is a process of its own."""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path

import pytest
import torch

from tests.faults.forked import TINY, Job, free_port
from trainer.building.accelerator import make_accelerator
from trainer.config.loader import load_config
from trainer.config.schema import RunConfig
from trainer.distributed.ranks import leave_group, naming_lost_ranks, on_main, tensors_on_main
from trainer.distributed.waiting import WATCH
from trainer.mistakes import Failure, Mistake

Start = Callable[..., Job]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start ranks that run a function; those that are left at the end are killed."""
    jobs: list[Job] = []

    def started(world: int, work: Callable[[], object]) -> Job:
        def rank(_arguments: Sequence[str]) -> int:
            WATCH.reminder_seconds = 0.2
            WATCH.start(tick=0.02)
            try:
                work()
            except (Mistake, Failure) as error:
                print(f"{WATCH.rank} ends: {type(error).__name__}: {error}", flush=True)
                leave_group()
                return 2 if isinstance(error, Mistake) else 1
            leave_group()
            return 0

        jobs.append(Job(world, tmp_path / "log", work=rank))
        return jobs[-1]

    yield started
    for job in jobs:
        job.end()


def accelerated(work: Callable[[], object]) -> Callable[[], object]:
    """`on_main` of `work`, by a rank that joins the others before."""

    def joined() -> object:
        return on_main(make_accelerator(load_config(RunConfig, TINY)), work, "listing the pictures")

    return joined


def said(tmp_path: Path) -> str:
    return (tmp_path / "log").read_text()


def wait_for(text: str, log: Path, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not log.exists() or text not in log.read_text():
        assert time.monotonic() < deadline, log.exists() and log.read_text()
        time.sleep(0.01)


def raises(error: Exception) -> Callable[[], object]:
    def work() -> object:
        raise error

    return work


def test_rank_0_takes_its_time_and_all_say_what_it_does(start: Start, tmp_path: Path) -> None:
    job = start(2, accelerated(lambda: time.sleep(0.5)))
    assert job.wait(60) == [0, 0], said(tmp_path)
    assert "rank 0 is still listing the pictures, for 0 s." in said(tmp_path)
    assert "rank 1 is still waiting for rank 0, which is listing the pictures (rank 0 is not there), for 0 s." in said(
        tmp_path
    )


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (Mistake("path: no such folder."), 2, "Mistake: path: no such folder."),
        (Failure("the disk is full."), 1, "Failure: the disk is full."),
        (KeyError("surprise"), 1, "Failure: rank 0: KeyError: 'surprise'"),
    ],
)
def test_what_rank_0_raises_every_rank_raises(
    start: Start, tmp_path: Path, error: Exception, code: int, sentence: str
) -> None:
    job = start(2, accelerated(raises(error)))
    assert job.wait(60) == [code, code], said(tmp_path)
    for rank in (0, 1):
        assert f"rank {rank} ends: {sentence}\n" in said(tmp_path)


def test_a_stop_request_ends_the_wait_for_rank_0_and_its_work(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.distributed.ranks.START_GRACE", 0.1)
    job = start(2, accelerated(lambda: time.sleep(60)))
    wait_for("rank 1 is still waiting for rank 0", tmp_path / "log")
    for rank in (0, 1):
        job.kill(rank, signal.SIGTERM)
    assert job.wait(30) == [128 + signal.SIGTERM, 1], said(tmp_path)
    assert "error: rank 0: SIGTERM while listing the pictures, for" in said(tmp_path)
    assert "rank 1 ends: Stopped: rank 1: SIGTERM while waiting for rank 0" in said(tmp_path)


def test_a_peer_that_never_joins_is_said_and_a_stop_request_ends_the_wait(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.distributed.ranks.START_GRACE", 0.1)

    def joins_or_dies() -> object:
        if os.environ["RANK"] == "1":
            os.kill(os.getpid(), signal.SIGKILL)
        return accelerated(lambda: None)()

    job = start(2, joins_or_dies)
    wait_for("rank 0 is still joining the other processes (2 at 127.0.0.1, port ", tmp_path / "log")
    job.kill(0, signal.SIGTERM)
    assert job.wait(30) == [128 + signal.SIGTERM, -signal.SIGKILL], said(tmp_path)
    assert "error: rank 0: SIGTERM while joining the other processes" in said(tmp_path)


def test_processes_that_do_not_find_each_other_end_in_a_sentence() -> None:
    """Before the ranks have joined there is no store to read."""
    with pytest.raises(Failure, match="another rank is gone"), naming_lost_ranks():
        torch.distributed.TCPStore("127.0.0.1", free_port(), 2, False, timeout=timedelta(seconds=0.1))


def test_processes_of_several_machines_are_told_which_variable_to_set(monkeypatch: pytest.MonkeyPatch) -> None:
    from trainer.building.accelerator import _where_to_join

    for name, value in {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "node1", "MASTER_PORT": "1"}.items():
        monkeypatch.setenv(name, value)
    assert "GLOO_SOCKET_IFNAME" in _where_to_join()
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "eth0")
    assert _where_to_join() == "4 at node1, port 1"


def test_tensors_of_any_shape_come_to_rank_0_alone(start: Start, tmp_path: Path) -> None:
    def give() -> None:
        accelerator = make_accelerator(load_config(RunConfig, TINY))
        rank = accelerator.process_index
        own = [(number, torch.full((3, number + 1, 2), number, dtype=torch.uint8)) for number in (rank, rank + 3)]
        came = tensors_on_main(accelerator, own if rank != 1 else own[:1])
        assert [number for number, _ in came] == ([0, 1, 2, 3, 5] if rank == 0 else [])
        assert all(tensor.shape == (3, number + 1, 2) and (tensor == number).all() for number, tensor in came)
        assert tensors_on_main(accelerator, []) == []

    assert start(3, give).wait(60) == [0, 0, 0], said(tmp_path)
