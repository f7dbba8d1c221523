"""How a run begins: where it stood, or at step 0."""

from dataclasses import replace
from typing import Any

import torch
from accelerate.utils import gather_object

from trainer.config.redact import hub_names
from trainer.distributed.ranks import on_main
from trainer.experiment import Experiment
from trainer.images.streaming.dataset import Shards
from trainer.lifecycle.check_folder import check_folder, take_over
from trainer.lifecycle.compare_ranks import check_shared
from trainer.lifecycle.open_images import names_of_old
from trainer.mistakes import Mistake, agreed
from trainer.networks.loading.initial import InitConfig
from trainer.objective import logits_of
from trainer.state import IN_PRETRAINING


def begin(x: Experiment) -> None:
    """Take over the run folder, take up the newest intact checkpoint or fill the pool, and open the records."""
    changes = on_main(x.accelerator, lambda: check_folder(x.config), "checking the run folder")
    step, complaints = on_main(x.accelerator, lambda: take_over(x.config), "verifying the checkpoints")
    check_shared(x.accelerator, x.config)
    for line in (*x.notes, *complaints, *(f"resuming with another setting: {change}" for change in changes)):
        x.telemetry.say(line)
    if step is None:
        x.fill_pool()
    else:
        resume(x, step)
    x.saver.compare_weights()
    rehearse(x)
    on_main(x.accelerator, lambda: x.telemetry.begin(x.state.step), "opening the records")
    x.telemetry.watch.read()
    if x.pusher:
        x.pusher.begin(x.state.step, x.state.best.step if x.state.best else None)
    x.accelerator.wait_for_everyone()
    if x.accelerator.is_main_process:
        opened = x.config if step is None else replace(x.config, init=InitConfig())  # of which nothing was read
        with x.disk.writing(x.folder.starts.name):
            x.folder.begin(x.state.step, x.accelerator.num_processes, hub_names(opened))


def rehearse(x: Experiment) -> None:
    """A forward and a backward pass of each network, on black pictures, where ranks exchange gradients."""
    if x.accelerator.num_processes == 1:
        return
    batch, bands, side = x.batch.per_device, x.config.images.bands, x.config.gt_size
    shown = x.config.gt_size // x.config.scale
    black = torch.zeros(batch, bands, side, side, device=x.accelerator.device)
    x.generator.rehearse(lambda net: net(black[..., :shown, :shown].contiguous()))
    if x.discriminator:
        x.discriminator.rehearse(lambda net: torch.cat(logits_of(net, black, black)))


def resume(x: Experiment, step: int) -> None:
    """Load the checkpoint of `step`, on every rank; Mistake where it is another run's."""
    path = x.saver.checkpoints.path(step)
    wrong: list[str] = []
    try:
        parts = x.saver.checkpoints.load(step)
        check_stream(x, parts["progress"]["stream"])
        x.state.load(parts)
        check_best(x)
    except Mistake as mistake:
        wrong = [str(mistake)]
    except Exception as error:  # whatever torch, safetensors or a part of another shape raises
        wrong = [f"the checkpoint {path} does not fit this run: {error}."]
    if wrong := gather_object(wrong):
        raise agreed(Mistake(wrong[0]))
    x.saver.resumed(step)
    if x.pool is None:
        return
    first = x.pool.first
    rows = x.saver.checkpoints.load_pool(step, first, first + len(x.pool.rows))
    if x.saver.checkpoints.pool_size(step) == x.pool.layout.size and rows is not None:
        x.pool.put(first, rows)
    else:
        x.telemetry.say(
            f"the pool has another size than in {path}: it is filled anew, from position {x.state.stream.position}"
        )
        x.fill_pool()


def check_stream(x: Experiment, saved: dict[str, Any]) -> None:
    """Whether the pictures are those that the run was trained on, wherever they lie now; Mistake, or a sentence, where
    they are not."""
    now, where = x.state.stream, f"images.source: {x.source.where}"
    if saved["pictures"] == now.pictures and "content" not in saved and saved["names"] == names_of_old(x.source):
        x.telemetry.say(
            f"{where} is known to this checkpoint by the names of its pictures alone; sizes count from here on"
        )
        return
    if saved["pictures"] == now.pictures and saved.get("content") == now.content:
        if saved["times"] != now.times:
            told = "other times of change than before, with the same names and sizes: it is taken for the same"
            x.telemetry.say(f"{where} has files with {told}")
        return
    unit = "shards" if isinstance(x.source, Shards) else "pictures"
    if saved["pictures"] != now.pictures:
        count = f"{saved['pictures']} {unit} then, {now.pictures} now"
    elif saved["names"] != now.names:
        count = f"{now.pictures} {unit}, but with other names"
    else:
        count = f"{now.pictures} {unit} of the same names, but other files"
    what = f"{where} is not what this run was trained on ({count})"
    if not x.config.checkpoints.accept_changes:
        raise Mistake(f"{what}. Put it back, or go on with another stream by checkpoints.accept_changes=true.")
    x.telemetry.say(f"{what}: the stream is another one from here on, as accepted.")


def check_best(x: Experiment) -> None:
    """Forget the best so far where its figures do not compare with those to come, and say so."""
    best = x.state.best
    if best is None or x.validator is None or best.measured.removesuffix(IN_PRETRAINING) == x.validator.fingerprint:
        return
    x.telemetry.say(
        "validation: the pictures, or how they are measured, are not those by which the best so far was found "
        f"({best.metric} {best.value:.4f} at step {best.step}): a new best begins"
    )
    x.state.best = None
    for player in x.state.players.values():
        player.forget("validation/")
