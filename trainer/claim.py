"""Whether a run may begin, or go on, in its folder; and taking the folder over."""

import time
from pathlib import Path
from tempfile import TemporaryFile

from trainer.checkpoint import Checkpoints
from trainer.config import RESUMABLE, RunConfig
from trainer.config_io import differences, dump_config, load_config
from trainer.durable import ASIDE, sweep, write_atomically
from trainer.mistakes import Mistake
from trainer.run_folder import RunFolder
from trainer.weights import InitConfig

BEGUN = {RunFolder.LOCK}
"""What a run that died while it took the folder over may have left, besides what `sweep` removes."""


def check_folder(config: RunConfig) -> list[str]:
    """Whether the run may begin or go on in its folder: what a resumed run changes, a sentence each. Leaves no trace.

    Raises Mistake where the folder cannot be written, is something else, or holds a run of another configuration.
    """
    folder = folder_of(config)
    _check_writable(folder.path)
    there = {entry.name for entry in folder.path.iterdir()} if folder.path.exists() else set()
    if all(name in BEGUN or name.startswith(ASIDE) for name in there):
        return []
    if not folder.config.is_file():
        raise Mistake(
            f"{folder.path} is not empty and holds no run (no config.yaml): choose another name or output_dir."
        )
    try:
        before = load_config(RunConfig, folder.config)
    except Mistake as mistake:
        raise Mistake(f"the run in {folder.path} was made by another version of this program: {mistake}") from None
    changed = differences(before, config)
    foreign = {key: values for key, values in changed.items() if not _resumable(key)}
    if foreign and not config.checkpoints.accept_changes:
        lines = "".join(f"\n  {key}: the run has {old!r}, this config {new!r}" for key, (old, new) in foreign.items())
        raise Mistake(
            f"{folder.path} holds a run of another configuration:{lines}\n"
            f"Give this one another name (name=...), move the old one aside with --fresh, or go on "
            f"with another stream by checkpoints.accept_changes=true."
        )
    return [f"{key} is now {new!r} (was {old!r})" for key, (old, new) in changed.items()]


def open_folder(config: RunConfig) -> RunFolder:
    """Make the folder, or take it over, and write the resolved configuration into it. For one rank."""
    folder = folder_of(config)
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.lock()
    sweep(folder.path)
    write_atomically(folder.config, dump_config(config))  # before anything else is in the folder: it says whose it is
    folder.samples.mkdir(exist_ok=True)
    folder.checkpoints.mkdir(exist_ok=True)
    return folder


def folder_of(config: RunConfig) -> RunFolder:
    """The run's folder, there or not."""
    return RunFolder(Path(config.output_dir) / config.name)


def origins(config: RunConfig) -> InitConfig:
    """The weights that the networks begin with: none where the run has an intact checkpoint, which replaces them."""
    if config.init == InitConfig():
        return config.init  # nothing to save by verifying checkpoints
    resumes = Checkpoints(folder_of(config).checkpoints).newest()[0] is not None
    return InitConfig() if resumes else config.init


def move_aside(config: RunConfig) -> Path | None:
    """Rename the run's folder, if there is one, so that a new run can begin; nothing is deleted."""
    path = folder_of(config).path
    if not path.exists():
        return None
    name = f"{path.name}.until-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (name, *(f"{name}-{number}" for number in range(2, 100)))
    aside = next(place for place in map(path.with_name, names) if not place.exists())
    path.rename(aside)
    return aside


def _resumable(key: str) -> bool:
    return any(key == allowed or key.startswith(f"{allowed}.") for allowed in RESUMABLE)


def _check_writable(path: Path) -> None:
    """Write a file into the run's folder, or into the nearest one above it that is there; Mistake if that fails.

    Nothing is made that would have to be taken away again: the runs of a sweep begin at once in one `output_dir`.
    """
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    try:
        with TemporaryFile(dir=there):
            pass
    except OSError as error:
        raise Mistake(f"the run folder {path} cannot be written: {error.strerror}.") from None
