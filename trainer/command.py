"""The actions of the command line: print, check, dry run, train."""

import difflib
import shlex
import sys
from argparse import Namespace
from pathlib import Path

from accelerate import Accelerator

from trainer.building.accelerator import make_accelerator
from trainer.config.loader import dump_config, load_config
from trainer.config.schema import RunConfig, folder_of
from trainer.console import give
from trainer.distributed.batch import most_processes, plan_batch, sizes_that_divide
from trainer.distributed.ranks import on_main
from trainer.distributed.waiting import WATCH
from trainer.dry_run import dry_run
from trainer.files.paths import check_path
from trainer.lifecycle.assemble import assemble, check
from trainer.lifecycle.check_folder import move_aside
from trainer.lifecycle.compare_ranks import compare_start
from trainer.lifecycle.open_images import check_small_source, open_images
from trainer.lifecycle.publishing import ensure_repo_or_fail
from trainer.lifecycle.short_memory import naming_shortage
from trainer.mistakes import Mistake
from trainer.training import prepare, run_to_end


def execute(options: Namespace) -> None:
    """Print, check, try or train, as the options say; Mistake for whatever a person can put right."""
    check_path(options.config, "CONFIG")
    check_config_file(options.config, options.shipped)
    config = load_config(RunConfig, options.config, options.overrides)
    if options.print:
        give(dump_config(config))
        return
    prepare(config)
    if options.check is not None:
        for note in check(config, options.check, options.fresh):
            print(note)
        give(f"{folder_of(config).path}\n")
        return
    if options.fit is not None:
        give(f"{fit(config, options.fit, options.fresh)}\n")
        return
    WATCH.start()
    accelerator = make_accelerator(config)
    compare_start(accelerator, config, {"dry-run": options.dry_run, "fresh": options.fresh})
    if options.dry_run:
        with naming_shortage(config, accelerator):
            dry_run(assemble(config, accelerator))
        return
    if options.fresh:
        set_aside(config, accelerator)
    run_to_end(config, accelerator)


def check_config_file(path: Path, shipped: str) -> None:
    """Mistake if the config is not there, with the nearest of the `shipped` ones, or is a folder, as of pictures."""
    if path.is_dir():
        raise Mistake(
            f"the config {path} is a folder; a config is a YAML file, and `./launch/local.sh {shlex.quote(str(path))}` "
            "trains on a folder of pictures."
        )
    if not path.exists():
        names = {Path(name).stem: name for name in shipped.split(", ")}
        near = difflib.get_close_matches(path.stem, names, 1)
        hint = f"did you mean {names[near[0]]}? " if near else ""
        raise Mistake(f"the config {path} does not exist (seen from {str(Path.cwd())!r}); {hint}there are {shipped}.")


def fit(config: RunConfig, processes: int, fresh: bool) -> int:
    """The largest number of processes that the batch divides by, for which all is checked; says so if it is smaller."""
    number = most_processes(config.batch, processes)
    check(config, number, fresh)
    if number < processes:
        print(
            f"batch.global_size: {config.batch.global_size} does not divide by {processes} processes, so {number} "
            f"of them train; {sizes_that_divide(config.batch, processes)} would.",
            file=sys.stderr,
        )
    return number


def set_aside(config: RunConfig, accelerator: Accelerator) -> None:
    """Give an earlier run of this name another one, and say which: once the new one is known to be able to begin."""
    plan_batch(config.batch, accelerator.num_processes)
    on_main(accelerator, lambda: check_small_source(open_images(config)[0]), "opening the pictures")
    on_main(accelerator, lambda: ensure_repo_or_fail(config, fresh=True), "asking the hub")
    aside = on_main(accelerator, lambda: move_aside(config), "moving the earlier run aside")
    if aside and accelerator.is_main_process:
        print(f"the earlier run is now {aside}")
