"""From a configuration to the parts of a run: with `makers`, the only place where things are constructed."""

import torch
from accelerate import Accelerator

from trainer.adversarial.adaptive_d import AdaptiveD
from trainer.checkpoints.store import Checkpoints
from trainer.config.schema import RunConfig, folder_of
from trainer.distributed.agreement import AsyncScalar, StopConsensus
from trainer.distributed.batch import plan_batch
from trainer.distributed.ranks import on_main, once_per_machine
from trainer.experiment import Experiment
from trainer.files.write_policy import Disk
from trainer.images.sources import ImageSource
from trainer.images.streaming.dataset import Shards
from trainer.images.unreadable import UnreadableImages
from trainer.images.validation import ValidationImages
from trainer.lifecycle.build import (
    health_of,
    make_networks,
    make_objective,
    make_players,
    make_pool,
    make_synthesis,
    notes_on_statistics,
)
from trainer.lifecycle.check_folder import check_folder, initial_weights
from trainer.lifecycle.open_everywhere import Proven, open_everywhere, open_when_there
from trainer.lifecycle.open_images import check_machine, notes_on_images, open_images, prove, samples_of, stream_of
from trainer.lifecycle.publishing import ensure_repo_or_fail, make_pusher
from trainer.mistakes import gather
from trainer.optim.compiling import COST, check_compiler, compile_in_place
from trainer.optim.ema import smoothed
from trainer.optim.lr_plateau import Plateau
from trainer.optim.plateau_metrics import Watched
from trainer.saving import Saver
from trainer.state import TrainState
from trainer.telemetry.intervals import Intervals
from trainer.telemetry.reporter import Telemetry
from trainer.telemetry.trackers import meet_trackers
from trainer.validation.validator import Validator


def check(config: RunConfig, processes: int, fresh: bool = False) -> list[str]:
    """All that can be wrong before training, found without starting it and told at once.

    Gives sentences on what a resumed run changes, and those with which a run of so many `processes` starts.
    `fresh` is for a run that moves what lies in its folder aside.
    """
    perceptual = config.losses.perceptual

    def check_places() -> list[str]:
        changes = check_folder(config, fresh)
        check_trackers(config)
        ensure_repo_or_fail(config, fresh)  # nothing is made on the hub for a run that may not begin
        return changes

    def check_pictures() -> Proven:
        if not fresh:
            return open_when_there(config)
        opened = open_images(config)
        return opened, prove(opened[0])

    changes, notes, ((source, pictures), bad), (net, _, loaded), *_ = gather(
        check_places,
        lambda: check_machine(config, processes),
        check_pictures,
        lambda: make_networks(config, config.init if fresh else initial_weights(config)),
        lambda: plan_batch(config.batch, processes),
        lambda: perceptual.fetch("losses.perceptual") if perceptual else None,
    )
    return [
        *(f"resuming with another setting: {change}" for change in changes),
        *notes_on_start(source, pictures, bad, config, processes, torch.cuda.is_available()),
        *notes,
        *loaded,
        *notes_on_statistics(net, processes),
    ]


def notes_on_start(
    source: ImageSource | Shards,
    pictures: ValidationImages | None,
    bad: dict[int, str],
    config: RunConfig,
    processes: int,
    on_gpu: bool,
) -> list[str]:
    """What a person should know of the pictures and the precision, a sentence each."""
    notes = notes_on_images(source, config, processes)
    notes += [f"validation.source: {note}" for note in (pictures.notes if pictures else ())]
    notes += [f"cannot be read, another picture takes its place: {reason}" for reason in bad.values()]
    if not on_gpu and config.mixed_precision == "bf16":
        notes.append("mixed_precision: bf16 is many times slower than no on a CPU without instructions for it")
    if not on_gpu and config.mixed_precision == "fp16":
        notes.append("mixed_precision: fp16 on a CPU is for tests; it is many times slower than no")
    return notes


def check_trackers(config: RunConfig) -> None:
    """Whether the trackers can be had: Mistake where one is not installed, or is away when a run begins."""
    resumes = bool(Checkpoints(folder_of(config).checkpoints).steps())
    meet_trackers(config.telemetry.trackers, config.telemetry.tracker_options, resumes)


def assemble(config: RunConfig, accelerator: Accelerator) -> Experiment:
    """Build the run. Raises Mistake, on every rank alike, for anything a person can put right."""
    batch = plan_batch(config.batch, accelerator.num_processes)
    on_main(accelerator, lambda: check_folder(config), "checking the run folder")
    on_main(accelerator, lambda: check_trackers(config), "looking for the trackers")
    (source, pictures), bad = open_everywhere(accelerator, config)
    folder = folder_of(config)
    set_numerics(config)

    notes = notes_on_start(source, pictures, bad, config, accelerator.num_processes, accelerator.device.type != "cpu")
    notes += once_per_machine(
        accelerator, lambda: check_machine(config, accelerator.num_processes), "looking at its memory"
    )
    generator, discriminator, loaded = make_players(config, accelerator)
    state = TrainState(generator, discriminator, smoothed(generator.net, config.ema), stream_of(source))
    state.unreadable |= bad.keys()
    if config.adversarial and config.adversarial.adaptive_d:
        state.restraint = AdaptiveD(accelerator, config.adversarial.adaptive_d)
    if watched := [player.schedule.metric for player in state.players.values() if isinstance(player.schedule, Plateau)]:
        state.watched = Watched(accelerator, [*watched, "discriminator/paused"])
    if config.compile:
        on_main(accelerator, lambda: check_compiler(accelerator.device), "trying the compiler")
        notes.append(COST)
        for player in state.players.values():
            compile_in_place(player.net)
    synthesis = make_synthesis(config, accelerator)
    pool = make_pool(config, batch, accelerator)
    pusher = make_pusher(config) if accelerator.is_main_process else None
    settings, disk = config.validation, Disk(config.checkpoints.stop_on_error)
    last = config.max_train_steps
    return Experiment(
        config=config,
        accelerator=accelerator,
        folder=folder,
        batch=batch,
        source=source,
        samples=lambda: samples_of(source, config, state.stream),
        synthesis=synthesis,
        objective=make_objective(config, accelerator),
        generator=generator,
        discriminator=discriminator,
        state=state,
        pool=pool,
        saver=Saver(accelerator, folder, config.checkpoints, state, pool, pusher),
        pusher=pusher,
        control=StopConsensus(folder.path, config.max_hours, disk=disk),
        disk=disk,
        skips=AsyncScalar(),
        telemetry=Telemetry(accelerator, folder, config.telemetry, batch.global_size, last, health_of(config), disk),
        unreadable=UnreadableImages(accelerator, source, state.unreadable, lambda: state.stream.position),
        validator=Validator(accelerator, pictures, synthesis, settings) if settings and pictures else None,
        cadence=Intervals(
            report=config.telemetry.report_steps,
            validate=settings.validation_steps if settings else None,
            checkpoint=config.checkpoints.checkpointing_steps,
            last=last,
        ),
        notes=notes + loaded,
    )


def set_numerics(config: RunConfig) -> None:
    """TensorFloat-32 as configured; deterministic convolutions, or a resumed run would be another run."""
    torch.set_float32_matmul_precision("high" if config.allow_tf32 else "highest")
    torch.backends.cudnn.allow_tf32 = config.allow_tf32
    torch.backends.cudnn.deterministic = True
