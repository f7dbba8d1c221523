"""What a run says while it runs: device-side sums, one exchange and one wait per report; then everything goes out.

`metrics.jsonl` gets one line per report, always. Trackers (TensorBoard by default) get the same numbers under the same
names. A terminal gets a progress bar, a log file plain lines.
"""

import math
import os
import resource
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from typing import Any, TypeGuard

import torch
from accelerate import Accelerator
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker
from einops import rearrange
from torch import Tensor
from tqdm import tqdm

from trainer.checkpoints.run_folder import RunFolder
from trainer.console import say
from trainer.files import json_lines as lines
from trainer.files.atomic import write_atomically
from trainer.files.write_policy import Disk
from trainer.telemetry.health import Health
from trainer.telemetry.timers import Stopwatch
from trainer.telemetry.trackers import Trackers

SHARES = {"data": "speed/data_wait_share", "degradation": "speed/degradation_share"}
READING = ("tensorboard", "wandb", "comet_ml")  # trackers that take text
OUTSIDE = ("validation", "checkpoint")  # not training: left out of images per second


@dataclass(frozen=True, kw_only=True, slots=True)
class TelemetryConfig:
    """How often a run reports, and to whom."""

    report_steps: int = 100
    """Optimizer steps between reports; the only place where the host waits for the device."""
    report_to: str | tuple[str, ...] = "tensorboard"
    """A tracker that Accelerate knows (tensorboard, wandb, mlflow, ...), a list of them, or none. metrics.jsonl is
    always written."""
    tracker_options: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Options that a tracker is made with, under its name, such as {wandb: {project: sr, entity: lab, tags: [x4]}};
    at W&B, MLflow and Comet a resumed run goes on under its id."""

    digest: bool = False
    """Report `training/digest`, an exact integer made of every pixel trained on since the last report. It is equal for
    any number of processes, any accumulation and any restarts, or something is wrong."""

    def __post_init__(self) -> None:
        if self.report_steps < 1:
            raise ValueError(f"report_steps must be at least 1, got {self.report_steps}")
        known = sorted(map(str, LOGGER_TYPE_TO_CLASS))
        for name in self.trackers:
            if name not in known:
                raise ValueError(f"report_to: got {name!r}; allowed: none, {', '.join(known)}")
        if others := self.tracker_options.keys() - set(self.trackers):
            raise ValueError(f"tracker_options: got {', '.join(sorted(others))}, which report_to does not name")

    @property
    def trackers(self) -> list[str]:
        """The names of the trackers, each once."""
        named = [self.report_to] if isinstance(self.report_to, str) else self.report_to
        return [] if named == ["none"] else list(dict.fromkeys(named))


class Telemetry:
    """The run's voice. Every method is called on every rank; rank 0 speaks."""

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
    ) -> None:
        self.accelerator, self.folder, self.config = accelerator, folder, config
        self.global_size, self.last = global_size, last
        self.stopwatch = stopwatch
        self.health, self.disk = health or Health(), disk or Disk()
        self.metrics = lines.Appender(folder.metrics)
        self.trackers = Trackers(config.trackers, config.tracker_options, folder, self.disk)
        self.sums: dict[str, Tensor] = {}
        self.skipped: dict[str, Tensor | int] = {}
        """For a gradient's norm: how many of the steps that had it were skipped."""
        self.counts: Counter[str] = Counter()
        self.steps = 0
        self.digest = torch.zeros((), dtype=torch.int64, device=accelerator.device)
        self.figures: dict[str, float] = {}
        self.pictures: dict[str, Tensor] = {}
        self.bar: tqdm[Any] | None = None
        self.said: set[str] = set()

    def begin(self, step: int) -> None:
        """Continue the records of a run that stands at `step`: what they say of later steps is taken back. For rank 0.

        Raises Mistake where a tracker does not start with a run that begins.
        """
        with self.disk.writing(self.folder.metrics.name):
            for figures in truncate_metrics(self.folder, step):
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
        """Add one optimizer step's scalars, on the device, to the sums of the coming report."""
        for name, value in values.items():
            value = value.detach().double()
            if name.endswith("grad_norm"):  # of a step that was skipped it is not finite
                self.skipped[name] = self.skipped.get(name, 0) + (~value.isfinite()).double()
                value = value.nan_to_num(0.0, 0.0, 0.0)
            self.sums[name] = self.sums[name] + value if name in self.sums else value
        self.counts.update(values.keys())
        self.steps += 1
        if self.bar:
            self.bar.update()

    def add_digest(self, digest: Tensor) -> None:
        """Add the digest of pairs that are trained on, an int64 scalar, to that of the coming report."""
        self.digest += digest

    def report(self, step: int, rates: Mapping[str, float]) -> None:
        """Note the means since the last report, speeds and memory. The host waits here.

        A figure's mean is over the ranks and over those steps that had it: not every step trains every player. That of
        a gradient's norm is over those that were taken; NaN where there is none.
        """
        names = sorted(self.sums)
        seconds = self.stopwatch.read()
        training = seconds["total"] - sum(seconds.get(name, 0.0) for name in OUTSIDE)
        own = [self.sums[name] / (self.counts[name] - self.skipped.get(name, 0)) for name in names]
        host = [seconds.get(part, 0.0) / training for part in SHARES] + [peak_memory(self.accelerator.device)]
        row = torch.stack([*own, *torch.tensor(host, dtype=torch.float64, device=self.accelerator.device)])
        rows = self.accelerator.gather(row[None]).cpu()
        means = dict(zip([*names, *SHARES.values()], rows.mean(0).tolist(), strict=False))
        rate = self.steps / training
        figures = {
            **means,
            **rates,
            "speed/images_per_second": rate * self.global_size,
            "speed/peak_memory_gib": rows[:, -1].max().item(),
            "speed/eta_seconds": (self.last - step) / rate,
        }
        if self.config.digest:
            figures["training/digest"] = self.accelerator.reduce(self.digest).item()
            self.digest.zero_()
        self.sums, self.skipped, self.counts, self.steps = {}, {}, Counter(), 0
        self.note(figures)

    def note(self, figures: Mapping[str, float], pictures: Mapping[str, Tensor] | None = None) -> None:
        """Add figures, and pictures uint8 [3, H, W], to what `publish` will send."""
        self.figures.update(figures)
        self.pictures.update(pictures or {})

    def publish(self, step: int) -> None:
        """Send what was noted at this step, if anything, to file, trackers and person: one line per step."""
        if self.figures and self.accelerator.is_main_process:
            known = {name: value if math.isfinite(value) else None for name, value in self.figures.items()}
            self.health, warnings = self.health.observed({"step": step, **known})
            told = {"warnings": warnings} if warnings else {}
            with self.disk.writing(self.folder.metrics.name):
                self.metrics.add({"step": step, **known, **told})  # JSON has no NaN
            self.trackers.send(partial(track, step, known, warnings, self.pictures))
            self.say(line(step, self.last, self.figures))
            for warning in warnings:
                self.say(f"warning: at step {step} {warning}")
        self.figures, self.pictures = {}, {}

    def end(self) -> None:
        """Close the records; what a full disk refused of metrics.jsonl is tried once more."""
        with self.disk.writing(self.folder.metrics.name):
            self.metrics.flush()
        if self.bar:
            self.bar.close()
        self.trackers.end()


def line(step: int, last: int, values: Mapping[str, float]) -> str:
    """One report as a person reads it."""
    parts = [f"step {step}/{last}"]
    losses = [name for name in sorted(values) if "/loss_" in name and not name.endswith("/loss_scale")]
    parts += [f"{name.removeprefix('training/')} {values[name]:.4g}" for name in losses]
    if "discriminator/D(y)_prob" in values:
        game = f"D(y) {values['discriminator/D(y)_prob']:.2f}, D(G(x)) {values['discriminator/D(G(x))_prob']:.2f}"
        paused = values.get("discriminator/paused", 0)
        parts.append(f"{game}, D paused {100 * paused:.0f} %" if paused else game)
    if "speed/images_per_second" in values:
        share = {part: f"{100 * values[name]:.0f} %" for part, name in SHARES.items()}
        parts.append(f"{values['speed/images_per_second']:.1f} images/s")
        parts.append(f"{share['degradation']} degrading, {share['data']} waiting for data")
        parts.append(f"{values['speed/peak_memory_gib']:.2f} GiB")
        parts.append(f"{timedelta(seconds=round(values['speed/eta_seconds']))} to go")
    told = {"psnr": "PSNR {:.2f} dB", "ssim": "SSIM {:.4f}", "sam": "SAM {:.2f}°", "ergas": "ERGAS {:.2f}"}
    measured = [
        f"{text.format(values[key])} (bicubic {values[f'{key}_bicubic']:.4g}{_ahead(name, values)})"
        for name, text in told.items()
        if (key := f"validation/{name}") in values
    ]
    if measured:
        parts.append(f"validation {', '.join(measured)}")
    if "validation/colour_drift" in values:
        parts.append(f"colours off by {255 * values['validation/colour_drift']:.1f}/255")
    return " | ".join(parts)


def _ahead(name: str, values: Mapping[str, float]) -> str:
    """Words for a result that has not reached bicubic's PSNR, as every run begins, and some games end."""
    key = f"validation/{name}"
    return ", not reached yet" if name == "psnr" and values[key] < values[f"{key}_bicubic"] else ""


def track(
    step: int,
    figures: Mapping[str, float | None],
    warnings: list[str],
    pictures: Mapping[str, Tensor],
    tracker: GeneralTracker,
) -> None:
    """Send a report, its warnings and its pictures, uint8 [3, H, W], to a tracker."""
    tracker.log({name: value for name, value in figures.items() if value is not None}, step=step)
    if warnings and tracker.name in READING:
        tracker.log({"health/warning": "  \n".join(warnings)}, step=step)
    if pictures and hasattr(tracker, "log_images"):
        arrays = {name: rearrange(image, "c h w -> 1 h w c").numpy() for name, image in pictures.items()}
        tracker.log_images(arrays, step=step, **({"dataformats": "NHWC"} if tracker.name == "tensorboard" else {}))


def truncate_metrics(folder: RunFolder, step: int) -> list[dict[str, Any]]:
    """Drop the lines of steps after `step` and, with a word, those that are no reports; what is left.

    A death cuts a last line short, a failing disk spoils one in the middle: those after it are as good as before.
    Where a full disk kept an earlier call from this, steps are there twice: their last lines count.
    """
    kept: list[bytes] = []
    figures: list[dict[str, Any]] = []
    odd = []
    for number, (text, report) in enumerate(lines.read(folder.metrics), 1):
        if not is_report(report):
            odd.append(str(number))
        elif report["step"] <= step:
            while figures and figures[-1]["step"] >= report["step"]:
                del figures[-1], kept[-1]
            kept.append(text + b"\n")
            figures.append(report)
    if odd:
        say(f"{folder.metrics}: dropped what is no report: line{'s' * (len(odd) > 1)} {', '.join(odd)}")
    whole, before = b"".join(kept), folder.metrics.read_bytes() if folder.metrics.is_file() else b""
    if before.startswith(whole):
        if before != whole:
            os.truncate(folder.metrics, len(whole))  # which needs no room on the disk
    else:
        write_atomically(folder.metrics, whole)
    return figures


def is_report(line: Mapping[str, Any] | None) -> TypeGuard[dict[str, Any]]:
    """Whether a line of metrics.jsonl is a report: a step, and numbers or nothing for figures."""
    if line is None or type(line.get("step")) is not int:
        return False
    return all(isinstance(value, int | float | None) for name, value in line.items() if name != "warnings")


def peak_memory(device: torch.device) -> float:
    """GiB that this process has held at most: of the GPU where there is one, else of the machine."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
