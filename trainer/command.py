"""The actions of the command line: print, check, dry run, train."""

import os
from argparse import Namespace
from functools import partial
from pathlib import Path

from accelerate import Accelerator

from trainer.building.accelerator import make_accelerator
from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import Checkpoints
from trainer.config.loader import dump_config, load_config
from trainer.config.schema import RunConfig, folder_of
from trainer.console import give
from trainer.distributed.batch import plan_batch
from trainer.distributed.ranks import on_main
from trainer.distributed.waiting import WATCH
from trainer.dry_run import dry_run
from trainer.files.paths import check_path
from trainer.lifecycle.assemble import assemble, check
from trainer.lifecycle.check_folder import check_folder, move_aside, stop_before_start
from trainer.lifecycle.compare_ranks import compare_start
from trainer.lifecycle.open_images import open_images, prove
from trainer.lifecycle.publishing import ensure_repo_or_fail, make_pusher, newest_and_best
from trainer.loop import fit
from trainer.mistakes import Mistake


def execute(options: Namespace) -> None:
    """Print, check, try or train, as the options say; Mistake for whatever a person can put right."""
    check_path(options.config, "CONFIG")
    if not options.config.exists():
        raise Mistake(
            f"the config {options.config} does not exist (seen from {str(Path.cwd())!r}); there are {options.shipped}."
        )
    config = load_config(RunConfig, options.config, options.overrides)
    if options.print:
        give(dump_config(config))
        return
    check_path(folder_of(config).path, "output_dir")
    WATCH.limit, WATCH.last_words = 60 * config.distributed.timeout_minutes, partial(last_words, folder_of(config))
    if options.check is not None:
        for note in check(config, options.check, options.fresh):
            print(note)
        give(f"{folder_of(config).path}\n")
        return
    WATCH.start()
    accelerator = make_accelerator(config)
    compare_start(accelerator, config, {"dry-run": options.dry_run, "fresh": options.fresh})
    if options.dry_run:
        dry_run(assemble(config, accelerator))
        return
    if options.fresh:
        set_aside(config, accelerator)
    done = on_main(accelerator, lambda: folder_of(config).steps_done(), "looking for a file DONE")
    if done is not None and done >= config.max_train_steps:
        on_main(accelerator, lambda: check_folder(config), "checking the run folder")
        if accelerator.is_main_process:
            folder = folder_of(config)
            print(
                f"{folder.path} is done at step {done}: its generator is in {folder.export}, its pictures in "
                f"{folder.samples}. Raise max_train_steps to go on, or start anew with --fresh."
            )
            if pusher := make_pusher(config):
                pusher.finish(*newest_and_best(folder))
        return
    if told := on_main(accelerator, lambda: stop_before_start(config), "looking for a file STOP"):
        if accelerator.is_main_process:
            print(told, flush=True)
        return
    on_main(accelerator, lambda: ensure_repo_or_fail(config), "asking the hub")
    fit(assemble(config, accelerator))


def last_words(folder: RunFolder) -> str:
    """What is saved of a run that ends while it waits, in a sentence; never raises OSError.

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
        return f"No checkpoint is in {folder.checkpoints} yet."
    return f"The newest checkpoint is {folder.checkpoints}/step-{steps[-1]:08d}; the same command resumes the run."


def set_aside(config: RunConfig, accelerator: Accelerator) -> None:
    """Give an earlier run of this name another one, and say which: once the new one is known to be able to begin."""
    plan_batch(config.batch, accelerator.num_processes)
    on_main(accelerator, lambda: prove(open_images(config)[0]), "opening the pictures")
    on_main(accelerator, lambda: ensure_repo_or_fail(config, fresh=True), "asking the hub")
    aside = on_main(accelerator, lambda: move_aside(config), "moving the earlier run aside")
    if aside and accelerator.is_main_process:
        print(f"the earlier run is now {aside}")
