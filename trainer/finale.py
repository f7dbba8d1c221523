"""How a run ends: at its last step, on request, or because it cannot go on."""

from dataclasses import asdict
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from degradations.draws import Keys
from trainer.assemble import Experiment
from trainer.control import DISK
from trainer.images.given import Mixture
from trainer.mistakes import Failure


def finish(x: Experiment) -> None:
    """Wait for the last save, mark the run as done, and say where the results are."""
    x.saver.wait()
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
    """Wait for the save, mark the run as stopped, and say how to go on; Failure where the disk is why it stops."""
    x.saver.wait()
    if reason == DISK:
        saved = f"The run stops, saved at step {x.state.step}; with room on its disk the same command resumes it."
        raise Failure(f"{disk_problem(x)}. {saved}")
    if x.accelerator.is_main_process:
        with x.disk.writing("STOPPED"):
            x.folder.interrupt(x.state.step, reason)
    x.telemetry.say(f"stopped at step {x.state.step} ({reason}) and saved; the same command resumes the run.")
    x.telemetry.end()
    x.accelerator.end_training()
    if x.pusher:
        x.pusher.close(0)


def disk_problem(x: Experiment) -> str:
    """Why a file of the run could not be written, if that is to end the run: the same on all ranks, collective."""
    return next(filter(None, gather_object([x.disk.problem])), "")


def origin(x: Experiment, positions: Tensor) -> dict[str, Any]:
    """How the pairs at `positions`, int64 [b], came about, for a dump.

    `given` is bool [b]: which are given pairs. `recipe`, absent where all are, holds what was drawn for the degradation
    of the others, in their order.
    """
    source, config = x.source, x.config
    given = torch.zeros(len(positions), dtype=torch.bool)
    if isinstance(source, Mixture):
        given = torch.tensor([source.gives(position, config.seed) for position in positions.tolist()])
    if given.all():
        return {"given": given}
    crop = torch.empty(config.images.crop_size, config.images.crop_size)
    return {"given": given, "recipe": x.synthesis.recipe(Keys(config.seed, positions[~given]), crop).as_dict()}


def dump(x: Experiment, skipped: int) -> None:
    """Leave what was trained on last on disk, and raise Failure: the run diverges, and more steps would not help."""
    folder = x.folder.path / "dump"
    file = folder / f"step-{x.state.step:08d}-rank-{x.accelerator.process_index}.pt"
    pairs = x.telemetry.last_seen
    assert pairs is not None, "a step was skipped before any pair was seen"
    where = f"is in {folder}"
    try:
        folder.mkdir(exist_ok=True)
        torch.save({"step": x.state.step, **asdict(pairs), **origin(x, pairs.positions.cpu())}, file)
    except (OSError, RuntimeError) as error:  # torch's own for a full disk
        where = f"could not be written ({error})"
    x.accelerator.wait_for_everyone()
    raise Failure(
        f"{skipped} steps in a row had a gradient that is not finite, the last one step {x.state.step}: the run stops. "
        f"What it was trained on {where}; the newest checkpoint is from before. A lower learning rate, "
        f"max_grad_norm or mixed_precision=no may help."
    )
