"""Saves of a run: content, pruning, and reports of failures."""

import os
import threading
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

import trainer.saving
from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import Checkpoints, CheckpointsConfig, Parts, verify
from trainer.mistakes import Failure
from trainer.networks import SRVGGNetCompactConfig
from trainer.optim.ema import EMAConfig, smoothed
from trainer.optim.learner import Learner, OptimizerConfig
from trainer.optim.lr_schedules import Constant
from trainer.pairs.stream import Stream
from trainer.saving import Saver
from trainer.state import Best, TrainState

Make = Callable[..., Saver]
SAID = "training goes on, the last complete checkpoint is untouched."


@pytest.fixture
def saver(accelerator: Accelerator, tmp_path: Path) -> Make:
    """`saver(background=True)`: a Saver of a small network in this test's folder."""

    def make(**settings: Any) -> Saver:
        net = SRVGGNetCompactConfig(num_feat=4, num_conv=1).build(2, bands=3)
        player = Learner(accelerator, net, OptimizerConfig(), Constant())
        average = smoothed(player.net, EMAConfig(decay=0.9))
        state = TrainState(player, None, average, Stream(pictures=5, names="abc"))
        return Saver(accelerator, RunFolder(tmp_path), CheckpointsConfig(**settings), state, None)

    return make


def train(saver: Saver, steps: int = 1, value: float = 1.0) -> None:
    """Take steps on pictures of one value; NaN gives a gradient that is not finite."""
    for _ in range(steps):
        player = saver.state.generator
        loss = player.ddp(torch.full((1, 3, 5, 5), value)).square().mean()
        player.accelerator.backward(loss)
        player.step()
        saver.state.ema.update()
        saver.state.stream.position += 4
        saver.state.step += 1


def fail_to_write(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch, "save", refuse)


def test_the_best_is_spared_whatever_the_limit(saver: Make) -> None:
    s = saver(checkpoints_total_limit=1)
    for step in (3, 6, 9):
        train(s, 3)
        if step == 3:
            s.state.best = Best("psnr", 30.0, 3, "y")
        s.save()
    assert s.checkpoints.steps() == [3, 9]


def test_without_keep_best_it_is_not_spared(saver: Make) -> None:
    s = saver(checkpoints_total_limit=1, keep_best=False)
    s.state.best = Best("psnr", 30.0, 1, "y")
    for _ in range(2):
        train(s)
        s.save()
    assert s.checkpoints.steps() == [2]


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Holds the writer of checkpoints until it is set."""
    event, write = threading.Event(), Checkpoints.write

    def wait(self: Checkpoints, step: int, rank: int, parts: Parts) -> None:
        assert event.wait(60)
        write(self, step, rank, parts)

    monkeypatch.setattr(Checkpoints, "write", wait)
    return event


def test_a_background_save_holds_the_weights_and_the_best_of_its_step(saver: Make, held: threading.Event) -> None:
    s = saver(background=True, checkpoints_total_limit=1)
    held.set()
    train(s)
    s.state.best = Best("psnr", 30.0, 1, "y")
    s.save_and_wait()
    held.clear()
    train(s)
    before = {name: value.clone() for name, value in s.state.generator.net.state_dict().items()}
    s.save()
    train(s)
    s.state.best = Best("psnr", 31.0, 3, "y")  # found, and not saved yet: the old best is still the only one
    held.set()
    s.wait()
    assert (s.saved, s.checkpoints.steps()) == (2, [1, 2])
    written = s.checkpoints.load(2)["generator"]
    assert all(torch.equal(written[name], value) for name, value in before.items())
    assert not torch.equal(written["body.0.weight"], s.state.generator.net.state_dict()["body.0.weight"])


def test_a_save_under_way_is_looked_for_at_reports_and_not_waited_for(saver: Make, held: threading.Event) -> None:
    s = saver(background=True)
    s.poll()
    train(s)
    s.save()
    s.poll()
    assert s.saved is None
    held.set()
    assert s.thread
    s.thread.join()
    s.poll()
    assert s.saved == 1
    verify(s.checkpoints.path(1))


@pytest.mark.parametrize("error", [RuntimeError("unexpected pos 64 vs 0"), OSError(28, "No space left on device")])
def test_a_background_save_that_failed_is_said_at_the_next_report(
    saver: Make, error: Exception, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    s = saver(background=True, stop_on_error=False)
    train(s)
    with monkeypatch.context() as patched:
        fail_to_write(patched, error)
        s.save()
        assert s.thread
        s.thread.join()
    s.poll()
    said = capsys.readouterr().out
    assert said.startswith("the checkpoint of step 1 could not be written: ")
    assert str(error) in said
    assert said.endswith(f"{SAID}\n")
    assert s.saved is None
    s.poll()
    assert capsys.readouterr().out == ""
    s.save_and_wait()  # the same step is tried again
    assert s.saved == 1


@pytest.mark.parametrize("background", [False, True])
def test_it_ends_the_run_where_that_is_wanted(saver: Make, background: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    s = saver(background=background)
    train(s)
    fail_to_write(monkeypatch, RuntimeError("unexpected pos 64 vs 0"))
    with pytest.raises(Failure, match=r"step 1 could not be written: RuntimeError: unexpected pos 64 vs 0\. The last "):
        s.save_and_wait()


def test_a_last_step_that_cannot_be_saved_is_a_failure_in_any_case(
    saver: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Or the run would be marked as done, and its result be lost."""
    s = saver(stop_on_error=False)
    train(s)
    fail_to_write(monkeypatch, OSError(28, "No space left on device"))
    s.save()
    assert capsys.readouterr().out.count("No space left on device") == 1
    with pytest.raises(Failure, match="No space left on device"):
        s.save_and_wait()


def test_an_export_that_cannot_be_written_does_not_unmake_the_checkpoint(
    saver: Make, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    s = saver(stop_on_error=False, checkpoints_total_limit=2)

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(trainer.saving, "export", refuse)
        for _ in range(3):
            train(s)
            s.save()
    assert "the export could not be written: [Errno 28] No space left on device; training" in capsys.readouterr().out
    assert s.saved == 3
    assert sorted(path.name for path in s.checkpoints.folder.iterdir()) == ["step-00000002", "step-00000003"]


def test_a_resumed_run_makes_the_export_that_a_death_prevented(saver: Make) -> None:
    first, second = saver(), saver()
    train(first)
    first.save()
    exported = (first.folder.export / "diffusion_pytorch_model.safetensors").read_bytes()
    (first.folder.export / "diffusion_pytorch_model.safetensors").write_bytes(b"of an earlier step")
    second.state.load(second.checkpoints.load(1))
    second.resumed(1)
    assert (second.folder.export / "diffusion_pytorch_model.safetensors").read_bytes() == exported
    before = second.folder.export.stat().st_mtime_ns
    second.resumed(1)
    assert second.folder.export.stat().st_mtime_ns == before  # nothing to do


def test_nothing_is_saved_while_steps_are_skipped(saver: Make) -> None:
    s = saver()
    train(s)
    assert not s.due(False)
    assert s.due(True)
    s.save()
    train(s, 2, value=float("nan"))
    assert not s.due(True)
    assert not s.due(False)
    train(s)
    assert s.due(False)  # put off until now
    s.save()
    assert not s.due(False)
    assert s.checkpoints.steps() == [1, 4]


def test_a_stop_while_steps_are_skipped_saves_and_deletes_nothing(saver: Make) -> None:
    s = saver(checkpoints_total_limit=1)
    train(s)
    s.save()
    train(s, value=float("nan"))
    s.save_and_wait()
    assert s.checkpoints.steps() == [1, 2]


def test_the_thread_of_a_run_that_has_ended_does_not_wait_for_others(saver: Make) -> None:
    """A process of its own, for its main thread ends, as by an exception in a collective whose peer is dead."""
    s = saver(background=True)
    s.state.step = 4
    s.step = 4
    s.checkpoints.begin(4)
    s.checkpoints.write(4, 0, {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of threads that the child does not need
        child = os.fork()
    if child == 0:
        waiting = threading.Thread(target=s._try, args=("it", s.checkpoints.complete, 4, 2, s._given_up))
        waiting.start()
        threading._shutdown()  # type: ignore[attr-defined]  # which Python does where the main thread is over
        os._exit(3 if "the run has ended" in str(s.errors) else 4)
    deadline = time.monotonic() + 60
    while (ended := os.waitpid(child, os.WNOHANG))[0] == 0 and time.monotonic() < deadline:
        time.sleep(0.01)
    if not ended[0]:
        os.kill(child, 9)
        os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(ended[1]) == 3


def test_rank_0_knows_why_to_wait_no_longer(saver: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    s = saver()
    assert s._given_up(0.0) == ""
    assert s._given_up(1e9) == "120 minutes, distributed.timeout_minutes, are over"
    s.all_written = time.monotonic()
    assert s._given_up(0.0) == ""
    monkeypatch.setattr(trainer.saving, "VISIBLE", -1.0)
    assert s._given_up(0.0) == "is output_dir on a disk that all nodes share?"
    s.give_up_reason = "rank 1: No space left on device"
    assert s._given_up(0.0) == s.give_up_reason
