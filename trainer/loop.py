"""The training loop. Nothing here knows which network, loss or degradation is in use."""

from trainer.assemble import Experiment, on_main
from trainer.banner import banner
from trainer.claim import open_folder
from trainer.export import export
from trainer.mistakes import Mistake
from trainer.state import Best
from trainer.steps import reconstruct
from trainer.strips import save_png
from trainer.validate import better


def fit(x: Experiment) -> None:
    """Train to the last step; at every moment the newest checkpoint on disk is complete."""
    on_main(x.accelerator, lambda: open_folder(x.config))
    resume(x)
    x.telemetry.begin(x.state.step)
    x.telemetry.say(banner(x))
    pairs = x.pairs(x.state.step)
    while x.state.step < x.config.max_train_steps:
        x.generator.set_rate(x.rate(x.state.step))
        x.telemetry.add(reconstruct(x, pairs))
        x.state.advance()
        due = x.cadence.at(x.state.step)
        if due.report:
            x.telemetry.report(x.state.step, x.generator.learning_rate)
            x.unreadable.agree(x.telemetry.say)
        improved = due.validate and validate(x)
        x.telemetry.publish(x.state.step)
        if due.checkpoint or improved:
            save(x)
    finish(x)


def resume(x: Experiment) -> None:
    """Take up the newest intact checkpoint; without one the run stays at step 0."""
    step, complaints = on_main(x.accelerator, x.checkpoints.newest)
    for complaint in complaints:
        x.telemetry.say(complaint)
    if step is None:
        return
    try:
        x.state.load(x.checkpoints.load(step))
    except (ValueError, KeyError, RuntimeError) as error:
        raise Mistake(f"the checkpoint {x.checkpoints.path(step)} does not fit this run: {error}.") from error


def validate(x: Experiment) -> bool:
    """Measure the smoothed generator, show it, and say whether it is to be kept as the best so far."""
    assert x.validator is not None, "validation is due without anything to validate on"
    with x.telemetry.watch.host("validation"):
        outcome = x.validator(x.state.ema.ema_model, x.state.step)
    pictures = {} if outcome.sheet is None else {"validation/samples": outcome.sheet}
    if outcome.sheet is not None:
        save_png(outcome.sheet, x.folder.samples / f"step-{x.state.step:08d}.png")
    x.telemetry.note(outcome.figures, pictures)
    metric = x.validator.config.best_metric
    value = outcome.figures[f"validation/{metric}"]
    if not better(value, x.state.best.value if x.state.best else None):
        return False
    x.state.best = Best(metric, value, x.state.step)
    return x.config.checkpoints.keep_best


def save(x: Experiment) -> None:
    """Checkpoint, export, then prune; on disk nothing is ever half there."""
    settings = x.config.checkpoints
    with x.telemetry.watch.host("checkpoint"):
        if x.accelerator.is_main_process:
            x.checkpoints.save(x.state.step, x.state.parts())
            export(x.state.ema.ema_model, x.folder.export)
            best = [x.state.best.step] if x.state.best and settings.keep_best else []
            x.checkpoints.prune(settings.checkpoints_total_limit, spare=best)
        x.accelerator.wait_for_everyone()


def finish(x: Experiment) -> None:
    """Mark the run as done and say where the results are."""
    if x.accelerator.is_main_process:
        x.folder.finish(x.state.step)
    best = x.state.best
    said = f"; best {best.metric} {best.value:.4f} at step {best.step}" if best else ""
    x.telemetry.say(f"done at step {x.state.step}{said}. Generator: {x.folder.export}. Pictures: {x.folder.samples}.")
    x.telemetry.end()
