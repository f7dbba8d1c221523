"""The training loop. Nothing here knows which network, loss or degradation is in use."""

from functools import partial

import torch
from torch import Tensor

from trainer.checkpoints.names import step_name
from trainer.distributed.agreement import Decision
from trainer.distributed.ranks import START_GRACE
from trainer.distributed.waiting import EXCHANGE_GRACE, SLOW_GRACE, WATCH, GivenUp
from trainer.experiment import Experiment
from trainer.lifecycle.banner import banner
from trainer.lifecycle.finish import dump, end, saved_first
from trainer.lifecycle.start import begin
from trainer.mistakes import Mistake
from trainer.pairs.digest import digest
from trainer.pairs.feed import Feed
from trainer.state import IN_PRETRAINING, Best
from trainer.telemetry.intervals import Due
from trainer.telemetry.quality import better
from trainer.validation.sample_sheet import save_png
from trainer.validation.validator import Validated
from trainer.validation.views import Views, prune_views, save_views


def fit(run: Experiment) -> None:
    """Train to the last step or to a stop that all ranks agree on; the newest checkpoint is complete at all times."""
    model, state = run.model, run.state
    with WATCH.phase("beginning", grace=START_GRACE):
        begin(run)
    run.telemetry.say(banner(run))
    feed = run.open_feed()
    decision = agree(run, feed)
    while state.step < run.config.max_train_steps:
        if decision.stop:
            break
        with WATCH.phase("taking a step", lambda: f"step {state.step + 1}", grace=EXCHANGE_GRACE):
            for pictures in feed.take_step():
                model.feed_data(pictures)
            if run.config.telemetry.digest:
                run.telemetry.add_digest(torch.stack([digest(pairs) for pairs in model.fed]).sum())
            due = run.intervals.due(state.step + 1)
            # rates, the generator's step, the discriminator's, and model.state.ema.update(): see models.py
            report = model.optimize_parameters(state.step + 1, measure_update=due.report)
        # A GPU's host waits here, in a report: for its own device, and so for those of the other ranks.
        with WATCH.phase("ending a step", lambda: f"step {state.step}", grace=EXCHANGE_GRACE):
            run.telemetry.add(report)
            decision = conclude(run, due, agree(run, feed))
    with WATCH.phase("ending the run", grace=SLOW_GRACE):
        end(run, decision.stop)


def agree(run: Experiment, feed: Feed) -> Decision:
    """Read the pictures of the coming step; agree whether every rank has its own and none is to stop. Collective."""
    if run.state.step < run.config.max_train_steps:
        try:
            feed.read_step()
        except (GivenUp, Mistake) as absent:
            run.control.data_error = absent
    return run.control.agree(run.skips.read(run.state.diverging()))


def conclude(run: Experiment, due: Due, decision: Decision) -> Decision:
    """Report, validate and save if that is due after a step; Failure, with a dump, if the run diverges."""
    state, telemetry = run.state, run.telemetry
    reports = due.report or bool(decision.stop)
    if reports:
        telemetry.report(state.step, state.rates())
        run.saver.poll()
    improved = due.validate and validate(run)
    telemetry.publish(state.step)
    if decision.skipped >= run.config.max_skipped:
        # what the ranks agreed on may be some steps old
        dump(run, max(decision.skipped, int(state.diverging())))
    if reports:
        with saved_first(run):
            run.unreadable.agree(telemetry.say)
    # A save that was put off falls on a report too: what is summed up for one is in no checkpoint.
    if (due.report and run.saver.due(due.checkpoint or improved)) or decision.stop:
        with telemetry.stopwatch.host("checkpoint"), WATCH.phase("saving", grace=SLOW_GRACE):
            run.saver.save()
    return decision


def validate(run: Experiment) -> bool:
    """Measure the averaged generator, show it, and step the plateaus; True if it is to be kept as the best so far."""
    assert run.validator is not None, "validation is due without anything to validate on"
    with run.telemetry.stopwatch.host("validation"), WATCH.phase("validating", grace=SLOW_GRACE):
        outcome = run.validator(
            run.state.ema.ema_model,
            run.state.step,
            save_result=partial(keep_result, run),
            save_views=partial(keep_views, run),
        )
    pictures = {} if outcome.sheet is None else {"validation/samples": outcome.sheet}
    if outcome.sheet is not None:
        with run.disk.writing("the sheet of samples"):
            save_png(outcome.sheet, run.folder.samples / f"{step_name(run.state.step)}.png")
    for why in outcome.drawing_errors:
        run.telemetry.say_once(f"a strip of the sheet of samples cannot be drawn: {why}; training goes on without it.")
    for note in outcome.notes:
        run.telemetry.say_once(note)
    run.telemetry.note(outcome.metrics, pictures, outcome.strips)
    run.model.step_plateaus(outcome.metrics)
    improved = is_best(run, outcome)
    if run.accelerator.is_main_process:
        with run.disk.writing("the views of a validation"):
            prune_views(run.folder.views, [run.state.step, *(best.step for best in run.state.bests)])
    return improved


def is_best(run: Experiment, outcome: Validated) -> bool:
    """Note a validation that is the best so far by any figure that is asked for; True if its save is to be kept."""
    assert run.validator is not None
    state, pretrain = run.state, run.model.phase(run.state.step - 1).pretrain
    main = run.validator.config.best_by(adversarial=run.config.adversarial is not None and not pretrain)
    found = {name: new for name in asked_for(run, main) if (new := improved_by(run, name, outcome, pretrain))}
    if not found or run.saver.skipping():  # which is not saved, see `due`
        return False
    if main in found:
        state.best = found.pop(main)
        state.other_bests.pop(main, None)
    state.other_bests |= found
    return bool(run.config.checkpoints.keep_best)


def asked_for(run: Experiment, main: str | None) -> list[str]:
    """The figures whose best is noted, `main` first."""
    return list(dict.fromkeys([*([main] if main else []), *run.config.checkpoints.kept_figures]))


def improved_by(run: Experiment, name: str, outcome: Validated, pretrain: bool) -> Best | None:
    """A validation as the best by a figure; None if there was a better one, measured in the same way and phase."""
    assert run.validator is not None
    measured = run.validator.fingerprint(name) + (IN_PRETRAINING if pretrain else "")
    value = outcome.metrics[f"validation/{name}"]
    same = [best.value for best in run.state.bests if best.metric == name and best.measured == measured]
    if not better(value, same[0] if same else None, run.validator.config.figures[name]):
        return None
    return Best(name, value, run.state.step, measured)


def keep_result(run: Experiment, name: str, picture: Tensor) -> None:
    """Save the result of a validation, uint8 [3, H, W], under its relative name: on the rank that made it."""
    folder = run.folder.samples / step_name(run.state.step)
    with run.disk.writing("the results of a validation"):
        save_png(picture, folder / f"{name}.png")


def keep_views(run: Experiment, views: Views) -> None:
    """Save the views of a validation picture for the page of the run: on the rank that made them."""
    with run.disk.writing("the views of a validation"):
        save_views(views, run.folder.views, run.state.step)
