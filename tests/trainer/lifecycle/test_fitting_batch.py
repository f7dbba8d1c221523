"""`batch.per_device: auto`: the largest number is found by steps, kept by resumed runs, and the same on all ranks."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator

from tests.faults.forked import TINY, Job
from trainer.config.schema import RunConfig
from trainer.distributed.batch import BatchConfig, plan_batch
from trainer.distributed.waiting import WATCH
from trainer.lifecycle import trial_steps
from trainer.lifecycle.assemble import assemble
from trainer.lifecycle.fitting_batch import (
    TRIAL,
    ended_by,
    fingerprint,
    fitting_batch,
    lacks_shared_memory,
    largest_by_trial,
    note_on_change,
    remembered,
    sizes_to_try,
)
from trainer.memory import available
from trainer.mistakes import Mistake

ROOT = Path(__file__).parents[3]
CPU = torch.device("cpu")
AUTO = "batch={global_size: 12, per_device: auto}"
NARROW = "{type: module, path: tests.trainer.lifecycle.narrow_net.Narrow, arguments: {most: %d}, scales: [4]}"
CRITIC = "{type: UNetDiscriminatorSN, num_feat: 4}"
GAME = f"adversarial={{discriminator: {CRITIC}, pretrain_g_only: true, g_pretrain_steps: 3}}"

Tiny = Callable[..., RunConfig]


def asked(config: RunConfig) -> int:
    """What a process of its own answers."""
    plan = plan_batch(config.batch, 1)
    return largest_by_trial(config, sizes_to_try(config, plan), plan, CPU, None)


@pytest.mark.usefixtures("fresh_accelerate")
@pytest.mark.parametrize(("most", "wanted"), [(5, 4), (12, 12), (0, 1)], ids=["some", "all", "none"])
def test_it_is_the_largest_size_whose_steps_have_memory(most: int, wanted: int, tiny: Tiny) -> None:
    """Weights to begin with are not read: a resumed run needs none."""
    config = tiny(AUTO, f"generator={NARROW % most}", GAME, "init.generator=gone.safetensors")
    room = trial_steps.Room(CPU, None)
    assert trial_steps.largest(config, [1, 2, 3, 4, 6, 12], plan_batch(config.batch, 1), room) == wanted


def test_nothing_is_tried_that_would_take_more_than_there_is(tiny: Tiny) -> None:
    """On a CPU, where the system ends what does; 512 of these would take 40 GiB and minutes."""
    config = tiny(AUTO, "batch.global_size=512", "gt_size=256", "images.crop_size=256", "generator.num_feat=64")
    assert largest_by_trial(config, [1, 4, 512], plan_batch(config.batch, 1), CPU, 2 * 2**30) == 4


def test_mistakes_of_the_trial_are_the_runs(tiny: Tiny) -> None:
    weights = "losses.perceptual={type: vgg, weights: none.pth, layer_weights: {conv5_4: 1.0}}"
    with pytest.raises(Mistake, match=r"^losses.perceptual.weights: none.pth does not exist"):
        asked(tiny(AUTO, weights))


def test_a_trial_ends_with_the_one_that_asked() -> None:
    """Before it has imported torch, which takes seconds."""
    command = [sys.executable, "-X", "importtime", "-m", TRIAL, "1"]
    done = subprocess.run(command, cwd=ROOT, stdin=subprocess.PIPE, capture_output=True, text=True, timeout=60)
    imported = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert done.returncode == 1
    assert "trainer.lifecycle" in imported
    assert "torch" not in imported


def test_a_trial_that_the_system_ended_is_named() -> None:
    assert ended_by(-signal.SIGKILL) == "its process was ended by SIGKILL, as where memory is short"
    assert ended_by(-signal.SIGSEGV) == "its process was ended by SIGSEGV"


def test_another_number_than_before_is_noted(tiny: Tiny) -> None:
    config = tiny(AUTO)
    (run := Path(config.output_dir) / config.name).mkdir()
    assert note_on_change(config, 12) == []
    (run / "starts.jsonl").write_text(json.dumps({"step": 0, "per_device": 3, "auto": "of others"}) + "\n")
    (note,) = note_on_change(config, 12)
    assert note.startswith("batch.per_device: auto is 12 now and was 3")
    assert note_on_change(config, 3) == []


def test_batches_that_shared_memory_has_no_room_for_are_not_tried(tiny: Tiny) -> None:
    config = tiny(AUTO, "images.dataloader_num_workers=1")
    assert lacks_shared_memory(config, 10**9, 1)
    assert not lacks_shared_memory(config, 1, 1)


def test_a_trial_without_an_answer_is_said(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.lifecycle.fitting_batch.TRIAL", "trainer.no_such_module")
    with pytest.raises(
        Mistake, match=r"^batch.per_device: auto could not be tried \(.*no_such_module.*give a number.$"
    ):
        asked(tiny(AUTO))


def test_a_trial_that_hangs_is_given_up(tiny: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(WATCH, "limit", 0.1)
    with pytest.raises(Mistake, match=r"^batch.per_device: auto had no answer after 0 s; give a number.$"):
        asked(tiny(AUTO))


def test_ranks_agree_and_a_resumed_run_keeps_it(tmp_path: Path) -> None:
    arguments = [str(TINY), f"output_dir={tmp_path}", AUTO, f"generator={NARROW % 2}", "validation=null"]
    for steps in (2, 3):
        job = Job(2, log := tmp_path / f"log{steps}", [*arguments, f"max_train_steps={steps}"])
        assert job.wait(100) == [0, 0], log.read_text()
        assert "12 = 2 processes x 2 per device x 3 accumulation" in log.read_text()
        assert "another setting: batch" not in log.read_text()
    starts = [json.loads(line) for line in (tmp_path / "tiny" / "starts.jsonl").read_text().splitlines()]
    assert [start["per_device"] for start in starts] == [2, 2]
    assert starts[0]["auto"] == starts[1]["auto"]


def test_what_is_remembered_is_of_the_same_settings_device_and_processes(tiny: Tiny) -> None:
    config = tiny(AUTO)
    folder, plan = tiny().output_dir, plan_batch(config.batch, 1)
    (run := Path(folder) / config.name).mkdir()
    start: dict[str, Any] = {"step": 0, "per_device": 3, "auto": fingerprint(config, 1, CPU)}
    (run / "starts.jsonl").write_text(json.dumps(start) + "\n" + json.dumps({"step": 4}) + "\n")
    assert remembered(config, plan, CPU) == 3
    assert remembered(replace(config, max_train_steps=9), plan, CPU) == 3
    assert remembered(replace(config, gt_size=16), plan, CPU) is None
    assert remembered(config, plan_batch(config.batch, 2), CPU) is None
    (run / "starts.jsonl").write_text(json.dumps({**start, "per_device": "many"}) + "\n")
    assert remembered(config, plan, CPU) is None


def test_sizes_are_even_where_neighbours_are_paired_up(tiny: Tiny) -> None:
    config = tiny(AUTO)
    plan = plan_batch(config.batch, 1)
    assert sizes_to_try(config, plan) == [1, 2, 3, 4, 6, 12]
    assert sizes_to_try(tiny(AUTO, "mixing={mixup: {prob: 0.5}}"), plan) == [2, 4, 6, 12]


def test_a_number_is_taken_as_it_is(tiny: Tiny, accelerator: Accelerator) -> None:
    config = tiny()
    assert fitting_batch(config, accelerator) == (plan_batch(config.batch, 1), [])


def test_networks_of_a_program_are_not_tried(tiny: Tiny, accelerator: Accelerator) -> None:
    with pytest.raises(Mistake, match=r"^batch.per_device: got auto, and a network of the program's own"):
        assemble(tiny(AUTO), accelerator, net_g=torch.nn.Conv2d(3, 3, 3))


def test_until_it_is_found_it_counts_as_the_share() -> None:
    assert plan_batch(BatchConfig(global_size=12, per_device="auto"), 3).per_device == 4


def test_the_line_through_two_sizes() -> None:
    assert trial_steps.predicted(6, {}) == trial_steps.predicted(6, {1: 10}) == 0
    assert trial_steps.predicted(6, {1: 10, 2: 13, 4: 19}) == 25


@pytest.mark.skipif(not Path("/proc/meminfo").exists(), reason="no /proc here")
def test_available_memory_is_some_of_the_machines() -> None:
    total = int(Path("/proc/meminfo").read_text().split()[1]) * 1024
    assert 0 < (available() or 0) < total
