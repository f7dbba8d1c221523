"""The facts of a run for its page, from the files of its folder at any stage; local paths are left out."""

import math
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from trainer.checkpoints.names import EMA_WEIGHTS, step_name
from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import Checkpoints
from trainer.config.redact import freeze_hub_ids, redact_paths
from trainer.runs import configuration, newest_checkpoint, state_of
from trainer.telemetry.metrics_file import Report, read_reports
from trainer.telemetry.quality import Figure, best_metric, best_validation, figures_of, is_adversarial

KEPT = ("hub", "name")
"""Keys whose values are never local paths; `hub` holds the run's own repository."""


@dataclass(frozen=True, slots=True)
class Record:
    """A run as its folder records it."""

    name: str
    state: str
    """As `trainer.runs` has it: running, done, stopped (why), died."""
    config: dict[str, Any]
    """The resolved configuration, paths cut to their last part; empty where config.yaml cannot be read."""
    reports: list[Report]
    """In the order of their steps, each step once."""
    starts: list[dict[str, Any]]
    checkpoint: int | None
    parameters: int | None
    """Of the generator; None before the first checkpoint."""
    unreadable: int | None
    """Number of training pictures that could not be read; None before the first checkpoint."""
    age: float | None
    """Seconds since the last report."""

    @property
    def step(self) -> int:
        """The step of the last report, 0 without one."""
        return self.reports[-1]["step"] if self.reports else 0

    @property
    def last_step(self) -> int | None:
        """The step at which the run is to end."""
        steps = self.config.get("max_train_steps")
        return steps if isinstance(steps, int) else None

    @property
    def figures(self) -> dict[str, Figure]:
        """The figures of its validations by which a best is chosen, by name."""
        return figures_of(self.config.get("validation"))

    @property
    def best_by(self) -> str | None:
        """The figure of the best validation; None where nothing is measured by it."""
        return best_metric(self.config.get("validation"), is_adversarial(self.config, self.step))

    @property
    def kept_figures(self) -> list[str]:
        """The figures, beside that, whose best checkpoint is kept."""
        kept = (self.config.get("checkpoints") or {}).get("keep_best")
        return [str(name) for name in kept if name != self.best_by] if isinstance(kept, list) else []

    def best(self, metric: str | None = None) -> Report | None:
        """The report of the best validation by a figure, by default the one that chooses: see `best_validation`."""
        found = best_validation(self.reports, self.config, metric)
        return found[2] if found else None


def read_record(folder: RunFolder, step: int | None = None, state: str = "") -> Record:
    """Read a run's folder; what is missing or half-written is left out.

    Parameters
    ----------
    step : the last step that counts, for the page of a save; None is all
    state : the state in words, where this process is the run itself; by default as its files show it

    Raises OSError where a file cannot be read.
    """
    newest = newest_checkpoint(folder) if step is None else step
    return Record(
        name=folder.path.resolve().name,
        state=state or state_of(folder),
        config=published(configuration(folder), folder),
        reports=[report for report in consecutive(folder.metrics) if step is None or report["step"] <= step],
        starts=[start for start in folder.started() if step is None or start["step"] <= step],
        checkpoint=newest,
        parameters=None if newest is None else parameter_count(folder.checkpoints / step_name(newest) / EMA_WEIGHTS),
        unreadable=None if newest is None else unreadable_count(folder, newest),
        age=time.time() - folder.metrics.stat().st_mtime if folder.metrics.is_file() else None,
    )


def published(config: dict[str, Any], folder: RunFolder) -> dict[str, Any]:
    """A configuration's tree as model cards publish it: names on the hub stay, a path is cut to its last part."""
    kept = {key: config[key] for key in KEPT if key in config}
    tree: dict[str, Any] = redact_paths(freeze_hub_ids({**config, **dict.fromkeys(kept)}, folder.hub_names()))
    return tree | kept


def consecutive(metrics: Path) -> list[Report]:
    """The reports of a metrics.jsonl, of each step the last one: a resumed run may have written some anew."""
    kept: list[Report] = []
    for report in read_reports(metrics):
        while kept and kept[-1]["step"] >= report["step"]:
            del kept[-1]
        kept.append(report)
    return kept


def parameter_count(weights: Path) -> int | None:
    """Number of values in a safetensors file; None where it cannot be read."""
    try:
        with safe_open(weights, framework="pt") as file:
            shapes: list[list[int]] = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118 - no mapping
            return sum(map(math.prod, shapes))
    except (OSError, SafetensorError):  # pruned just now, or damaged
        return None


def unreadable_count(folder: RunFolder, step: int) -> int | None:
    """Number of training pictures that could not be read up to a checkpoint; None where it cannot be told."""
    try:
        return len(Checkpoints(folder.checkpoints).progress(step)["unreadable"])
    except Exception:  # torch raises many classes for a file that is gone or damaged
        return None
