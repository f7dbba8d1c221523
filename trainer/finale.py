"""How a run ends: at its last step, on request, or because it cannot go on."""

from dataclasses import asdict

import torch

from degradations.draws import Keys
from trainer.assemble import Experiment
from trainer.mistakes import Failure


def finish(x: Experiment) -> None:
    """Wait for the last save, mark the run as done, and say where the results are."""
    x.saver.wait()
    if x.accelerator.is_main_process:
        x.folder.finish(x.state.step)
    best = x.state.best
    said = f"; best {best.metric} {best.value:.4f} at step {best.step}" if best else ""
    x.telemetry.say(f"done at step {x.state.step}{said}. Generator: {x.folder.export}. Pictures: {x.folder.samples}.")
    x.telemetry.end()
    if x.pusher:
        x.pusher.finish(x.state.step, best.step if best else None)


def interrupt(x: Experiment, reason: str) -> None:
    """Wait for the save, mark the run as stopped, and say how to go on."""
    x.saver.wait()
    if x.accelerator.is_main_process:
        x.folder.interrupt(x.state.step, reason)
    x.telemetry.say(f"stopped at step {x.state.step} ({reason}) and saved; the same command resumes the run.")
    x.telemetry.end()
    if x.pusher:
        x.pusher.close(0)


def dump(x: Experiment, skipped: int) -> None:
    """Leave what was trained on last on disk, and raise Failure: the run diverges, and more steps would not help."""
    folder = x.folder.path / "dump"
    folder.mkdir(exist_ok=True)
    file = folder / f"step-{x.state.step:08d}-rank-{x.accelerator.process_index}.pt"
    pairs = x.telemetry.last_seen
    assert pairs is not None, "a step was skipped before any pair was seen"
    crop = torch.empty(x.config.images.crop_size, x.config.images.crop_size)
    recipe = x.synthesis.recipe(Keys(x.config.seed, pairs.positions.cpu()), crop).as_dict()
    torch.save({"step": x.state.step, **asdict(pairs), "recipe": recipe}, file)
    x.accelerator.wait_for_everyone()
    raise Failure(
        f"{skipped} steps in a row had a gradient that is not finite, the last one step {x.state.step}: the run stops. "
        f"What it was trained on is in {folder}; the newest checkpoint is from before. A lower learning rate, "
        f"max_grad_norm or mixed_precision=no may help."
    )
