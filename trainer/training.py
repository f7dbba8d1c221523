"""A whole run, from a configuration to its last step: what the command line and `trainer.train` start."""

import os
import pickle
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from accelerate import Accelerator
from torch import nn
from torch.utils.data import IterableDataset

from trainer.building.accelerator import make_accelerator
from trainer.checkpoints.names import step_name
from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import Checkpoints
from trainer.config.python_options import config_of, with_given_networks
from trainer.config.schema import RunConfig, folder_of
from trainer.distributed.ranks import on_main
from trainer.distributed.waiting import WATCH
from trainer.experiment import Experiment
from trainer.files.paths import check_path
from trainer.images.program import ProgramImages, ProgramSource
from trainer.lifecycle.assemble import assemble
from trainer.lifecycle.check_folder import check_folder, stop_before_start
from trainer.lifecycle.compare_ranks import compare_start
from trainer.lifecycle.finish import results
from trainer.lifecycle.publishing import ensure_repo_or_fail, make_pusher, newest_and_best
from trainer.lifecycle.short_memory import naming_shortage
from trainer.lifecycle.system import check_system
from trainer.loop import fit
from trainer.mistakes import Mistake
from trainer.models import RealESRNetModel


def train(
    opt: Any, *, images: Any = None, net_g: nn.Module | None = None, net_d: nn.Module | None = None
) -> RealESRNetModel | None:
    """Train to the end as `accelerate launch trainer/run.py` does, or resume: checkpoints, validation, export, hub.

    Parameters
    ----------
    opt : as of `RealESRNetModel`; whether there is a discriminator follows from it
    images : a map-style dataset of pictures, in place of `images.source`: see `ProgramSource`
    net_g, net_d : modules in place of the configured networks

    `config.yaml` says in words what was given; to resume, call with it again. Returns the trained model; None where the
    run was done before.

    Raises:
        Mistake, Failure: in a sentence, what can be put right, and why the run cannot go on.
    """
    config, notes = config_of(opt)
    config = with_given_networks(config, net_g, net_d)
    source = None
    if images is not None:
        source, config = _with_dataset(images, config)
    prepare(config)
    accelerator = make_accelerator(config)
    if accelerator.is_main_process and notes:
        print("\n".join(notes))
    compare_start(accelerator, config, {})
    run = run_to_end(config, accelerator, partial(assemble, images=source, net_g=net_g, net_d=net_d))
    return run.model if run else None


def prepare(config: RunConfig) -> None:
    """Check the system and the run folder's path, and set the limit of waits."""
    check_system()
    check_path(folder_of(config).path, "output_dir")
    WATCH.limit, WATCH.last_words = 60 * config.distributed.timeout_minutes, partial(last_words, folder_of(config))


def run_to_end(
    config: RunConfig, accelerator: Accelerator, build: Callable[[RunConfig, Accelerator], Experiment] = assemble
) -> Experiment | None:
    """Train a run that `build` makes, unless it is done, or a file STOP waits for it. Collective."""
    done = on_main(accelerator, lambda: folder_of(config).steps_done(), "looking for a file DONE")
    if done is not None and done >= config.max_train_steps:
        say_done(config, accelerator, done)
        return None
    if told := on_main(accelerator, lambda: stop_before_start(config), "looking for a file STOP"):
        if accelerator.is_main_process:
            print(told, flush=True)
        return None
    on_main(accelerator, lambda: ensure_repo_or_fail(config), "asking the hub")
    with naming_shortage(config, accelerator):
        fit(run := build(config, accelerator))
    return run


def say_done(config: RunConfig, accelerator: Accelerator, done: int) -> None:
    """Say where the results of a finished run are, and push what is not on the hub yet."""
    on_main(accelerator, lambda: check_folder(config), "checking the run folder")
    if not accelerator.is_main_process:
        return
    folder = folder_of(config)
    print(
        f"{folder.path} is done at step {done}: raise max_train_steps to go on, or start anew with --fresh. "
        f"{results(config)}"
    )
    if pusher := make_pusher(config):
        pusher.finish(*newest_and_best(folder))


def last_words(folder: RunFolder) -> str:
    """A sentence on the newest checkpoint of a run that ends while it waits; never raises OSError.

    Rank 0 marks a run that was asked to stop as stopped, so that its job is requeued. Whether it was the launcher that
    asked, as another rank had crashed, the launcher's status says.
    """
    asked = WATCH.request.name is not None and os.environ.get("RANK", "0") == "0"
    try:
        steps = Checkpoints(folder.checkpoints).steps()
        if asked and folder.config.is_file() and not folder.locked():
            folder.interrupt(steps[-1] if steps else 0, "signal")
    except OSError as error:
        return f"{folder.path} cannot be read or written now: {error}."
    if not steps:
        return f"No checkpoint is in {folder.checkpoints} yet; the same command begins the run."
    return f"The newest checkpoint is {folder.checkpoints}/{step_name(steps[-1])}; the same command resumes the run."


def _with_dataset(images: Any, config: RunConfig) -> tuple[ProgramSource, RunConfig]:
    """A program's dataset as a source, and the configuration that says so."""
    if not _is_map_style(images):
        raise Mistake(f"images: got {type(images).__name__}; must be a dataset with a length and items, and not empty.")
    if config.images.pairs and not config.images.source:
        raise Mistake("images: a dataset gives clean pictures to degrade, and the options train on given pairs alone.")
    source = ProgramSource(images)
    settings = replace(config.images, source=ProgramImages(type="python", given=source.where))
    if settings.dataloader_num_workers and not _can_travel(images):
        settings = replace(settings, dataloader_num_workers=0)
    return source, replace(config, images=settings)


def _can_travel(dataset: Any) -> bool:
    """True if worker processes can be given the dataset: it pickles, and holds nothing of the program's own file."""
    try:
        pickled = pickle.dumps(dataset)
    except Exception:  # whatever a program's own object raises: it is then read in this process
        return False
    return b"__main__" not in pickled  # a class is pickled by its module's name


def _is_map_style(images: Any) -> bool:
    """True for what has a length and items by number, and is not empty."""
    if isinstance(images, str | bytes | Mapping | IterableDataset) or not hasattr(images, "__getitem__"):
        return False
    try:
        return len(images) > 0
    except TypeError:
        return False
