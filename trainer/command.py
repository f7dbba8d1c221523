"""What the options of the command line do."""

from argparse import Namespace

from accelerate import Accelerator

from trainer.assemble import assemble, check
from trainer.batch import plan_batch
from trainer.claim import check_folder, folder_of, move_aside
from trainer.config import RunConfig
from trainer.config_io import dump_config, load_config
from trainer.dry_run import dry_run
from trainer.loop import fit
from trainer.opening import open_images
from trainer.publishing import make_pusher, meet_hub, newest_and_best
from trainer.ranks import make_accelerator, on_main
from trainer.waiting import WATCH


def execute(options: Namespace) -> None:
    """Print, check, try or train, as the options say; Mistake for whatever a person can put right."""
    config = load_config(RunConfig, options.config, options.overrides)
    if options.print:
        print(dump_config(config), end="")
        return
    WATCH.limit = 60 * config.distributed.timeout_minutes
    done = None if options.fresh else folder_of(config).steps_done()
    if options.check is not None:
        for change in [] if options.fresh else check(config, options.check):
            print(f"resuming with another setting: {change}")
        print(folder_of(config).path)
        return
    WATCH.start()
    accelerator = make_accelerator(config)
    if options.dry_run:
        dry_run(assemble(config, accelerator))
        return
    if options.fresh:
        set_aside(config, accelerator)
    if done is not None and done >= config.max_train_steps:
        on_main(accelerator, lambda: check_folder(config))
        if accelerator.is_main_process:
            folder = folder_of(config)
            print(
                f"{folder.path} is done at step {done}: its generator is in {folder.export}, its pictures in "
                f"{folder.samples}. Raise max_train_steps to go on, or start anew with --fresh."
            )
            if pusher := make_pusher(config):
                pusher.finish(*newest_and_best(folder))
        return
    on_main(accelerator, lambda: meet_hub(config))
    fit(assemble(config, accelerator))


def set_aside(config: RunConfig, accelerator: Accelerator) -> None:
    """Give an earlier run of this name another one, and say which: once the new one is known to be able to begin."""
    plan_batch(config.batch, accelerator.num_processes)
    on_main(accelerator, lambda: open_images(config))
    on_main(accelerator, lambda: meet_hub(config, fresh=True))
    aside = on_main(accelerator, lambda: move_aside(config))
    if aside and accelerator.is_main_process:
        print(f"the earlier run is now {aside}")
