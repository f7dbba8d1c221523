"""The end of a run: at its last step, on request, or because it cannot go on."""

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, NoReturn

import torch
from accelerate.utils import gather_object
from torch import Tensor

from degradations.keyed_random import Keys
from trainer.checkpoints.names import step_name
from trainer.checkpoints.store import reason as reason_of
from trainer.config.schema import RunConfig, folder_of
from trainer.console import called
from trainer.distributed.agreement import DATA, DISK, SIGNAL
from trainer.experiment import Experiment
from trainer.files.atomic import atomically
from trainer.images.mixture import Mixture
from trainer.mistakes import Failure, Mistake, agreed
from trainer.networks.given import GivenGeneratorConfig
from trainer.networks.imported import ImportedGeneratorConfig
from trainer.report.page import write_report
from trainer.state import Best


def end(run: Experiment, stop: str) -> None:
    """End a run at its last step or, before that, for the reason that the ranks agreed on."""
    if run.state.step >= run.config.max_train_steps:
        finish(run)
    elif stop == DATA:
        abandon(run)
    else:
        interrupt(run, stop)


def finish(run: Experiment) -> None:
    """Make sure of the last save, mark the run as done, and say where the results are."""
    run.saver.save_and_wait()
    if run.accelerator.is_main_process:
        with run.disk.writing("DONE"):
            run.folder.finish(run.state.step)
    best, bests = run.state.best, in_words(run.state.bests)
    said = f"; best {bests}" if bests else ""
    write_page(run)
    run.telemetry.say(f"done at step {run.state.step}{said}. {results(run.config)}")
    run.telemetry.end()
    problem = disk_problem(run)
    run.accelerator.end_training()
    if run.pusher:
        run.pusher.finish(run.state.step, best.step if best else None)
    if problem:
        raise Failure(f"{problem}. The last step is saved.")


def in_words(bests: list[Best]) -> str:
    """The best validations: figure, value and step of each."""
    return ", ".join(f"{best.metric} {best.value:.4f} at step {best.step}" for best in bests)


def write_page(run: Experiment) -> None:
    """Write report.html, on rank 0, from the files of the run; where that fails nothing else does."""
    if not run.accelerator.is_main_process:
        return
    with run.disk.writing(run.folder.report.name):
        try:
            write_report(run.folder)
        except OSError:
            raise
        except Exception as error:  # a page is not worth a run
            run.telemetry.say(f"{run.folder.report.name} cannot be made: {type(error).__name__}: {error}.")


def results(config: RunConfig) -> str:
    """The places of a run's results, and on a line of its own the command that uses them."""
    folder, generator = folder_of(config), config.generator
    sheet = folder.newest_sheet()
    places = f"Generator: {folder.export}. {f'Newest sheet: {sheet}' if sheet else f'Pictures: {folder.samples}'}."
    if folder.report.is_file():
        places += f" Page: {folder.report}."
    if isinstance(generator, GivenGeneratorConfig):  # which only the program that gave it can build
        return places
    command = [called("upscale"), "--model", shlex.quote(str(folder.path)), "--input PICTURES --output large"]
    if isinstance(generator, ImportedGeneratorConfig):
        command += ["--trust", shlex.quote(generator.path)]
    if levels := config.images.radiometry:
        command.append(f"--black {levels.black:g} --white {levels.white:g}")
    return f"{places}\nTo use it: {' '.join(command)}"


def interrupt(run: Experiment, reason: str) -> None:
    """Make sure of the save, mark the run as stopped, and say how to go on; Failure where the disk is why it stops."""
    run.saver.save_and_wait()
    if reason == DISK:
        saved = f"The run stops, saved at step {run.state.step}; with room on its disk the same command resumes it."
        raise Failure(f"{close(run)}. {saved}")
    if run.accelerator.is_main_process:
        with run.disk.writing("STOPPED"):
            run.folder.interrupt(run.state.step, reason)
    write_page(run)
    run.control.request.obeyed = reason == SIGNAL
    bests = in_words(run.state.bests)
    so_far = f" Best so far: {bests}." if bests else ""
    run.telemetry.say(
        f"stopped at step {run.state.step} ({reason}) and saved; the same command resumes the run.{so_far} "
        f"Generator: {run.folder.export}."
    )
    if problem := close(run):
        raise Failure(f"{problem}. The run is saved at step {run.state.step}; the same command resumes it.")


def abandon(run: Experiment) -> NoReturn:
    """End a run that lacks pictures for its next step, on some rank, saved as it is after the last one.

    Raises Failure; where there is nothing to save yet, what kept the pictures away.
    """
    rank, absent = next((rank, one) for rank, one in enumerate(gather_object([run.control.data_error])) if one)
    if run.state.step == 0:
        raise agreed(absent)
    run.saver.save_and_wait()
    close(run)
    whose = f"rank {rank}: " if isinstance(absent, Mistake) else ""
    raise agreed(Failure(f"{whose}{absent} The run is saved at step {run.state.step}; the same command resumes it."))


def close(run: Experiment) -> str:
    """End the records of a run that has not come to its last step, without a wait for the hub; `disk_problem`."""
    run.telemetry.end()
    problem = disk_problem(run)
    run.accelerator.end_training()
    if run.pusher:
        run.pusher.close(0)
    return problem


def disk_problem(run: Experiment) -> str:
    """The reason why a file of the run could not be written, if that ends it. Collective, the same on all ranks."""
    return next(filter(None, gather_object([run.disk.problem])), "")


@contextmanager
def saved_first(run: Experiment) -> Iterator[None]:
    """Save the run before a Mistake or Failure that all ranks raise within ends it; its state must be whole."""
    try:
        yield
    except (Mistake, Failure):
        run.saver.save_and_wait()
        raise


def batch_provenance(run: Experiment, positions: Tensor) -> dict[str, Any]:
    """Provenance of the pairs at `positions`, int64 [b], for a dump.

    `given` is bool [b]: which are given pairs. `recipe`, absent where all are, holds what was drawn for the degradation
    of the others, in their order.
    """
    source, config = run.source, run.config
    given = torch.zeros(len(positions), dtype=torch.bool)
    if isinstance(source, Mixture):
        given = torch.tensor([source.is_given(position, config.seed) for position in positions.tolist()])
    if given.all():
        return {"given": given}
    crop = torch.empty(config.images.crop_size, config.images.crop_size)
    return {"given": given, "recipe": run.model.synthesis.recipe(Keys(config.seed, positions[~given]), crop).as_dict()}


def dump(run: Experiment, skipped: int) -> NoReturn:
    """Leave the pairs that were trained on last on disk, and raise Failure: the run diverges."""
    pairs = run.model.last
    assert pairs is not None, "a step was skipped before any pair was made"
    folder, saved = run.folder.path / "dump", run.saver.saved
    left: list[str] = []
    try:
        folder.mkdir(exist_ok=True)
        file = folder / f"{step_name(run.state.step)}-rank-{run.accelerator.process_index}.pt"
        with atomically(file) as aside, aside.open("wb") as stream:
            torch.save(
                {"step": run.state.step, **asdict(pairs), **batch_provenance(run, pairs.positions.cpu())}, stream
            )
    except Exception as error:  # the disk's; what happened is to be said all the same
        left = [f"could not be written ({reason_of(error)})"]
    where = (gather_object(left) or [f"is in {folder}"])[0]
    before = saved is not None and saved <= run.state.step - skipped
    newest = f"the newest checkpoint, of step {saved}, is from {'before' if before else 'among them'}"
    raise Failure(
        f"{skipped} steps in a row had a gradient that is not finite, the last one step {run.state.step}: the run "
        f"stops. What it was trained on {where}; {'nothing was saved yet' if saved is None else newest}. A lower "
        f"learning rate, max_grad_norm or mixed_precision=no may help."
    )
