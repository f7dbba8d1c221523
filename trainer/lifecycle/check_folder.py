"""Checks of a run's folder before the run begins or goes on in it, and taking it over."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import Checkpoints
from trainer.config.loader import differences, dump_config, read_tree, validated
from trainer.config.resumable import resumable
from trainer.config.schema import RunConfig, folder_of
from trainer.distributed.signals import BY_FILE
from trainer.files.atomic import ASIDE, aside_of, sweep, write_atomically
from trainer.mistakes import Mistake
from trainer.networks.loading.initial import InitConfig

BEGUN = {RunFolder.LOCK, "STOP", "STOPPED"}
"""What may lie in a folder in which no run has begun: a run died while it took it over, or was stopped before. Besides
what `sweep` removes."""


def check_folder(config: RunConfig, fresh: bool = False) -> list[str]:
    """Check that the run may begin or go on in its folder; a sentence for each change of a resumed run. Writes nothing.

    Raises Mistake where the folder cannot be written, is something else, or holds a run of another configuration.
    """
    folder = folder_of(config)
    _check_writable(folder.path)
    if fresh:  # what is there will be moved aside
        return []
    there = {entry.name for entry in folder.path.iterdir()} if folder.path.exists() else set()
    if all(name in BEGUN or name.startswith(ASIDE) for name in there) and not folder.evidence():
        return []
    if not folder.config.is_file() and not folder.evidence():
        raise Mistake(
            f"{folder.path} is not empty and holds no run (no config.yaml): choose another name or output_dir."
        )
    changes = _check_configuration(config, folder)
    done = folder.steps_done()
    if done is None or done < config.max_train_steps:  # else nothing will be written there
        find_resume_step(folder, content=False)
    return changes


def was_trained_on(config: RunConfig) -> bool:
    """True if the run's folder has a checkpoint, and its config.yaml names the same pictures, in the same places."""
    folder = folder_of(config)
    if not Checkpoints(folder.checkpoints).steps():
        return False
    try:
        before = validated(RunConfig, read_tree(folder.config), str(folder.config))
    except Mistake:  # which the run goes on without, see `_check_configuration`
        return False
    return (before.images, before.validation) == (config.images, config.validation)


def find_resume_step(folder: RunFolder, content: bool = True) -> tuple[int | None, list[str]]:
    """The step at which the run goes on: `Checkpoints.newest`, with `content` as there.

    Raises Mistake where a checkpoint was complete once and none is intact now: to begin anew would destroy the record
    of what may be weeks, because a disk was not mounted or old files were purged.
    """
    step, complaints = Checkpoints(folder.checkpoints).newest(content)
    if step is None and (evidence := folder.evidence()):
        lines = "".join(f"\n  {complaint}" for complaint in complaints)
        raise Mistake(
            f"{folder.path} holds a run that was saved ({evidence}), and no intact checkpoint is in "
            f"{folder.checkpoints} now:{lines or ' it is empty or not there.'}\n"
            f"Put the checkpoints back, or move what is left of the run aside and begin anew with --fresh."
        )
    return step, complaints


def take_over(config: RunConfig) -> tuple[int | None, list[str]]:
    """Make the folder, or take it over, and find where the run goes on: see `find_resume_step`. For one rank."""
    folder = _locked(config)
    found = find_resume_step(folder)
    open_folder(config)
    return found


def stop_before_start(config: RunConfig) -> str | None:
    """Obey a file STOP that is there before the run starts, and say so; None where there is none. For one rank."""
    if not folder_of(config).stop.exists():
        return None
    check_folder(config)
    folder = _locked(config)
    step = max(Checkpoints(folder.checkpoints).steps(), default=0)
    with _writing(folder.path):
        folder.interrupt(step, BY_FILE)
    return f"stopped at step {step} ({BY_FILE}) before anything was trained; the same command goes on."


def open_folder(config: RunConfig) -> RunFolder:
    """Make the folder, or take it over, and write the resolved configuration into it. For one rank."""
    folder = _locked(config)
    with _writing(folder.path):
        sweep(folder.path)
        write_atomically(folder.config, dump_config(config))  # first of all: it says whose the folder is
        folder.samples.mkdir(exist_ok=True)
        folder.checkpoints.mkdir(exist_ok=True)
    return folder


def write_token(config: RunConfig) -> str:
    """Write an empty file to the run's folder, by whose name, which is returned, others know that folder again."""
    file = aside_of(folder_of(config).path / "token")  # a death leaves one that `sweep` removes
    with _writing(file.parent):
        file.touch(exist_ok=False)
    return file.name


def initial_weights(config: RunConfig) -> InitConfig:
    """The weights that the networks begin with: none where the run has an intact checkpoint, which replaces them."""
    if config.init == InitConfig():
        return config.init  # nothing to save by verifying checkpoints
    resumes = Checkpoints(folder_of(config).checkpoints).newest()[0] is not None
    return InitConfig() if resumes else config.init


def move_aside(config: RunConfig) -> Path | None:
    """Rename the run's folder, if there is one, so that a new run can begin; nothing is deleted.

    Raises Mistake where a process trains in it, whose next save would go to the new run's folder.
    """
    folder = folder_of(config)
    path = folder.path
    if not path.exists():
        return None
    if folder.locked():
        raise Mistake(f"another process is training in {path}: stop it before --fresh, or give this run a name.")
    name = f"{path.name}.until-{time.strftime('%Y%m%d-%H%M%S')}"
    names = (name, *(f"{name}-{number}" for number in range(2, 100)))
    aside = next(place for place in map(path.with_name, names) if not place.exists())
    with _writing(path):
        path.rename(aside)
    return aside


def _check_configuration(config: RunConfig, folder: RunFolder) -> list[str]:
    """Compare the configuration with the folder's: a sentence for each change; Mistake for one that may not be."""
    accepted = config.checkpoints.accept_changes
    try:
        tree = read_tree(folder.config)
        before = validated(RunConfig, tree, str(folder.config))
    except Mistake as mistake:
        if accepted:
            return [f"all, for what the run had cannot be told: {mistake}"]
        raise Mistake(
            f"the configuration of the run in {folder.path} is damaged, or of another version of this program: "
            f"{mistake}\nGo on with this configuration by checkpoints.accept_changes=true, or move the run aside "
            f"with --fresh."
        ) from None
    changed = differences(before, config)
    foreign = {key: values for key, values in changed.items() if not resumable(key, *values)}
    if foreign and not accepted:
        lines = "".join(
            f"\n  {key}: the run {f'has {old!r}' if old is None or _says(tree, key) else 'does not say'}, "
            f"this config {new!r}"
            for key, (old, new) in foreign.items()
        )
        raise Mistake(
            f"{folder.path} holds a run of another configuration:{lines}\n"
            f"Give this one another name (name=...), move the old one aside with --fresh, or go on "
            f"with another stream by checkpoints.accept_changes=true."
        )
    return [f"{key} is now {new!r} (was {old!r})" for key, (old, new) in changed.items()]


def _says(tree: Any, key: str) -> bool:
    """True if a tree has a dotted key: each run's config.yaml has all, unless it was cut short."""
    for name in key.split("."):
        if not isinstance(tree, dict) or name not in tree:
            return False
        tree = tree[name]
    return True


def _locked(config: RunConfig) -> RunFolder:
    """The run's folder, there and held by this process."""
    folder = folder_of(config)
    with _writing(folder.path):
        folder.path.mkdir(parents=True, exist_ok=True)
        folder.lock()
    return folder


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Mistake where the disk refuses what is written to the run folder meanwhile."""
    try:
        yield
    except OSError as error:
        raise Mistake(f"the run folder {path} cannot be written: {error.strerror or error}.") from error


def _check_writable(path: Path) -> None:
    """Write a file into the run's folder, or into the nearest one above it that is there; Mistake if that fails.

    Nothing is made that would have to be taken away again: the runs of a sweep begin at once in one `output_dir`.
    """
    there = next(parent for parent in (path, *path.absolute().parents) if parent.exists())
    with _writing(path), TemporaryFile(dir=there):
        pass
