"""From a configuration to the parts of a run."""

import os
from dataclasses import asdict
from functools import partial

import torch
from accelerate import Accelerator
from torch import nn

from trainer.base_model import BaseModel
from trainer.building.launcher_environment import check_launcher, notes_on_launcher
from trainer.building.learners import check_optimizers, make_networks, notes_on_statistics
from trainer.building.measure import fetch_metrics
from trainer.building.objective import fetched_losses, imported_losses, make_features
from trainer.checkpoints.run_folder import RunFolder
from trainer.checkpoints.store import Checkpoints
from trainer.config.schema import RunConfig, folder_of
from trainer.config.settings import hyper_parameters
from trainer.distributed.agreement import AsyncScalar, StopConsensus
from trainer.distributed.batch import notes_on_batch
from trainer.distributed.ranks import on_main, once_per_machine
from trainer.experiment import Experiment
from trainer.files.write_policy import Disk
from trainer.images.sources import ImageSource
from trainer.images.streaming.dataset import Shards
from trainer.images.unreadable import UnreadableImages
from trainer.images.validation import ValidationImages
from trainer.lifecycle.check_folder import check_folder, initial_weights
from trainer.lifecycle.fitting_batch import fitting_batch
from trainer.lifecycle.open_everywhere import Proven, open_everywhere, open_when_there
from trainer.lifecycle.open_images import (
    check_machine,
    check_small_source,
    notes_on_images,
    open_images,
    samples_of,
    stream_of,
)
from trainer.lifecycle.publishing import check_token, ensure_repo_or_fail, make_pusher
from trainer.lifecycle.throughput import Throughput
from trainer.mistakes import Mistake, Mistakes, gather, sentences_of
from trainer.models import RealESRGANModel, RealESRNetModel
from trainer.pairs.feed import Feed
from trainer.saving import Saver
from trainer.telemetry.health import Health
from trainer.telemetry.intervals import Intervals
from trainer.telemetry.reporter import Telemetry
from trainer.telemetry.trackers import meet_trackers
from trainer.validation.validator import Validator


def check(config: RunConfig, processes: int, fresh: bool = False) -> list[str]:
    """All that can be wrong before training, found without starting it and told at once.

    Gives sentences on what a resumed run changes, and those with which a run of so many `processes` starts.
    `fresh` is for a run that moves what lies in its folder aside.
    """

    def check_pictures() -> Proven:
        if not fresh:
            return open_when_there(config)
        opened = open_images(config)
        return opened, check_small_source(opened[0])

    def check_networks() -> tuple[nn.Module, list[str]]:
        net, discriminator, loaded = make_networks(config, config.init if fresh else initial_weights(config))
        make_features(config, discriminator)
        return net, loaded

    _, changes, notes, ((source, pictures), bad), (net, loaded), optimizers, shares, *_ = gather(
        lambda: check_launcher(os.environ),
        lambda: check_folder(config, fresh),
        lambda: check_machine(config, processes),
        check_pictures,
        check_networks,
        lambda: check_optimizers(config),
        lambda: notes_on_batch(config.batch, processes),
        lambda: fetch_metrics(config),
        *(partial(loss.fetch, key) for key, loss in fetched_losses(config).items()),
        lambda: imported_losses(config),
        lambda: check_trackers(config),
        lambda: check_token(config, fresh),
    )
    ensure_repo_or_fail(config, fresh)  # nothing is made on the hub for a run that may not begin
    return [
        *(f"resuming with another setting: {change}" for change in changes),
        *notes_on_start(source, pictures, bad, config, processes, torch.cuda.is_available()),
        *notes,
        *shares,
        *loaded,
        *notes_on_statistics(net, processes),
        *optimizers,
    ]


def notes_on_start(
    source: ImageSource | Shards,
    pictures: ValidationImages | None,
    bad: dict[int, str],
    config: RunConfig,
    processes: int,
    on_gpu: bool,
) -> list[str]:
    """Notes on the pictures and the precision, a sentence each."""
    notes = [
        *notes_on_launcher(os.environ, config.mixed_precision),
        *notes_on_images(source, config, processes),
    ]
    notes += [f"validation.source: {note}" for note in (pictures.notes if pictures else ())]
    notes += [f"cannot be read, another picture takes its place: {reason}" for reason in bad.values()]
    if not on_gpu and config.mixed_precision == "bf16" and not torch.cpu._is_avx512_bf16_supported():
        notes.append("mixed_precision: bf16 is many times slower than no on a CPU without instructions for it")
    if not on_gpu and config.mixed_precision == "fp16":
        notes.append("mixed_precision: fp16 on a CPU is for tests; it is many times slower than no")
    return notes


def check_trackers(config: RunConfig) -> None:
    """Check the trackers: Mistake if one is not installed, or is away when a run begins."""
    resumes = bool(Checkpoints(folder_of(config).checkpoints).steps())
    meet_trackers(config.telemetry.trackers, config.telemetry.tracker_options, resumes)


def assemble(
    config: RunConfig,
    accelerator: Accelerator,
    *,
    images: ImageSource | None = None,
    net_g: nn.Module | None = None,
    net_d: nn.Module | None = None,
) -> Experiment:
    """Build the run, with pictures and networks of a program's own if they are given.

    Collective. Raises Mistake, on every rank alike, for anything a person can put right; rank 0, which prints it, with
    all else that is wrong.
    """
    try:
        return _assemble(config, accelerator, images, net_g, net_d)
    except Mistake as first:
        if not accelerator.is_main_process or images is not None or net_g is not None or net_d is not None:
            raise
        raise with_all_others(first, config, accelerator.num_processes) from None


def with_all_others(first: Mistake, config: RunConfig, processes: int) -> Mistake:
    """A Mistake with what else is wrong, as `check` finds it: a person puts it right in one go."""
    try:
        check(config, processes)
    except Mistake as found:
        every = list(dict.fromkeys([*sentences_of(first), *sentences_of(found)]))
        complete = Mistakes(every) if len(every) > 1 else Mistake(every[0])
        complete.everywhere = first.everywhere
        return complete
    return first


def _assemble(
    config: RunConfig,
    accelerator: Accelerator,
    images: ImageSource | None,
    net_g: nn.Module | None,
    net_d: nn.Module | None,
) -> Experiment:
    shares = notes_on_batch(config.batch, accelerator.num_processes)  # before anything that takes long
    if config.batch.per_device == "auto" and (net_g is not None or net_d is not None):
        raise Mistake("batch.per_device: got auto, and a network of the program's own is tried nowhere; give a number.")
    on_main(accelerator, lambda: check_folder(config), "checking the run folder")
    on_main(accelerator, lambda: check_trackers(config), "looking for the trackers")
    (source, pictures), bad = open_everywhere(accelerator, config, images)
    folder = folder_of(config)

    notes = notes_on_start(source, pictures, bad, config, accelerator.num_processes, accelerator.device.type != "cpu")
    notes += once_per_machine(
        accelerator, lambda: check_machine(config, accelerator.num_processes), "looking at its memory"
    )
    init = on_main(accelerator, lambda: initial_weights(config), "verifying the checkpoints")
    build = RealESRGANModel if config.adversarial else RealESRNetModel
    batch, found = fitting_batch(config, accelerator)
    stream = stream_of(source)
    model = build(config, accelerator=accelerator, init=init, stream=stream, net_g=net_g, net_d=net_d, batch=batch)
    _ = model.objective, model.metrics  # whose weights are fetched now, and not at the first step
    model.state.unreadable |= bad.keys()
    unreadable = UnreadableImages(accelerator, source, model.state.unreadable, lambda: model.state.stream.position)
    pusher = make_pusher(config) if accelerator.is_main_process else None
    settings, disk = config.validation, Disk(config.checkpoints.stop_on_error)
    return Experiment(
        config=config,
        accelerator=accelerator,
        folder=folder,
        model=model,
        source=source,
        open_feed=lambda: open_feed(model, source, unreadable),
        saver=Saver(accelerator, folder, config.checkpoints, model.state, model.pool, pusher),
        pusher=pusher,
        control=StopConsensus(folder.path, config.max_hours, disk=disk),
        disk=disk,
        skips=AsyncScalar(),
        telemetry=telemetry_of(model, folder, disk),
        unreadable=unreadable,
        validator=(
            Validator(accelerator, pictures, model.synthesis, settings, model.metrics)
            if settings and pictures
            else None
        ),
        intervals=intervals_of(config),
        notes=notes + shares + found + model.notes,
    )


def open_feed(model: BaseModel, source: ImageSource | Shards, unreadable: UnreadableImages) -> Feed:
    """This rank's training pictures, from where the run stands."""
    accelerator, stream = model.accelerator, model.state.stream
    return Feed(
        samples_of(source, model.config, stream),
        stream,
        model.batch,
        accelerator.process_index,
        unreadable,
        model.stopwatch,
        pin_memory=accelerator.device.type == "cuda",
    )


def intervals_of(config: RunConfig) -> Intervals:
    """The intervals of reports, validations and checkpoints."""
    return Intervals(
        report=config.telemetry.report_steps,
        validate=config.validation.validation_steps if config.validation else None,
        checkpoint=config.checkpoints.checkpointing_steps,
        last=config.max_train_steps,
    )


def telemetry_of(model: BaseModel, folder: RunFolder, disk: Disk) -> Telemetry:
    """The reports of a run."""
    config = model.config
    return Telemetry(
        model.accelerator,
        folder,
        config.telemetry,
        model.stopwatch,
        model.batch.global_size,
        config.max_train_steps,
        health_of(config),
        disk,
        hyper_parameters(asdict(config)),
        Throughput(model),
    )


def health_of(config: RunConfig) -> Health:
    """The health monitor for this run's metrics."""
    adversarial, settled = config.adversarial, max(config.lr_scheduler.lr_warmup_steps, config.ema.settled())
    if adversarial is None:
        return Health(real_label=None, settled=settled)
    settled = max(settled, adversarial.g_pretrain_steps)
    label = 1 - adversarial.loss.label_smoothing if adversarial.loss.probabilistic else None
    return Health(real_label=label, settled=settled)
