"""Runs that end before their last step, by Ctrl-C or for lack of memory: one sentence, and no traceback."""

import os
import re
import signal
import time
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from threading import Thread

import pytest
import torch
from torch import nn
from tqdm import tqdm

from tests.conftest import Tiny
from tests.faults.forked import TINY, Job, Work
from trainer.distributed.signals import REQUEST
from trainer.distributed.waiting import WATCH
from trainer.lifecycle.short_memory import advice
from trainer.run import main

pytestmark = pytest.mark.launch


class Greedy(nn.Module):
    """A x4 network short of memory on `rank`: after `step` passes with gradient, or else at pictures of 12 pixels."""

    def __init__(self, rank: int = 0, step: int = 0, on_gpu: bool = False) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 48, 1)
        self.rank, self.step, self.on_gpu, self.steps = rank, step, on_gpu, 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.steps += torch.is_grad_enabled()
        at_last = self.steps > self.step if self.step else x.shape[-1] == 12
        if at_last and int(os.environ.get("RANK", "0")) == self.rank:
            if self.on_gpu:  # as its allocator does
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total of")
            torch.empty(2**47)
        return nn.functional.pixel_shuffle(self.conv(x), 4)


def start(world: int, folder: Path, *settings: str, arguments: str = "") -> Job:
    network = f"generator={{type: module, path: {__name__}.Greedy, scales: [4], arguments: {{{arguments}}}}}"
    others = ["telemetry.report_to=none", "checkpoints.checkpointing_steps=1"]
    return Job(world, folder / "log", [str(TINY), f"output_dir={folder}", *others, network, *settings])


@pytest.mark.parametrize("rank", [0, 1])
def test_too_little_memory_in_a_step_is_said_once_with_what_would_fit(rank: int, tmp_path: Path) -> None:
    job = start(2, tmp_path, "validation=null", "batch.global_size=4", arguments=f"rank: {rank}, step: 2")
    try:
        codes = job.wait(50)
    finally:
        job.end()
    said = (tmp_path / "log").read_text()
    assert codes == [1, 1], said
    errors = [line for line in said.splitlines() if "Traceback" in line or line.startswith("error: ")]
    assert len(errors) == 1, said
    assert errors[0].startswith(
        f"error: rank {rank}: the memory of this machine is too short while taking a step (step 2), for "
    )
    assert "524288.00 GiB more were asked for. batch.per_device=1 in place of 2 takes about 50 % of it" in errors[0]
    assert errors[0].endswith("checkpoints/step-00000001; the same command resumes the run.")


def test_too_little_memory_elsewhere_names_the_key_that_takes_less(tmp_path: Path) -> None:
    jobs = {
        "validation.max_side=24 cuts": start(1, tmp_path, "validation.validation_steps=1"),
        "batch.per_device is 1 already": start(
            1, tmp_path, "name=gpu", "batch.per_device=1", "--dry-run", arguments="step: 1, on_gpu: true"
        ),
    }
    try:
        assert [job.wait(50) for job in jobs.values()] == [[1], [1]]
    finally:
        for job in jobs.values():
            job.end()
    said = (tmp_path / "log").read_text()
    assert "Traceback" not in said
    assert "error: rank 0: the memory of this machine is too short while validating, for " in said
    assert "2.00 GiB more were asked for. batch.per_device is 1 already" in said
    assert all(key in said for key in jobs)


def pressing_in(phase: str) -> Work:
    """The program, in which Ctrl-C is pressed once it is in a phase; at once for an empty one."""

    def press() -> None:
        deadline = time.monotonic() + 30
        while not any(one.what.startswith(phase) for one in WATCH.phases) and time.monotonic() < deadline:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    def work(arguments: Sequence[str]) -> int:
        if not phase:
            os.kill(os.getpid(), signal.SIGINT)
            return main(arguments) or REQUEST.status
        Thread(target=press, daemon=True).start()
        return main(arguments) or REQUEST.status

    return work


@pytest.mark.parametrize(("option", "phase"), [("--dry-run", ""), ("--dry-run", "taking"), ("--check=1", "")])
def test_ctrl_c_ends_what_writes_nothing_at_once(option: str, phase: str, tmp_path: Path) -> None:
    job = Job(1, tmp_path / "log", [str(TINY), f"output_dir={tmp_path}", option], pressing_in(phase))
    assert job.wait(40) == [130], (tmp_path / "log").read_text()
    assert (tmp_path / "log").read_text().splitlines()[-1] == "stopped; nothing was written."
    assert "Traceback" not in (tmp_path / "log").read_text()
    assert not (tmp_path / "tiny").exists()


def test_ctrl_c_is_heard_while_the_pool_fills(tmp_path: Path) -> None:
    arguments = [str(TINY), f"output_dir={tmp_path}", "queue_size=40000", "validation=null"]
    job = Job(2, tmp_path / "log", arguments, pressing_in("filling the pool"))
    try:
        codes = job.wait(40)
    finally:
        job.end()
    said = (tmp_path / "log").read_text()
    assert codes == [130, 130], said
    assert said.startswith("stopped before the first step: rank ")
    # the other rank may hear it before it fills, or while it waits for the one that does
    assert re.search(r"SIGINT while (filling the pool \(of 20000 pairs\), for |waiting for rank \d, which is )", said)
    assert said.endswith("checkpoints yet; the same command begins the run.\n")
    assert said.count("\n") == 1


def test_a_stopped_run_names_its_best_and_its_weights(tmp_path: Path) -> None:
    arguments = [str(TINY), f"output_dir={tmp_path}", "max_train_steps=1000", "validation.validation_steps=1"]
    job = Job(1, tmp_path / "log", arguments, pressing_in("validating"))
    assert job.wait(40) == [130], (tmp_path / "log").read_text()
    last = (tmp_path / "log").read_text().splitlines()[-1]
    assert last.startswith("stopped at step ")
    assert "(signal) and saved; the same command resumes the run. Best so far: psnr " in last
    assert last.endswith(f". Generator: {tmp_path}/tiny/export.")
    assert (tmp_path / "tiny" / "export" / "config.json").is_file()


@pytest.mark.parametrize(
    ("asked", "processes", "words"),
    [
        ("auto", 1, "batch.per_device=auto left too little"),
        (12, 4, "batch.per_device=1 in place of 3 "),  # a process has 3 of the 12: so many were taken, not 12
        (8, 1, "batch.per_device=3 in place of 6 "),  # half at most
        (1, 2, "batch.per_device is 1 already: "),
    ],
)
def test_the_batch_that_takes_less_is_less_than_what_was_taken(
    asked: int | str, processes: int, words: str, tiny: Tiny
) -> None:
    config = tiny("batch.global_size=12", f"batch.per_device={asked}")
    assert advice(config, processes, "taking a step").startswith(words)


def test_a_rank_that_is_killed_in_a_progress_bar_stops_no_bar_of_this_process(tmp_path: Path) -> None:
    with tqdm.get_lock():  # which makes it
        pass

    def work(_arguments: Sequence[str]) -> int:
        tqdm.get_lock().acquire()
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    assert Job(1, tmp_path / "log", work=work).wait(20) == [-signal.SIGKILL]
    taken: list[bool] = []
    bar = Thread(target=lambda: taken.append(bool(tqdm(range(3), file=StringIO()).total)), daemon=True)
    bar.start()
    bar.join(20)
    assert taken == [True]
