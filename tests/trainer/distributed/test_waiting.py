"""Waits: limits, reminders, and stop requests."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from trainer.distributed.signals import SIGNALS, StopRequest
from trainer.distributed.waiting import DistributedConfig, Stopped, Watch
from trainer.mistakes import Failure


def forked(work: Callable[[], None], log: Path) -> int:
    """Do `work` in a process whose parent is this one, stderr into `log`; its pid."""
    child = os.fork()
    if child:
        return child
    try:
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 2)
        sys.stderr = os.fdopen(2, "w", closefd=False)  # pytest's own goes elsewhere
        signal.alarm(60)  # no test leaves it behind
        work()
    finally:
        os._exit(70)


def ended(child: int, seconds: float = 20) -> int:
    """The exit status of a forked process; minus the signal that ended it."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        process, status = os.waitpid(child, os.WNOHANG)
        if process:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    pytest.fail("it is still there")


def wait_for(text: str, log: Path, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not log.exists() or text not in log.read_text():
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.005)


def answers(*values: int | None) -> Callable[[], int | None]:
    given: Iterator[int | None] = iter(values)
    return lambda: next(given)


def test_what_comes_is_returned_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    assert Watch(StopRequest()).until(answers(None, None, 7), "waiting for a number", pause=0) == 7
    assert capfd.readouterr() == ("", "")


def test_a_long_wait_is_said_again_and_again_with_rank_phase_and_file(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "3")
    watch = Watch(StopRequest(), reminder_seconds=0)
    watch.until(answers(None, None, 7), "waiting for a batch", lambda: "/data/a.png", pause=0)
    line = "rank 3 is still waiting for a batch (/data/a.png), for 0 s.\n"
    assert capfd.readouterr().err == 2 * line


def test_a_wait_ends_at_its_limit_and_names_the_key() -> None:
    watch = Watch(StopRequest())
    watch.limit = 0
    with pytest.raises(Failure, match=r"waiting for a number, for 0 s: longer than distributed.timeout_minutes, 0"):
        watch.until(lambda: None, "waiting for a number", pause=0.001)
    assert not watch.phases


def test_a_stop_request_ends_a_wait_at_once() -> None:
    watch = Watch(request := StopRequest())
    request.record("SIGTERM")
    with pytest.raises(Stopped, match=r"rank 0: SIGTERM while waiting for a number, for 0 s"):
        watch.until(lambda: None, "waiting for a number")


@pytest.mark.parametrize("minutes", [0, -1, float("nan"), 1e9])
def test_a_limit_is_a_length_of_time(minutes: float) -> None:
    with pytest.raises(ValueError, match="timeout_minutes must be above 0 and at most 100000"):
        DistributedConfig(timeout_minutes=minutes)


def newest() -> str:
    return "The newest complete checkpoint is step-00000012."


def hangs_in_c(grace: float | None, last_words: Callable[[], str] = newest) -> Callable[[], None]:
    """A process whose main thread sits in C, as in a collective: no Python handler of a signal runs."""

    def work() -> None:
        watch = Watch(request := StopRequest(), reminder_seconds=0.05)
        watch.last_words = last_words
        request.listen()
        watch.start(tick=0.01)
        signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)  # of this thread: another one takes them
        with watch.phase("exchanging with the others", grace=grace):
            ctypes.CDLL(None).sleep(60)

    return work


def test_a_stop_request_is_heard_while_the_main_thread_sits_in_c(tmp_path: Path) -> None:
    child = forked(hangs_in_c(grace=0.05), log := tmp_path / "log")
    wait_for("rank 0 is still exchanging with the others, for 0 s.", log)
    os.kill(child, signal.SIGTERM)
    assert ended(child) == 128 + signal.SIGTERM
    assert "error: rank 0: SIGTERM while exchanging with the others" in log.read_text()
    assert "it ends now. The newest complete checkpoint is step-00000012.\n" in log.read_text()


@pytest.mark.parametrize("last_words", [lambda: time.sleep(60), lambda: Path("/dev/full").write_text("mark")])
def test_a_disk_that_hangs_or_refuses_does_not_keep_the_process(
    last_words: Callable[[], str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trainer.distributed.waiting.LAST_WORDS_SECONDS", 0.1)
    child = forked(hangs_in_c(0.05, last_words), log := tmp_path / "log")
    wait_for("still exchanging", log)
    os.kill(child, signal.SIGTERM)
    assert ended(child) == 128 + signal.SIGTERM
    assert "it ends now.\n" in log.read_text()


def test_what_took_long_within_a_phase_does_not_count_against_it(tmp_path: Path) -> None:
    """A validation may take longer than a step may hang; the process is not ended when it is back in the step."""

    def work() -> None:
        watch = Watch(request := StopRequest())
        request.record("SIGTERM")
        watch.start(tick=0.01)
        with watch.phase("ending a step", grace=0.4):
            with watch.phase("validating", grace=10):
                time.sleep(0.5)
            time.sleep(0.1)
        os._exit(0)

    assert ended(forked(work, tmp_path / "log")) == 0


def test_a_second_signal_ends_even_that_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.distributed.signals.ECHO_SECONDS", 0.0)
    child = forked(hangs_in_c(grace=None), log := tmp_path / "log")
    wait_for("still exchanging", log)
    os.kill(child, signal.SIGHUP)
    time.sleep(0.1)  # two signals at the same instant may be one
    os.kill(child, signal.SIGTERM)
    assert ended(child) == 128 + signal.SIGTERM
    assert log.read_text().endswith("second signal (SIGTERM): ending at once\n")


def test_a_hangup_is_a_request_unless_the_parent_had_it_ignored(tmp_path: Path) -> None:
    """A dropped ssh session sends SIGHUP; nohup has it ignored."""

    def work() -> None:
        request = StopRequest()
        request.listen()
        os.kill(os.getpid(), signal.SIGHUP)
        os.write(2, str(request.name).encode())
        os._exit(0)

    def under_nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        work()

    assert ended(forked(work, tmp_path / "plain")) == 0
    assert ended(forked(under_nohup, tmp_path / "nohup")) == 0
    assert (tmp_path / "plain").read_text() == "SIGHUP"
    assert (tmp_path / "nohup").read_text() == "None"


@pytest.mark.parametrize(("parent", "heard"), [("TORCHELASTIC_RUN_ID", "the launcher's death"), ("PATH", "None")])
def test_a_launchers_death_is_a_request_and_a_shells_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parent: str, heard: str
) -> None:
    monkeypatch.setattr("trainer.distributed.signals.POLL_SECONDS", 0.01)
    monkeypatch.setattr("trainer.distributed.signals.LAUNCHERS", (parent,) if parent != "PATH" else ())
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")

    def orphan() -> None:
        request = StopRequest()
        request.listen()
        os.write(2, b"listens\n")
        deadline = time.monotonic() + (10 if parent != "PATH" else 0.2)
        while request.name is None and time.monotonic() < deadline:
            time.sleep(0.01)
        os.write(2, str(request.name).encode() + b".")
        os._exit(0)

    def launcher() -> None:
        forked(orphan, tmp_path / "log")
        wait_for("listens", tmp_path / "log")
        os.kill(os.getpid(), signal.SIGKILL)

    assert ended(forked(launcher, tmp_path / "launcher")) == -signal.SIGKILL
    wait_for(f"{heard}.", tmp_path / "log")
