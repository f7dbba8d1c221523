"""What takes some making, for `assemble` alone: networks and who trains them, the objective, pairs, the pool."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from degradations import eligible
from degradations.fused import dispatch, switch
from trainer.config.schema import RunConfig
from trainer.distributed.batch import BatchPlan
from trainer.distributed.comparison import same_everywhere
from trainer.distributed.ranks import GRACE, meet, on_main, once_per_machine
from trainer.distributed.waiting import WATCH
from trainer.lifecycle.check_folder import initial_weights
from trainer.lifecycle.compare_ranks import facts_of
from trainer.mistakes import Failure, Mistake
from trainer.networks import Discriminator, Generator
from trainer.networks.keyed_rng import uses_randomness
from trainer.networks.loading.initial import InitConfig, load_weights
from trainer.objective import Objective
from trainer.optim.learner import Learner
from trainer.pairs.pool import Layout, PairShape, Pool
from trainer.pairs.synthesis import Synthesis
from trainer.telemetry.health import Health


def make_networks(config: RunConfig, init: InitConfig) -> tuple[Generator, Discriminator | None, list[str]]:
    """Both networks, and sentences on each that does not start from random weights but from those of `init`."""
    torch.manual_seed(config.seed)  # initial weights
    game, loaded = config.adversarial, []
    with _buildable("generator"):
        net = config.generator.build(config.scale, bands=config.images.bands)
    if origin := init.generator:
        loaded += load_weights(net, origin, "init.generator", partial=init.partial)
    if game is None:
        return net, None, loaded
    with _buildable("adversarial.discriminator"):
        critic = game.discriminator.build(config.gt_size, bands=config.images.bands)
    if origin := init.discriminator:
        loaded += load_weights(critic, origin, "init.discriminator", "discriminator", partial=init.partial)
    return net, critic, loaded


def make_players(config: RunConfig, accelerator: Accelerator) -> tuple[Learner, Learner | None, list[str]]:
    """The networks with their optimizers, and sentences on how they begin and what to know of them."""
    init = on_main(accelerator, lambda: initial_weights(config), "verifying the checkpoints")
    net, critic, loaded = make_networks(config, init)
    facts = facts_of("generator", net, weights=bool(init.generator) and not init.partial)
    if critic is not None:
        facts |= facts_of("adversarial.discriminator", critic, bool(init.discriminator) and not init.partial)
    same_everywhere(accelerator, facts, "every machine needs the same networks and weights.", grace=GRACE)
    loaded += notes_on_statistics(net, accelerator.num_processes)
    loaded += [
        f"{key}: it draws while it learns (Dropout and the like), once for each micro-batch: the result depends on "
        f"batch.per_device, though not on the number of processes"
        for key, part in (("generator", net), ("adversarial.discriminator", critic))
        if part is not None and uses_randomness(part)
    ]
    generator, game = Learner(accelerator, net, config.optimizer, config.lr_scheduler), config.adversarial
    if critic is None or game is None:
        return generator, None, loaded
    return generator, Learner(accelerator, critic, game.optimizer, game.lr_scheduler), loaded


def notes_on_statistics(net: nn.Module, processes: int) -> list[str]:
    """A sentence on a generator whose evaluation is not the same on all of several processes."""
    if processes == 1 or not any(
        isinstance(layer, _BatchNorm) and layer.running_mean is not None for layer in net.modules()
    ):
        return []
    return [
        "generator: its BatchNorms keep running statistics of each process's own pictures; those of process 0 are "
        "saved, and the result depends on the number of processes"
    ]


@contextmanager
def _buildable(key: str) -> Iterator[None]:
    """Turn what a network says against its settings into a Mistake under their key."""
    try:
        yield
    except ValueError as error:
        raise Mistake(f"{key}: {error}.") from error


def make_objective(config: RunConfig, accelerator: Accelerator) -> Objective:
    """The losses, with the networks that some need; their weights are fetched once on each machine and read by all."""
    settings, game, perceptual = config.losses.perceptual, config.adversarial, None
    if settings:
        once_per_machine(
            accelerator, lambda: settings.fetch("losses.perceptual"), "fetching the weights of losses.perceptual"
        )
        perceptual = settings.build("losses.perceptual").to(accelerator.device).eval().requires_grad_(False)
        facts = facts_of("losses.perceptual", perceptual, weights=True)
        same_everywhere(accelerator, facts, "every machine needs the same weights.", grace=GRACE)
    if game is None:
        return Objective(config.losses, perceptual)
    return Objective(config.losses, perceptual, game.loss, game.pretrain_objective == "l1")


def health_of(config: RunConfig) -> Health:
    """What the run's figures are judged by."""
    game, settled = config.adversarial, config.lr_scheduler.lr_warmup_steps
    if game is None:
        return Health(real_label=None, settled=settled)
    settled = max(settled, game.g_pretrain_steps)
    label = 1 - game.loss.label_smoothing if game.loss.probabilistic else None
    return Health(real_label=label, settled=settled)


def picture_type(config: RunConfig) -> torch.dtype:
    """Of the pixels that are trained on."""
    return torch.uint16 if config.images.radiometry else torch.uint8


def make_synthesis(config: RunConfig, accelerator: Accelerator) -> Synthesis:
    """How pairs are made, on all ranks by the same path: by another one they would differ by rounding.

    Raises:
        Failure: if the fused kernels are a fault on one rank.
    """
    synthesis = Synthesis(
        config.degradation, config.seed, config.scale, config.gt_size, config.gt_usm, config.degrade_gt_usm
    )
    if config.images.source or config.validation:
        agree_on_path(accelerator, lambda: tried_path(config, synthesis, accelerator.device))
    return synthesis


def path(config: RunConfig, device: torch.device) -> str:
    """What degrades the pictures of this run on `device`, and why, in words."""
    return eligible.describe_path(config.degradation, picture_type(config), device, config.images.bands)


def tried_path(config: RunConfig, synthesis: Synthesis, device: torch.device) -> str:
    """`path`, once that has made a pair: crops of this run may need forms of kernels that a trial does without."""
    if path(config, device) == eligible.WHOLE:
        side, position = config.images.crop_size, torch.zeros(1, dtype=torch.int64)
        crop = torch.zeros(1, config.images.bands, side, side, dtype=torch.uint8, device=device)
        if reason := dispatch.failure_of(device, lambda: synthesis.fused(crop, position)):
            switch.turn_off(reason)
    return path(config, device)


def agree_on_path(accelerator: Accelerator, ask: Callable[[], str]) -> None:
    """Let every rank say which path it would take; where they differ, all take the reference.

    Raises:
        Failure: on every rank, if the kernels are a fault on one; on one alone if its device computes nothing more.
    """
    told, fault, what = "", "", "trying the fused kernels, which are compiled where they never were"
    with WATCH.phase(what, grace=GRACE):
        try:
            told = ask()
        except switch.DeviceBroken as error:
            raise Failure(str(error)) from error  # and could not say so to the others
        except switch.KernelsUnusable as error:
            fault = str(error)
    meet(f"waiting for the other ranks, which are {what}", range(accelerator.num_processes))
    ranks: list[tuple[str, str]] = gather_object([(told, fault)])
    for _, fault in ranks:
        if fault:
            raise Failure(fault)
    if len({told for told, _ in ranks}) > 1:
        rank, other = next((rank, told) for rank, (told, _) in enumerate(ranks) if told != eligible.WHOLE)
        switch.turn_off(f"rank {rank} would degrade {other}, and all ranks take the same path")


def make_pool(config: RunConfig, batch: BatchPlan, accelerator: Accelerator) -> Pool | None:
    """This rank's shard of the empty pool; None where the configuration has none."""
    if not config.queue_size:
        return None
    layout = Layout(
        size=config.queue_size,
        per_process=batch.per_process,
        per_device=batch.per_device,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    side = config.gt_size // config.scale
    bands, dtype = config.images.bands, picture_type(config)
    shape = PairShape((bands, side, side), (bands, config.gt_size, config.gt_size), dtype)
    group = torch.distributed.new_group(timeout=WATCH.patience) if accelerator.num_processes > 1 else None
    return Pool(layout, shape, config.seed, accelerator.device, group)
