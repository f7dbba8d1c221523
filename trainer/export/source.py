"""What is handed on: a generator, and what is known of how it was trained."""

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
from trainer.config.redact import freeze_hub_ids, public
from trainer.config.schema import RunConfig
from trainer.files.paths import check_path
from trainer.mistakes import Mistake
from trainer.networks import Generator
from trainer.networks.loading.generators import open_generator
from trainer.networks.loading.state_dicts import WEIGHTS

KEY = "RUN"  # what the command line calls the origin


@dataclass(frozen=True, slots=True)
class Origin:
    """A generator with its past."""

    net: Generator
    """The average of the weights, float32, on the CPU."""
    name: str
    """What the run, the file or the repository is called."""
    date: str
    """The day on which the weights were written, or fetched: YYYY-MM-DD."""
    config: RunConfig | None = None
    """How the run was configured; None where it is not known."""
    step: int | None = None
    """Optimizer steps taken; None likewise, and for the export of a run that has no such checkpoint any more."""

    def facts(self) -> dict[str, str]:
        """What the metadata of a file says: `config` is the network's, as in config.json, `run` the run's."""
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
            facts["run"] = json.dumps(public(dataclasses.asdict(self.config)))
        return facts


def open_origin(origin: str, trust: Collection[str] = ()) -> Origin:
    """The generator at `origin`, as `open_generator` finds it: a run folder gives its newest complete checkpoint.

    Raises Mistake where there is none.
    """
    check_path(origin, KEY)
    path = Path(origin)
    if run := run_of_export(path):
        net, weights = open_generator(origin, KEY, trust), path / WEIGHTS
        config = freeze_hub_ids(load_config(RunConfig, run.config), run.hub_names())
        return Origin(net, config.name, _day(weights.stat().st_mtime), config, _step_of(weights, run))
    run, checkpoint = _run_of(path)
    if run is None or checkpoint is None:
        net = open_generator(origin, KEY, trust)
        written = path.stat().st_mtime if path.exists() else None
        return Origin(net, path.stem if path.is_file() else path.resolve().name, _day(written))
    config = freeze_hub_ids(load_config(RunConfig, run.config), run.hub_names())
    net = open_generator(str(checkpoint), KEY, trust)
    return Origin(net, config.name, _day(checkpoint.stat().st_mtime), config, step_of(checkpoint.name))


def run_of_export(path: Path) -> RunFolder | None:
    """The run whose `export` folder a path is; None for any other."""
    run = RunFolder(path.resolve().parent)
    is_export = path.resolve() == run.export and (path / WEIGHTS).is_file() and run.config.is_file()
    return run if is_export else None


def _step_of(weights: Path, run: RunFolder) -> int | None:
    """The step of the checkpoint that exported weights are of; None where the run has it no more."""
    checkpoints = Checkpoints(run.checkpoints)
    for step in reversed(checkpoints.steps()):
        smoothed = checkpoints.path(step) / EMA_WEIGHTS
        if smoothed.is_file() and filecmp.cmp(weights, smoothed, shallow=False):
            return step
    return None


def _run_of(path: Path) -> tuple[RunFolder | None, Path | None]:
    """The run and the checkpoint that a path means: a run folder's newest, or the one that it names itself."""
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
    """The day of a file's time, or today."""
    moment = datetime.fromtimestamp(timestamp, UTC) if timestamp else datetime.now(UTC)
    return moment.date().isoformat()
