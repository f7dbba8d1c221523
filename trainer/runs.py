"""`python -m trainer.runs OUTPUT_DIR`: a table of all runs below a folder, from their files.

Light enough for a login node: no torch, and of each run a few small files and its reports.
"""

import argparse
import math
import os
import re
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from trainer.checkpoints.names import MANIFEST, saved_steps, step_name
from trainer.checkpoints.run_folder import RunFolder, text_of
from trainer.config.loader import read_tree
from trainer.console import called, give
from trainer.files.paths import check_path, path_option
from trainer.mistakes import Mistake
from trainer.telemetry.metrics_file import read_reports
from trainer.telemetry.quality import VALIDATION, best_metric, best_validation

RUN_FILES = frozenset({"config.yaml", RunFolder.LOCK})  # what a run's folder has from its first moment on
HEADINGS = ("run", "state", "step", "images/s", "best", "checkpoint", "requeues", "last report")
SPEED = "speed/images_per_second"
REFRESH_SECONDS = 10
CLEAR = "\x1b[H\x1b[2J"


@dataclass(frozen=True, slots=True)
class Summary:
    """Summary of a run; None for what is unknown."""

    name: str
    state: str
    """running; done; stopped, and why; died: none of these, and nobody trains there."""
    step: int = 0
    of: int | None = None
    images_per_second: float | None = None
    best: tuple[str, float, int] | None = None
    """The figure that chooses, value and step of the best validation so far."""
    checkpoint: int | None = None
    """The newest one's step."""
    requeues: int = 0
    """Number of restarts of the run's jobs by Slurm."""
    age: float | None = None
    """Seconds since the last report."""

    def row(self) -> tuple[str, ...]:
        """The cells of the table, as HEADINGS."""
        return (
            self.name,
            self.state,
            f"{self.step}/{self.of or '?'}",
            "-" if self.images_per_second is None else f"{self.images_per_second:.1f}",
            "-" if self.best is None else "{} {:.4f} at {}".format(*self.best),
            "-" if self.checkpoint is None else str(self.checkpoint),
            str(self.requeues),
            "-" if self.age is None else f"{timedelta(seconds=int(self.age))} ago",
        )


def find_runs(root: Path) -> Iterator[Path]:
    """The folders of runs at and below `root`, in the order of their names with numbers as numbers."""
    for folder, below, files in os.walk(root):
        if not RUN_FILES.isdisjoint(files):
            yield Path(folder)
            below.clear()
        below.sort(key=natural_key)


def natural_key(name: str) -> list[tuple[int, str]]:
    """A key for sorting: run-9 before run-10."""
    return [(int(digits or 0), text) for digits, text in re.findall(r"(\d+)|(\D+)", name)]


def summarize(path: Path, root: Path) -> Summary:
    """Summarize a run's folder; missing or half-written files are left out, an unreadable one is the state."""
    name = str(path.relative_to(root)) if path != root else path.name
    try:
        return summary_of(RunFolder(path), name)
    except OSError as error:  # not ours to read, or moved aside just now
        return Summary(name=name, state=f"unreadable ({error.strerror})")


def summary_of(folder: RunFolder, name: str) -> Summary:
    """Summarize a run; OSError if a file cannot be read."""
    config = configuration(folder)
    last = next(read_reports(folder.metrics, newest_first=True), {})
    trained = next(read_reports(folder.metrics, SPEED, newest_first=True), {})
    return Summary(
        name=name,
        state=state_of(folder),
        step=last.get("step", 0),
        of=steps if isinstance(steps := config.get("max_train_steps"), int) else None,
        images_per_second=number(trained.get(SPEED)),
        best=best(folder.metrics, config),
        checkpoint=newest_checkpoint(folder),
        requeues=requeues(folder),
        age=time.time() - folder.metrics.stat().st_mtime if last else None,
    )


def configuration(folder: RunFolder) -> dict[str, Any]:
    """The run's configuration as a tree, empty where there is none."""
    try:
        return read_tree(folder.config)
    except Mistake:
        return {}


def state_of(folder: RunFolder) -> str:
    """The state of a run: see Summary."""
    if folder.locked():
        return "running"
    if folder.steps_done() is not None:
        return "done"
    if why := text_of(folder.stopped).strip().partition(": ")[2]:
        return f"stopped ({why})"
    return "died"


def number(value: Any) -> float | None:
    """A figure of a report; None where it was not finite, or is something else."""
    return value if isinstance(value, int | float) and math.isfinite(value) else None


def best(metrics: Path, config: dict[str, Any]) -> tuple[str, float, int] | None:
    """The figure that chooses the best validation, its value and its step; None where there is none yet."""
    names = {best_metric(config.get("validation"), adversarial) for adversarial in (False, True)} - {None}
    reports = {report["step"]: report for name in names for report in read_reports(metrics, f"{VALIDATION}{name}")}
    found = best_validation([reports[step] for step in sorted(reports)], config)
    return (found[0], found[1], found[2]["step"]) if found else None


def newest_checkpoint(folder: RunFolder) -> int | None:
    """The step of the newest complete checkpoint."""
    steps = saved_steps(folder.checkpoints)
    return max((step for step in steps if (folder.checkpoints / step_name(step) / MANIFEST).is_file()), default=None)


def requeues(folder: RunFolder) -> int:
    """Number of restarts of this run's jobs by Slurm, summed over jobs."""
    of_job = {str(start["job"]): start.get("requeues") for start in folder.started() if "job" in start}
    return sum(count for count in of_job.values() if isinstance(count, int))  # a job's last start counts all before it


def table(summaries: Sequence[Summary]) -> str:
    """The summaries, aligned, under HEADINGS."""
    rows = [HEADINGS, *(summary.row() for summary in summaries)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def show(root: Path) -> str:
    """The table of all runs below `root`; Mistake where there is no such folder."""
    check_path(root, "OUTPUT_DIR")
    if not root.is_dir():
        raise Mistake(f"{root} is not a folder; wanted one with runs in it, such as outputs.")
    summaries = [summarize(path, root) for path in find_runs(root)]
    return table(summaries) if summaries else f"no runs in {root}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table, once or again and again; the exit status."""
    parser = argparse.ArgumentParser(prog=called("runs"), description="A table of all runs below a folder.")
    parser.add_argument("root", type=path_option, metavar="OUTPUT_DIR", help="outputs, a sweep's, or one run's folder")
    parser.add_argument("--watch", action="store_true", help=f"show it anew every {REFRESH_SECONDS} seconds")
    options = parser.parse_args(arguments)
    try:
        while True:
            give(f"{CLEAR if options.watch and sys.stdout.isatty() else ''}{show(options.root)}\n")
            if not options.watch:
                return 0
            time.sleep(REFRESH_SECONDS)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 0


if __name__ == "__main__":
    sys.exit(main())
