"""What takes some making, for `assemble` alone: networks and who trains them, the objective, the pool."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainer.batch import BatchPlan
from trainer.chance import draws
from trainer.claim import origins
from trainer.config import RunConfig
from trainer.health import Health
from trainer.mistakes import Mistake
from trainer.networks import Discriminator, Generator
from trainer.objective import Objective
from trainer.player import Player
from trainer.pool import Layout, PairShape, Pool
from trainer.ranks import on_main, once_per_machine
from trainer.waiting import WATCH
from trainer.weights import InitConfig, load_weights


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


def make_players(config: RunConfig, accelerator: Accelerator) -> tuple[Player, Player | None, list[str]]:
    """The networks with their optimizers, and sentences on how they begin and what to know of them."""
    net, critic, loaded = make_networks(
        config, on_main(accelerator, lambda: origins(config), "verifying the checkpoints")
    )
    loaded += notes_on_statistics(net, accelerator.num_processes)
    loaded += [
        f"{key}: it draws while it learns (Dropout and the like), once for each micro-batch: the result depends on "
        f"batch.per_device, though not on the number of processes"
        for key, part in (("generator", net), ("adversarial.discriminator", critic))
        if part is not None and draws(part)
    ]
    generator, game = Player(accelerator, net, config.optimizer, config.lr_scheduler), config.adversarial
    if critic is None or game is None:
        return generator, None, loaded
    return generator, Player(accelerator, critic, game.optimizer, game.lr_scheduler), loaded


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
    if game is None:
        return Objective(config.losses, perceptual)
    return Objective(config.losses, perceptual, game.loss, game.pretrain_objective == "l1")


def health_of(config: RunConfig) -> Health:
    """What the run's figures are judged by."""
    game = config.adversarial
    if game is None or not game.loss.probabilistic:
        return Health(real_label=None)
    return Health(real_label=1 - game.loss.label_smoothing)


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
    bands, dtype = config.images.bands, torch.uint16 if config.images.radiometry else torch.uint8
    shape = PairShape((bands, side, side), (bands, config.gt_size, config.gt_size), dtype)
    group = torch.distributed.new_group(timeout=WATCH.patience) if accelerator.num_processes > 1 else None
    return Pool(layout, shape, config.seed, accelerator.device, group)
