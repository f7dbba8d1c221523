"""The trainer's own run, step by step: assembled, begun, and driven by the body of its loop."""

import gc
import time
from collections.abc import Callable
from typing import Any

import torch

from first_contact.measuring import kinds, no_waits, peak_gib, profiled, waiting_lines, wall
from first_contact.setting import Setting
from trainer.building.accelerator import make_accelerator
from trainer.config.schema import RunConfig
from trainer.lifecycle.assemble import assemble
from trainer.lifecycle.start import begin
from trainer.loop import agree, conclude
from trainer.training import prepare

Change = Callable[["Trained"], None]


class Trained:
    """A run of a configuration; `change` alters its objects before the first step."""

    def __init__(self, config: RunConfig, change: Change | None = None) -> None:
        begun = time.perf_counter()
        prepare(config)
        self.run = assemble(config, make_accelerator(config))
        self.device = self.run.accelerator.device
        if change:
            change(self)
        assembled = time.perf_counter()
        begin(self.run)
        self.feed = self.run.open_feed()
        agree(self.run, self.feed)
        self.seconds = {"assemble_s": assembled - begun, "begin_s": time.perf_counter() - assembled}
        self.batch = self.run.model.batch.global_size

    def step(self) -> None:
        """One step, as `trainer.loop.fit` takes it."""
        run, model = self.run, self.run.model
        for pictures in self.feed.take_step():
            model.feed_data(pictures)
        report = model.optimize_parameters(run.state.step + 1)
        run.telemetry.add(report)
        conclude(run, run.intervals.due(run.state.step), agree(run, self.feed))

    def close(self) -> None:
        """Free the memory of the run."""
        self.feed._loader = None
        self.__dict__.clear()
        gc.collect()
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()


def speed(trained: Trained, count: int) -> dict[str, float]:
    """Images a second, milliseconds of a step, and memory, over `count` steps."""
    peak_gib(trained.device)
    seconds = wall(trained.step, count, trained.device)
    return {"images_s": trained.batch / seconds, "ms": 1e3 * seconds, "peak_GiB": peak_gib(trained.device)}


def waits(trained: Trained, count: int) -> dict[str, Any]:
    """The waits of the host in `count` steps: none, or their lines in one more step."""
    try:
        with no_waits(trained.device):
            for _ in range(count):
                trained.step()
    except RuntimeError as error:
        if "synchroniz" not in str(error):
            raise
        trained.run.model.fed.clear()
        for learner in trained.run.state.learners.values():
            learner.optimizer.zero_grad()
        lines = waiting_lines(trained.step, trained.device)
        return {"steps_without_a_wait": False, "waiting_lines": lines}
    return {"steps_without_a_wait": True, "steps": count}


def profile_of(trained: Trained, setting: Setting, row: str) -> None:
    """Record launches and waits of a step, its time by kind of kernel, and its longest kernels."""
    found = profiled(trained.step, trained.device)
    setting.record.add("a step", row, launches=found.launches, host_waits=found.waits, busy_ms=found.busy)
    setting.record.add("a step", row, **kinds(found))
    for name, (ms, count) in list(found.kernels.items())[:12]:
        setting.record.add(f"longest kernels, {row}", name[:90], ms=ms, launches=count)


def warm(trained: Trained, count: int) -> float:
    """Take steps before those that are timed; milliseconds of the last one."""
    for _ in range(count - 1):
        trained.step()
    return 1e3 * wall(trained.step, 1, trained.device)
