"""Check and ranks as forks: their ends, signals, and the machines on which they are not used."""

import os
import signal
import time
from functools import partial
from pathlib import Path
from typing import NoReturn

import pytest

from trainer.launcher.forked import SHUTDOWN, Fork, Ranks, can_fork, fork
from trainer.launcher.programs import Ended, handling, run_first


def ends(status: int) -> NoReturn:
    os._exit(status)


def sleeps() -> NoReturn:
    """Until SIGTERM, which it obeys with status 0."""
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    time.sleep(60)
    os._exit(9)


def raises() -> NoReturn:
    raise ValueError("in the fork")


def kills_itself() -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    os._exit(9)


@pytest.mark.parametrize(
    ("first", "status", "sentence"),
    [
        (partial(ends, 3), 3, ""),
        (raises, 1, "ValueError: in the fork"),
        (kills_itself, 128 + signal.SIGKILL, "error: process 0 was ended by SIGKILL (the system does so where memory"),
    ],
)
def test_a_rank_that_fails_ends_the_others(
    first: partial[NoReturn], status: int, sentence: str, capfd: pytest.CaptureFixture[str]
) -> None:
    ranks = Ranks()
    ranks.alive = {0: fork(first), 1: fork(sleeps)}
    ranks.wait()
    assert (ranks.status, ranks.ended[1] in (0, -signal.SIGTERM)) == (status, True)
    assert sentence in capfd.readouterr().err


def test_a_signal_is_handed_on_and_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHUTDOWN, "60")
    ranks = Ranks()
    ranks.alive = {rank: fork(sleeps) for rank in range(2)}
    with handling(ranks.hand_on):
        os.kill(os.getpid(), signal.SIGTERM)
        ranks.wait()
    assert ranks.status == 128 + signal.SIGTERM
    assert set(ranks.ended.values()) <= {0, -signal.SIGTERM}, "without and with a handler of their own yet"


def test_ranks_that_do_not_stop_in_time_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SHUTDOWN, "0")
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the forks
    ranks = Ranks()
    ranks.alive = {0: fork(sleeps)}
    signal.signal(signal.SIGINT, before)
    ranks.hand_on(signal.SIGINT, None)
    ranks.wait()
    assert ranks.ended == {0: -signal.SIGKILL}


def test_a_forks_output_is_read_and_its_status_raised() -> None:
    def says(status: int) -> NoReturn:
        os.write(1, b"one\nlast\n")
        os._exit(status)

    assert run_first(lambda: Fork(partial(says, 0))) == "last"
    with pytest.raises(Ended) as ended:
        run_first(lambda: Fork(partial(says, 2)))
    assert ended.value.status == 2


@pytest.mark.parametrize("device", ["nvidia0", "nvhost-gpu", "kfd", "dxg", "dri/render128"])
def test_where_a_gpu_may_be_nothing_is_forked(device: str, tmp_path: Path) -> None:
    for name in ("null", "dri/card0"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert can_fork(tmp_path)
    (tmp_path / device).touch()
    assert not can_fork(tmp_path)
