"""The training loop. Nothing here knows which network, loss or degradation is in use."""

import math
from functools import partial

from torch import Tensor

from trainer.distributed.agreement import Decision
from trainer.distributed.ranks import GRACE
from trainer.distributed.waiting import HANGS, SLOW, WATCH, GivenUp
from trainer.experiment import Experiment
from trainer.lifecycle.banner import banner
from trainer.lifecycle.finish import dump, end, saved_first
from trainer.lifecycle.start import begin
from trainer.mistakes import Mistake
from trainer.pairs.feed import Feed
from trainer.state import IN_PRETRAINING, Best
from trainer.steps import Report, train_step
from trainer.validation.sample_sheet import save_png
from trainer.validation.validator import better


def fit(x: Experiment) -> None:
    """Train to the last step or to a stop that all ranks agree on; the newest checkpoint is complete at all times."""
    with WATCH.phase("beginning", grace=GRACE):
        begin(x)
    x.telemetry.say(banner(x))
    pairs = x.pairs()
    verdict = agree(x, pairs)
    while x.state.step < x.config.max_train_steps:
        if verdict.stop:
            break
        for player in x.state.players.values():
            player.set_rate(x.state.step, x.config.max_train_steps)
        with WATCH.phase("taking a step", lambda: f"step {x.state.step + 1}", grace=HANGS):
            report = train_step(x, pairs)
        # A GPU's host waits here, in a report: for its own device, and so for those of the other ranks.
        with WATCH.phase("ending a step", lambda: f"step {x.state.step}", grace=HANGS):
            verdict = conclude(x, report, pairs)
    with WATCH.phase("ending the run", grace=SLOW):
        end(x, verdict.stop)


def agree(x: Experiment, pairs: Feed) -> Decision:
    """Read the pictures of the coming step, and hear whether every rank has its own and none is to stop. Collective."""
    if x.state.step < x.config.max_train_steps:
        try:
            pairs.read_step()
        except (GivenUp, Mistake) as absent:
            x.control.absent = absent
    return x.control.agree(x.skips.read(x.state.diverging()))


def conclude(x: Experiment, report: Report, pairs: Feed) -> Decision:
    """All that follows a step, of which `report` tells; what the ranks agree on."""
    x.telemetry.add(report)
    x.keep_watched(report)
    x.state.advance(x.batch.global_size)
    due = x.cadence.at(x.state.step)
    verdict = agree(x, pairs)
    if due.report or verdict.stop:
        x.telemetry.report(x.state.step, x.state.rates())
        x.saver.look()
    improved = due.validate and validate(x)
    x.telemetry.publish(x.state.step)
    if verdict.skipped >= x.config.max_skipped:
        assert pairs.last is not None, "a step was skipped before any pair was made"
        skipped = max(verdict.skipped, int(x.state.diverging()))  # what the ranks agreed on may be some steps old
        dump(x, skipped, pairs.last)
    if due.report or verdict.stop:
        with saved_first(x):
            x.unreadable.agree(x.telemetry.say)
    # A save that was put off falls on a report too: what is summed up for one is in no checkpoint.
    if (due.report and x.saver.due(due.checkpoint or improved)) or verdict.stop:
        with x.telemetry.watch.host("checkpoint"), WATCH.phase("saving", grace=SLOW):
            x.saver.save()
    return verdict


def validate(x: Experiment) -> bool:
    """Measure the smoothed generator, show it, and say whether it is to be kept as the best so far."""
    assert x.validator is not None, "validation is due without anything to validate on"
    with x.telemetry.watch.host("validation"), WATCH.phase("validating", grace=SLOW):
        outcome = x.validator(x.state.ema.ema_model, x.state.step, save_result=partial(keep_result, x))
    pictures = {} if outcome.sheet is None else {"validation/samples": outcome.sheet}
    if outcome.sheet is not None:
        with x.disk.writing("the sheet of samples"):
            save_png(outcome.sheet, x.folder.samples / f"step-{x.state.step:08d}.png")
    for why in outcome.drawing_errors:
        x.telemetry.say_once(f"a strip of the sheet of samples cannot be drawn: {why}; training goes on without it.")
    x.telemetry.note(outcome.metrics, pictures)
    x.watch_plateaus(outcome.metrics)
    metric, measured = x.validator.config.best_by, x.validator.fingerprint
    if metric is None:
        return False
    if x.phase(x.state.step - 1).pretrain:
        measured += IN_PRETRAINING
    value = outcome.metrics[f"validation/{metric}"]
    best = x.state.best if x.state.best and x.state.best.measured == measured else None  # else begun with another
    if not better(value, best.value if best else -math.inf) or x.saver.skipping():  # which is not saved, see `due`
        return False
    x.state.best = Best(metric, value, x.state.step, measured)
    return x.config.checkpoints.keep_best


def keep_result(x: Experiment, name: str, picture: Tensor) -> None:
    """Save the result of a validation, uint8 [3, H, W], under its relative name: on the rank that made it."""
    folder = x.folder.samples / f"step-{x.state.step:08d}"
    with x.disk.writing("the results of a validation"):
        save_png(picture, folder / f"{name}.png")
