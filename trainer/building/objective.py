"""The losses of a run, with the networks that some of them need."""

from functools import partial
from typing import Any

import torch
from accelerate import Accelerator
from torch import nn

from trainer.building.learners import network_facts
from trainer.config.schema import RunConfig
from trainer.distributed.comparison import same_everywhere
from trainer.distributed.ranks import START_GRACE, once_per_machine
from trainer.losses.backbones import Features
from trainer.losses.contextual import ContextualLoss
from trainer.losses.feature_matching import FeatureRecorder
from trainer.losses.imported import ImportedDistance
from trainer.losses.learned import LearnedLoss
from trainer.losses.perceptual import PerceptualLoss
from trainer.losses.vgg import VGG19Features
from trainer.mistakes import Mistake, gather
from trainer.networks import ImportedNetwork
from trainer.networks.given import GivenNetwork
from trainer.objective import Objective
from trainer.optim.layout import move

SIDE = 64
"""Largest side of the pictures on which an imported loss is tried."""
AUTOCAST = {"bf16": torch.bfloat16, "fp16": torch.float16}
"""Types to which autocast would cast VGG19's weights at each pass: they are cast once, to the same numbers."""
Fetched = PerceptualLoss | LearnedLoss | ContextualLoss


def make_objective(config: RunConfig, accelerator: Accelerator, features: FeatureRecorder | None = None) -> Objective:
    """The losses, with the networks that some need; their weights are fetched once on each machine and read by all.

    `features` are those of the discriminator that `losses.feature_matching` compares.
    """
    built = {key: _built(key, settings, accelerator) for key, settings in fetched_losses(config).items()}
    modules = {name: loss.to(accelerator.device) for name, loss in imported_losses(config).items()}
    for name, loss in modules.items():
        _same(accelerator, f"losses.modules: {name}", loss)
    game = config.adversarial
    return Objective(
        config.losses,
        built.get("losses.perceptual"),
        game.loss if game else None,
        game is not None and game.pretrain_objective == "l1",
        contextual=built.get("losses.contextual"),
        modules=modules,
        features=features,
    )


def fetched_losses(config: RunConfig) -> dict[str, Fetched]:
    """The losses whose weights are fetched, by their keys."""
    perceptual, contextual = config.losses.perceptual, config.losses.contextual
    found: dict[str, Fetched | None] = {
        "losses.perceptual": perceptual,
        "losses.contextual": contextual if contextual and contextual.weight else None,
    }
    return {key: settings for key, settings in found.items() if settings}


def imported_losses(config: RunConfig) -> dict[str, ImportedDistance]:
    """The losses of `losses.modules` with a weight, by name, each tried once; Mistake for those that do not work.

    Weights that one draws are those of the run's seed: the same on all ranks, and in a resumed run.
    """

    def build(number: int) -> ImportedDistance:
        torch.manual_seed(config.seed)
        try:
            return config.losses.modules[number].build(config.images.bands, min(config.gt_size, SIDE))
        except ValueError as error:
            raise Mistake(f"losses.modules.{number}: {error}.") from error

    numbers = [number for number, loss in enumerate(config.losses.modules) if loss.weight]
    built = gather(*(partial(build, number) for number in numbers))
    return dict(zip((config.losses.modules[number].name for number in numbers), built, strict=True))


def make_features(config: RunConfig, discriminator: nn.Module | None) -> FeatureRecorder | None:
    """The layers that `losses.feature_matching` compares, tried on a patch, before a compiler sees the discriminator.

    None without it. Mistake for layers that the discriminator does not have.
    """
    matching = config.losses.feature_matching
    if matching is None or not matching.weight or discriminator is None:
        return None
    try:
        inner: Any = discriminator  # of somebody else's, by the names that it has itself
        if isinstance(discriminator, ImportedNetwork | GivenNetwork):
            inner = discriminator.net
        recorder = FeatureRecorder(inner, matching.layers)
        recorder.try_out(discriminator, (2, config.images.bands, config.gt_size, config.gt_size))
    except ValueError as error:
        raise Mistake(f"losses.feature_matching.{error}.") from error
    return recorder


def feature_networks(objective: Objective) -> list[nn.Module]:
    """The frozen networks whose features the losses compare."""
    losses = [loss for loss in (objective.perceptual, objective.contextual) if isinstance(loss, nn.Module)]
    return [part for loss in losses for part in loss.modules() if isinstance(part, VGG19Features | Features)]


def _built(key: str, settings: Fetched, accelerator: Accelerator) -> nn.Module:
    once_per_machine(accelerator, lambda: settings.fetch(key), f"fetching the weights of {key}")
    loss: nn.Module = settings.build(key).eval().requires_grad_(False)
    move(loss, accelerator.device, torch.channels_last)  # as results are
    if precision := AUTOCAST.get(accelerator.mixed_precision):
        for part in loss.modules():
            if isinstance(part, VGG19Features):
                part.to(precision)
    _same(accelerator, key, loss)
    return loss


def _same(accelerator: Accelerator, key: str, loss: nn.Module) -> None:
    """Compare a loss's weights over ranks."""
    facts = network_facts(key, loss, weights=True)
    same_everywhere(accelerator, facts, "every machine needs the same weights.", grace=START_GRACE)
