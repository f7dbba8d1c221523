"""Runs that begin, go on and end in this process: what is on the disk afterwards, and what is left alone."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trainer.building.accelerator import make_accelerator
from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import Checkpoints
from trainer.command import execute
from trainer.config.schema import RunConfig
from trainer.distributed.waiting import WATCH
from trainer.experiment import Experiment
from trainer.images.unreadable import UnreadableImages
from trainer.lifecycle.assemble import assemble
from trainer.loop import fit, validate
from trainer.mistakes import Failure, Mistake
from trainer.run import parse
from trainer.training import last_words

TINY = Path(__file__).parents[2] / "launch" / "tiny.yaml"
QUICK = (
    "validation=null",
    "telemetry.report_to=none",
    "degradation={type: pipeline, steps: [{type: fit}]}",
    "gt_size=16",
    "images.crop_size=24",
    "queue_size=4",
    "gt_usm=false",
    "checkpoints.checkpointing_steps=2",
)
Run = Callable[..., RunFolder]


@pytest.fixture
def start(tiny: Callable[..., RunConfig], fresh_accelerate: Any) -> Callable[..., Experiment]:  # noqa: ARG001
    def make(*overrides: str) -> Experiment:
        config = tiny(*QUICK, *overrides)
        return assemble(config, make_accelerator(config))

    return make


@pytest.fixture
def run(start: Callable[..., Experiment]) -> Run:
    """A run from its start to its end, with these settings."""

    def train(*overrides: str) -> RunFolder:
        x = start(*overrides)
        fit(x)
        return x.folder

    return train


def content(folder: RunFolder, *leave_out: str) -> dict[str, tuple[int, bytes]]:
    """Every file of a run, but some, with the time at which it was written."""
    files = [path for path in folder.path.rglob("*") if path.is_file() and path.name not in leave_out]
    return {str(path.relative_to(folder.path)): (path.stat().st_mtime_ns, path.read_bytes()) for path in files}


def test_a_run_that_has_ended_and_is_started_again_writes_its_checkpoint_not_again(run: Run) -> None:
    folder = run("max_train_steps=2")
    (folder.export / "config.json").unlink()  # as if it had died before the export
    before = content(folder, "starts.jsonl", "DONE", "metrics.jsonl", "config.yaml", ".lock")
    assert run("max_train_steps=2").path == folder.path
    after = content(folder, "starts.jsonl", "DONE", "metrics.jsonl", "config.yaml", ".lock")
    checkpoints = {name for name in before if name.startswith("checkpoints")}
    assert checkpoints
    assert {name: after[name] for name in checkpoints} == {name: before[name] for name in checkpoints}
    assert {name for name in after if name.startswith("checkpoints")} == checkpoints
    assert "export/config.json" in after


@pytest.mark.parametrize("lost", ["removed", "damaged"])
def test_a_run_whose_checkpoints_are_lost_keeps_its_record(lost: str, run: Run) -> None:
    folder = run("max_train_steps=2")
    checkpoint = Checkpoints(folder.checkpoints).path(2)
    if lost == "removed":
        shutil.rmtree(folder.checkpoints)
    else:
        weights = checkpoint / "generator.safetensors"
        weights.write_bytes(weights.read_bytes()[:-3])
    before = content(folder)
    with pytest.raises(Mistake, match=r"holds a run that was saved \(DONE says step 2\), and no intact checkpoint"):
        run("max_train_steps=4")
    assert content(folder) == before


def test_a_stop_before_the_start_trains_nothing_and_the_same_command_then_does(
    tiny: Callable[..., RunConfig],
    fresh_accelerate: Any,  # noqa: ARG001
    capsys: pytest.CaptureFixture[str],
) -> None:
    config = tiny(*QUICK, "max_train_steps=2")
    folder = RunFolder(Path(config.output_dir) / config.name)
    folder.path.mkdir()
    folder.stop.touch()
    command = parse([str(TINY), f"output_dir={config.output_dir}", *QUICK, "max_train_steps=2"])
    execute(command)
    assert "stopped at step 0 (STOP file) before anything was trained" in capsys.readouterr().out
    assert {path.name for path in folder.path.iterdir()} == {".lock", "STOPPED"}
    execute(command)
    assert folder.steps_done() == 2
    assert not folder.stopped.exists()


class TooMany(UnreadableImages):
    """Raises `ends`, by default for too many unreadable pictures, at the third report."""

    reports = 0
    ends: Exception = Mistake("images: 3 of 200 pictures (1.5 %) cannot be read")

    def agree(self, say: Callable[[str], None]) -> None:  # noqa: ARG002
        self.reports += 1
        if self.reports == 3:
            raise self.ends


def test_too_many_unreadable_pictures_end_a_run_that_is_saved(start: Callable[..., Experiment], run: Run) -> None:
    x = start("max_train_steps=5")
    with pytest.raises(Mistake, match="3 of 200"):
        fit(replace(x, unreadable=TooMany(x.accelerator, x.source, set())))
    assert Checkpoints(x.folder.checkpoints).newest() == (3, [])
    lines = x.folder.metrics.read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3]
    run("max_train_steps=5")
    assert x.folder.steps_done() == 5


def test_a_disk_that_is_away_ends_a_run_that_is_saved(start: Callable[..., Experiment]) -> None:
    x = start("max_train_steps=5", "checkpoints.background=true")
    away = TooMany(x.accelerator, x.source, set())
    away.ends = Failure("images.source: the folder is away")
    with pytest.raises(Failure, match="is away"):
        fit(replace(x, unreadable=away))
    assert Checkpoints(x.folder.checkpoints).newest() == (3, [])


def test_a_validation_while_steps_are_skipped_is_no_best(start: Callable[..., Experiment]) -> None:
    """The step of such a validation has no checkpoint to be kept."""
    validation = "validation={source: {type: package, package: skimage, folder: data, files: [chelsea.png]}}"
    x = start(validation, "validation.max_side=24", "validation.num_samples=0", "validation.draws=1")
    x.state.step = 1
    x.model.generator.skipped_in_a_row.fill_(1)
    assert not validate(x)
    assert x.state.best is None
    x.model.generator.skipped_in_a_row.fill_(0)
    assert validate(x)
    assert x.state.best is not None


def test_a_pool_of_another_size_is_filled_anew(run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    run("max_train_steps=2", "queue_size=8")
    changes = ("queue_size=4", "checkpoints.accept_changes=true")  # whose slots the saved pool has, and more
    run("max_train_steps=4", *changes)
    assert "the pool has another size than in " in capsys.readouterr().out


def test_a_run_that_diverges_has_no_checkpoint_from_then_on(start: Callable[..., Experiment]) -> None:
    wild = ("optimizer.learning_rate=1e30", "optimizer.max_grad_norm=null", "lr_scheduler.lr_warmup_steps=0")
    saves = ("checkpoints.checkpointing_steps=1", "checkpoints.checkpoints_total_limit=1")
    x = start("max_skipped=4", "max_train_steps=50", *wild, *saves)
    with pytest.raises(Failure, match="4 steps in a row") as caught:
        fit(x)
    lines = [json.loads(line) for line in x.folder.metrics.read_text().splitlines()]
    first = next(line["step"] for line in lines if line["training/skipped_share"] == 1)
    assert Checkpoints(x.folder.checkpoints).steps() == [first - 1]
    assert f"the newest checkpoint, of step {first - 1}, is from before" in str(caught.value)


def test_only_a_run_that_was_asked_to_stop_is_marked_as_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark makes a job requeue, which a crash must not; a disk that refuses the mark is reported."""
    folder = RunFolder(tmp_path)
    folder.config.touch()
    assert last_words(folder).startswith("No checkpoint is in")
    assert not folder.stopped.exists()
    monkeypatch.setattr(WATCH.request, "name", "SIGUSR1")
    last_words(folder)
    assert folder.stopped.read_text() == "step 0: signal\n"
    folder.stopped.unlink()
    folder.stopped.mkdir()
    assert last_words(folder).startswith(f"{tmp_path} cannot be read or written now: ")
