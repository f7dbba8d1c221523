"""How a run ends: at its last step, on request, or because it cannot go on."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, NoReturn

import torch
from accelerate.utils import gather_object
from torch import Tensor

from degradations.keyed_random import Keys
from trainer.checkpoints.store import reason as reason_of
from trainer.distributed.agreement import DATA, DISK
from trainer.experiment import Experiment
from trainer.files.atomic import atomically
from trainer.images.mixture import Mixture
from trainer.mistakes import Failure, Mistake, agreed
from trainer.pairs.synthesis import Pairs


def end(x: Experiment, stop: str) -> None:
    """End a run at its last step or, before that, for the reason that the ranks agreed on."""
    if x.state.step >= x.config.max_train_steps:
        finish(x)
    elif stop == DATA:
        abandon(x)
    else:
        interrupt(x, stop)


def finish(x: Experiment) -> None:
    """Make sure of the last save, mark the run as done, and say where the results are."""
    x.saver.secure()
    if x.accelerator.is_main_process:
        with x.disk.writing("DONE"):
            x.folder.finish(x.state.step)
    best = x.state.best
    said = f"; best {best.metric} {best.value:.4f} at step {best.step}" if best else ""
    x.telemetry.say(f"done at step {x.state.step}{said}. Generator: {x.folder.export}. Pictures: {x.folder.samples}.")
    x.telemetry.end()
    problem = disk_problem(x)
    x.accelerator.end_training()
    if x.pusher:
        x.pusher.finish(x.state.step, best.step if best else None)
    if problem:
        raise Failure(f"{problem}. The last step is saved.")


def interrupt(x: Experiment, reason: str) -> None:
    """Make sure of the save, mark the run as stopped, and say how to go on; Failure where the disk is why it stops."""
    x.saver.secure()
    if reason == DISK:
        saved = f"The run stops, saved at step {x.state.step}; with room on its disk the same command resumes it."
        raise Failure(f"{close(x)}. {saved}")
    if x.accelerator.is_main_process:
        with x.disk.writing("STOPPED"):
            x.folder.interrupt(x.state.step, reason)
    x.telemetry.say(f"stopped at step {x.state.step} ({reason}) and saved; the same command resumes the run.")
    if problem := close(x):
        raise Failure(f"{problem}. The run is saved at step {x.state.step}; the same command resumes it.")


def abandon(x: Experiment) -> NoReturn:
    """End a run that lacks pictures for its next step, on some rank, saved as it is after the last one.

    Raises Failure; where there is nothing to save yet, what kept the pictures away.
    """
    rank, absent = next((rank, one) for rank, one in enumerate(gather_object([x.control.absent])) if one)
    if x.state.step == 0:
        raise agreed(absent)
    x.saver.secure()
    close(x)
    whose = f"rank {rank}: " if isinstance(absent, Mistake) else ""
    raise agreed(Failure(f"{whose}{absent} The run is saved at step {x.state.step}; the same command resumes it."))


def close(x: Experiment) -> str:
    """End the records of a run that has not come to its last step, without a wait for the hub; `disk_problem`."""
    x.telemetry.end()
    problem = disk_problem(x)
    x.accelerator.end_training()
    if x.pusher:
        x.pusher.close(0)
    return problem


def disk_problem(x: Experiment) -> str:
    """Why a file of the run could not be written, if that is to end the run: the same on all ranks, collective."""
    return next(filter(None, gather_object([x.disk.problem])), "")


@contextmanager
def saved_first(x: Experiment) -> Iterator[None]:
    """Save the run before a Mistake or Failure that all ranks raise within ends it; its state must be whole."""
    try:
        yield
    except (Mistake, Failure):
        x.saver.secure()
        raise


def batch_provenance(x: Experiment, positions: Tensor) -> dict[str, Any]:
    """How the pairs at `positions`, int64 [b], came about, for a dump.

    `given` is bool [b]: which are given pairs. `recipe`, absent where all are, holds what was drawn for the degradation
    of the others, in their order.
    """
    source, config = x.source, x.config
    given = torch.zeros(len(positions), dtype=torch.bool)
    if isinstance(source, Mixture):
        given = torch.tensor([source.is_given(position, config.seed) for position in positions.tolist()])
    if given.all():
        return {"given": given}
    crop = torch.empty(config.images.crop_size, config.images.crop_size)
    return {"given": given, "recipe": x.synthesis.recipe(Keys(config.seed, positions[~given]), crop).as_dict()}


def dump(x: Experiment, skipped: int, pairs: Pairs) -> NoReturn:
    """Leave `pairs`, which were trained on last, on disk, and raise Failure: the run diverges, and more steps would not
    help."""
    folder, saved = x.folder.path / "dump", x.saver.saved
    left: list[str] = []
    try:
        folder.mkdir(exist_ok=True)
        file = folder / f"step-{x.state.step:08d}-rank-{x.accelerator.process_index}.pt"
        with atomically(file) as aside, aside.open("wb") as stream:
            torch.save({"step": x.state.step, **asdict(pairs), **batch_provenance(x, pairs.positions.cpu())}, stream)
    except Exception as error:  # the disk's; what happened is to be said all the same
        left = [f"could not be written ({reason_of(error)})"]
    where = (gather_object(left) or [f"is in {folder}"])[0]
    before = saved is not None and saved <= x.state.step - skipped
    newest = f"the newest checkpoint, of step {saved}, is from {'before' if before else 'among them'}"
    raise Failure(
        f"{skipped} steps in a row had a gradient that is not finite, the last one step {x.state.step}: the run stops. "
        f"What it was trained on {where}; {'nothing was saved yet' if saved is None else newest}. A lower learning "
        f"rate, max_grad_norm or mixed_precision=no may help."
    )
