"""The losses of a run, with the networks that some of them need."""

from accelerate import Accelerator

from trainer.building.learners import network_facts
from trainer.config.schema import RunConfig
from trainer.distributed.comparison import same_everywhere
from trainer.distributed.ranks import START_GRACE, once_per_machine
from trainer.objective import Objective


def make_objective(config: RunConfig, accelerator: Accelerator) -> Objective:
    """The losses, with the networks that some need; their weights are fetched once on each machine and read by all."""
    settings, game, perceptual = config.losses.perceptual, config.adversarial, None
    if settings:
        once_per_machine(
            accelerator, lambda: settings.fetch("losses.perceptual"), "fetching the weights of losses.perceptual"
        )
        perceptual = settings.build("losses.perceptual").to(accelerator.device).eval().requires_grad_(False)
        facts = network_facts("losses.perceptual", perceptual, weights=True)
        same_everywhere(accelerator, facts, "every machine needs the same weights.", grace=START_GRACE)
    if game is None:
        return Objective(config.losses, perceptual)
    return Objective(config.losses, perceptual, game.loss, game.pretrain_objective == "l1")
