"""Reports of a run: means on the device, one exchange and one wait per report; then everything goes out.

`metrics.jsonl` gets one line per report, always. Trackers get the same numbers under the same names, TensorBoard under
those of `tensorboard_tags`. A terminal gets a progress bar, a log file plain lines.
"""

import math
import sys
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

import torch
from accelerate import Accelerator
from torch import Tensor
from tqdm import tqdm

from trainer.checkpoints.run_folder import RunFolder
from trainer.console import say
from trainer.files import json_lines as lines
from trainer.files.write_policy import Disk
from trainer.telemetry.config import TelemetryConfig
from trainer.telemetry.health import Health
from trainer.telemetry.metrics_file import truncate_metrics
from trainer.telemetry.report_line import advice, report_line
from trainer.telemetry.step_means import COUNTING, StepMeans
from trainer.telemetry.timers import Stopwatch
from trainer.telemetry.trackers import Trackers, send_report


class Telemetry:
    """Reports of a run: to metrics.jsonl always, to trackers, and to the console. Methods are called on every rank.

    Parameters
    ----------
    throughput : figures of the arithmetic of some steps, which took so many seconds each; asked on rank 0
    """

    def __init__(
        self,
        accelerator: Accelerator,
        folder: RunFolder,
        config: TelemetryConfig,
        stopwatch: Stopwatch,
        global_size: int,
        last: int,
        health: Health | None = None,
        disk: Disk | None = None,
        hyper_parameters: Mapping[str, bool | float | str] = MappingProxyType({}),
        throughput: Callable[[range, float], dict[str, float]] | None = None,
    ) -> None:
        self.accelerator, self.folder, self.config = accelerator, folder, config
        self.global_size, self.last = global_size, last
        self.stopwatch, self.throughput = stopwatch, throughput
        self.health, self.disk = health or Health(), disk or Disk()
        self.metrics = lines.Appender(folder.metrics)
        self.trackers = Trackers(config.trackers, config.tracker_options, folder, self.disk, hyper_parameters)
        self.means = StepMeans(accelerator, stopwatch)
        self.digest = torch.zeros((), dtype=torch.int64, device=accelerator.device)
        self.noted: dict[str, float] = {}
        self.pictures: dict[str, Tensor] = {}
        self.strips: dict[str, Tensor] = {}
        self.bar: tqdm[Any] | None = None
        self.said: set[str] = set()

    def begin(self, step: int) -> None:
        """Continue the records of a run that stands at `step`: what they say of later steps is taken back. For rank 0.

        Raises Mistake where a tracker does not start with a run that begins.
        """
        with self.disk.writing(self.folder.metrics.name):
            for figures in truncate_metrics(self.folder.metrics, step):
                self.health, _ = self.health.observed(figures)
        self.trackers.start(step)
        if sys.stderr.isatty():
            self.bar = tqdm(total=self.last, initial=step, unit="step", dynamic_ncols=True)

    def say(self, text: str) -> None:
        """One line for the person who watches."""
        if self.accelerator.is_main_process:
            say(text)

    def say_once(self, text: str) -> None:
        """The same, unless it was said."""
        if text not in self.said:
            self.said.add(text)
            self.say(text)

    def add(self, values: Mapping[str, Tensor]) -> None:
        """Add one optimizer step's scalars, on the device, to the means of the coming report."""
        self.means.add(values)
        if self.bar:
            self.bar.update()

    def add_digest(self, digest: Tensor) -> None:
        """Add the digest of pairs that are trained on, an int64 scalar, to that of the coming report."""
        self.digest += digest

    def report(self, step: int, rates: Mapping[str, float]) -> None:
        """Note the means since the last report, speeds, memory and `rates`. The host waits here. Collective."""
        steps = range(step - self.means.steps, step)
        means = self.means.take(self.global_size, remaining=self.last - step)
        if self.throughput and self.accelerator.is_main_process:
            with self.stopwatch.host(COUNTING):
                means |= self.throughput(steps, self.global_size / means["speed/images_per_second"])
        if self.config.digest:
            means["training/digest"] = self.accelerator.reduce(self.digest).item()
            self.digest.zero_()
        self.note({**means, **rates})

    def note(
        self,
        figures: Mapping[str, float],
        pictures: Mapping[str, Tensor] | None = None,
        strips: Mapping[str, Tensor] | None = None,
    ) -> None:
        """Add figures, pictures uint8 [3, H, W], and the strips that they are made of, to what `publish` will send."""
        self.noted.update(figures)
        self.pictures.update(pictures or {})
        self.strips.update(strips or {})

    def publish(self, step: int) -> None:
        """Send what was noted at this step, if anything, to file, trackers and person: one line per step."""
        if self.noted and self.accelerator.is_main_process:
            known = {name: value if math.isfinite(value) else None for name, value in self.noted.items()}
            self.health, warnings = self.health.observed({"step": step, **known})
            entry = {"warnings": warnings} if warnings else {}
            with self.disk.writing(self.folder.metrics.name):
                self.metrics.add({"step": step, **known, **entry})  # JSON has no NaN
            self.trackers.send(partial(send_report, step, known, warnings, self.pictures, self.strips))
            self.say(report_line(step, self.last, self.noted))
            for warning in warnings:
                self.say(f"warning: at step {step} {warning}")
            if step == self.last and (sentence := advice(step, self.noted)):
                self.say(sentence)
        self.noted, self.pictures, self.strips = {}, {}, {}

    def end(self) -> None:
        """Close the records; what a full disk refused of metrics.jsonl is tried once more."""
        with self.disk.writing(self.folder.metrics.name):
            self.metrics.flush()
        if self.bar:
            self.bar.close()
        self.trackers.end()
