"""The generator to export, and the provenance of its weights."""

import dataclasses
import filecmp
import json
import sys
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

from trainer.checkpoints.names import EMA_WEIGHTS, step_of
from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import Checkpoints, Damaged, verify
from trainer.config.loader import load_config
from trainer.config.redact import freeze_hub_ids, redact_paths
from trainer.config.schema import RunConfig
from trainer.files.paths import check_path
from trainer.mistakes import Mistake
from trainer.networks import Generator
from trainer.networks.loading.generators import open_generator
from trainer.networks.loading.state_dicts import WEIGHTS

KEY = "RUN"  # the command line's name of the argument, for messages


@dataclass(frozen=True, slots=True)
class Source:
    """A generator with its provenance."""

    net: Generator
    """With the averaged weights, float32, on the CPU."""
    name: str
    """Name of the run, the file or the repository."""
    date: str
    """Day on which the weights were written, or downloaded: YYYY-MM-DD."""
    config: RunConfig | None = None
    """The run's configuration; None if it is unknown."""
    step: int | None = None
    """Optimizer steps taken; None if unknown, as for an export whose checkpoint has been pruned."""

    def facts(self) -> dict[str, str]:
        """Metadata of exported files: `config` is the network's, as in config.json, `run` the run's."""
        facts = {
            "producer": f"wildsr {version('wildsr')}",
            "architecture": type(self.net).__name__,
            "scale": str(self.net.config.scale),
            "config": json.dumps(json.loads(self.net.to_json_string())),
        }
        if self.step is not None:
            facts["step"] = str(self.step)
        if self.config:
            facts |= {"name": self.name, "date": self.date}
            facts["run"] = json.dumps(redact_paths(dataclasses.asdict(self.config)))
        return facts


def open_source(place: str, trust: Collection[str] = ()) -> Source:
    """Load the generator at a place, as `open_generator` finds it: a run folder gives its newest complete checkpoint.

    Raises Mistake if there is none.
    """
    check_path(place, KEY)
    path = Path(place)
    if run := run_of_export(path):
        net, weights = open_generator(place, KEY, trust), path / WEIGHTS
        config = freeze_hub_ids(load_config(RunConfig, run.config), run.hub_names())
        return Source(net, config.name, _day(weights.stat().st_mtime), config, _step_of(weights, run))
    run, checkpoint = _run_of(path)
    if run is None or checkpoint is None:
        net = open_generator(place, KEY, trust)
        written = path.stat().st_mtime if path.exists() else None
        return Source(net, path.stem if path.is_file() else path.resolve().name, _day(written))
    config = freeze_hub_ids(load_config(RunConfig, run.config), run.hub_names())
    net = open_generator(str(checkpoint), KEY, trust)
    return Source(net, config.name, _day(checkpoint.stat().st_mtime), config, step_of(checkpoint.name))


def run_of_export(path: Path) -> RunFolder | None:
    """The run whose `export` folder is `path`; None for any other path."""
    run = RunFolder(path.resolve().parent)
    is_export = path.resolve() == run.export and (path / WEIGHTS).is_file() and run.config.is_file()
    return run if is_export else None


def _step_of(weights: Path, run: RunFolder) -> int | None:
    """The step of the checkpoint with the same weights; None if it has been pruned."""
    checkpoints = Checkpoints(run.checkpoints)
    for step in reversed(checkpoints.steps()):
        averaged = checkpoints.path(step) / EMA_WEIGHTS
        if averaged.is_file() and filecmp.cmp(weights, averaged, shallow=False):
            return step
    return None


def _run_of(path: Path) -> tuple[RunFolder | None, Path | None]:
    """Run and checkpoint for a path: a run folder's newest, or the checkpoint at the path; None for others."""
    if (run := RunFolder(path)).config.is_file():
        checkpoints = Checkpoints(run.checkpoints)
        newest, complaints = checkpoints.newest()
        for complaint in complaints:
            print(complaint, file=sys.stderr)
        if newest is None:
            raise Mistake(f"{KEY}: the run in {path} has no complete checkpoint yet.")
        return run, checkpoints.path(newest)
    resolved = path.resolve()
    if step_of(resolved.name) is not None and (run := RunFolder(resolved.parents[1])).config.is_file():
        try:
            verify(resolved)
        except Damaged as damage:
            raise Mistake(f"{KEY}: the checkpoint {path} is damaged: {damage}.") from None
        return run, resolved
    return None, None


def _day(timestamp: float | None) -> str:
    """The UTC day of a timestamp, YYYY-MM-DD; today without one."""
    moment = datetime.fromtimestamp(timestamp, UTC) if timestamp else datetime.now(UTC)
    return moment.date().isoformat()
