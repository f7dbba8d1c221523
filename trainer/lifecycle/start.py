"""The start of a run: at its newest checkpoint, or at step 0."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import Tensor

from trainer.config.redact import hub_names
from trainer.distributed.ranks import on_main
from trainer.distributed.waiting import WATCH
from trainer.experiment import Experiment
from trainer.images.crops import ImageBatch
from trainer.images.streaming.dataset import Shards
from trainer.lifecycle.check_folder import check_folder, take_over
from trainer.lifecycle.compare_ranks import check_shared
from trainer.lifecycle.fitting_batch import found_batch
from trainer.lifecycle.open_images import names_of_old
from trainer.memory import is_shortage
from trainer.mistakes import Mistake, agreed
from trainer.networks.loading.initial import InitConfig
from trainer.objective import logits_of
from trainer.state import IN_PRETRAINING, Best


def begin(run: Experiment) -> None:
    """Take over the run folder, take up the newest intact checkpoint or fill the pool, and open the records."""
    changes = on_main(run.accelerator, lambda: check_folder(run.config), "checking the run folder")
    step, complaints = on_main(run.accelerator, lambda: take_over(run.config), "verifying the checkpoints")
    check_shared(run.accelerator, run.config)
    for line in (*run.notes, *complaints, *(f"resuming with another setting: {change}" for change in changes)):
        run.telemetry.say(line)
    if step is None:
        fill_pool(run)
    else:
        resume(run, step)
    run.saver.compare_weights()
    warm_up_ddp(run)
    on_main(run.accelerator, lambda: run.telemetry.begin(run.state.step), "opening the records")
    run.telemetry.stopwatch.read()
    if run.pusher:
        run.pusher.begin(run.state.step, run.state.best.step if run.state.best else None)
    run.accelerator.wait_for_everyone()
    if run.accelerator.is_main_process:
        opened = run.config if step is None else replace(run.config, init=InitConfig())  # of which nothing was read
        with run.disk.writing(run.folder.starts.name):
            run.folder.begin(run.state.step, run.accelerator.num_processes, hub_names(opened), **found_batch(run))


def fill_pool(run: Experiment) -> None:
    """Make the pairs that lie in the pool before the first step: slot s gets the s-th coming position."""
    if (pool := run.model.pool) is None:
        return
    first = run.state.stream.position + pool.first
    batches = run.open_feed().at(range(first, first + len(pool.rows)))
    with WATCH.phase("filling the pool", lambda: f"of {len(pool.rows)} pairs"):
        run.model.fill_pool(until_asked(batches))


def until_asked(batches: Iterable[ImageBatch]) -> Iterator[ImageBatch]:
    """The batches; Stopped, between two of them, if the run is asked to stop."""
    for batch in batches:
        WATCH.raise_if_asked()
        yield batch


def warm_up_ddp(run: Experiment) -> None:
    """A forward and a backward pass of each network, on black pictures, where ranks exchange gradients."""
    if run.accelerator.num_processes == 1:
        return
    batch, bands, side = run.model.batch.per_device, run.config.images.bands, run.config.gt_size
    shown = run.config.gt_size // run.config.scale
    black = torch.zeros(batch, bands, side, side, device=run.accelerator.device)
    run.model.generator.warm_up_ddp(lambda net: net(black[..., :shown, :shown].contiguous()))
    if run.model.discriminator:
        run.model.discriminator.warm_up_ddp(lambda net: torch.cat(logits_of(net, black, black)))


def resume(run: Experiment, step: int) -> None:
    """Load the checkpoint of `step`, on every rank; Mistake where it is another run's."""
    path = run.saver.checkpoints.path(step)
    wrong: list[str] = []
    try:
        parts = run.saver.checkpoints.load(step)
        check_stream(run, parts["progress"]["stream"])
        run.state.load(parts)
        check_best(run)
    except Mistake as mistake:
        wrong = [str(mistake)]
    except Exception as error:  # whatever torch, safetensors or a part of another shape raises
        if is_shortage(error):
            raise
        wrong = [f"the checkpoint {path} does not fit this run: {error}."]
    if wrong := gather_object(wrong):
        raise agreed(Mistake(wrong[0]))
    run.saver.resumed(step)
    if (pool := run.model.pool) is None:
        return
    rows: Tensor | None = pool.rows  # none, where there are more ranks than slots and this one owns none
    if len(pool.rows):
        rows = run.saver.checkpoints.load_pool(step, pool.first, pool.first + len(pool.rows))
    if run.saver.checkpoints.pool_size(step) == pool.layout.size and rows is not None:
        pool.put(pool.first, rows)
    else:
        run.telemetry.say(
            f"the pool has another size than in {path}: it is filled anew, from position {run.state.stream.position}"
        )
        fill_pool(run)


def check_stream(run: Experiment, saved: dict[str, Any]) -> None:
    """Compare the pictures with those that the run was trained on, wherever they lie now.

    Raises Mistake if they differ, or says so where `checkpoints.accept_changes` is true.
    """
    now, where = run.state.stream, f"images.source: {run.source.where}"
    if saved["pictures"] == now.pictures and "content" not in saved and saved["names"] == names_of_old(run.source):
        run.telemetry.say(
            f"{where} is known to this checkpoint by the names of its pictures alone; sizes count from here on"
        )
        return
    if saved["pictures"] == now.pictures and saved.get("content") == now.content:
        if saved["times"] != now.times:
            told = "other times of change than before, with the same names and sizes: it is taken for the same"
            run.telemetry.say(f"{where} has files with {told}")
        return
    unit = "shards" if isinstance(run.source, Shards) else "pictures"
    if saved["pictures"] != now.pictures:
        count = f"{saved['pictures']} {unit} then, {now.pictures} now"
    elif saved["names"] != now.names:
        count = f"{now.pictures} {unit}, but with other names"
    else:
        count = f"{now.pictures} {unit} of the same names, but other files"
    what = f"{where} is not what this run was trained on ({count})"
    if not run.config.checkpoints.accept_changes:
        raise Mistake(f"{what}. Put it back, or go on with another stream by checkpoints.accept_changes=true.")
    run.telemetry.say(f"{what}: the stream is another one from here on, as accepted.")


def check_best(run: Experiment) -> None:
    """Forget each best so far whose figure does not compare with those to come, and say so of the main one."""
    state, validator = run.state, run.validator
    if validator is None:
        return
    kept = run.config.checkpoints.kept_figures
    others = {name: best for name, best in state.other_bests.items() if is_comparable(run, best)}
    state.other_bests = {name: best for name, best in others.items() if name in kept}
    if (best := state.best) is None:
        return
    so_far = f"({best.metric} {best.value:.4f} at step {best.step})"
    if not is_comparable(run, best):
        run.telemetry.say(
            "validation: the pictures, or how they are measured, are not those by which the best so far was found "
            f"{so_far}: a new best begins"
        )
        state.best = None
        for learner in state.learners.values():
            learner.forget("validation/")
        return
    adversarial = run.config.adversarial is not None and not best.measured.endswith(IN_PRETRAINING)
    if (now := validator.config.best_by(adversarial)) == best.metric:
        return
    state.best = others.get(now) if now else None
    if best.metric in kept:
        state.other_bests[best.metric] = best
    state.other_bests.pop(now or "", None)
    goes_on = f"that so far is of step {state.best.step}" if state.best else "a new best begins"
    run.telemetry.say(f"validation.best_metric: the best is chosen by {now}, not as before {so_far}: {goes_on}")


def is_comparable(run: Experiment, best: Best) -> bool:
    """True if validations to come measure the figure of a best as it was measured."""
    assert run.validator is not None
    known = best.metric in run.validator.config.figures
    return known and best.measured.removesuffix(IN_PRETRAINING) == run.validator.fingerprint(best.metric)
