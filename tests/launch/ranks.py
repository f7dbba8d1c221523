"""Programs of ranks that report their own weights and decisions.

Every rank writes ANSWERS/rank-<r>.json: checksums of the weights of all ranks after a few steps, what they saw of a
game (rank 0 leaves both networks in ANSWERS/game.pt), and with what status a run of the same overrides ends (its data
is the caller's choice).
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object

from tests.driving import Driver
from trainer.building.accelerator import make_accelerator
from trainer.config.loader import load_config
from trainer.config.schema import RunConfig
from trainer.experiment import Experiment
from trainer.lifecycle.assemble import assemble
from trainer.lifecycle.start import fill_pool
from trainer.run import main

TINY = Path(__file__).with_name("tiny.yaml")
STEPS = 3
GAME = (
    "validation=null",
    "telemetry.report_to=none",
    "adversarial.discriminator={type: UNetDiscriminatorSN, num_feat: 4}",
    "adversarial.optimizer.learning_rate=1e-3",
    "adversarial.adaptive_d={threshold: 3.8e-4, ema_decay: 0.0}",  # between the leads of the second and third step
)
GAME_STEPS = 6


def checksum(module: torch.nn.Module) -> float:
    """Checksum of all weights: the sum of their bits, which differs if any weight differs."""
    return sum(p.detach().view(torch.int32).to(torch.int64).sum().item() for p in module.state_dict().values())


def weights_of_all_ranks() -> dict[str, list[float]]:
    """Checksums per rank, before and after some steps of a run whose ranks begin with other random states."""
    accelerator = make_accelerator(config := load_config(RunConfig, TINY))
    torch.manual_seed(accelerator.process_index)
    experiment = assemble(config, accelerator)
    before = checksum(experiment.model.generator.net)
    fill_pool(experiment)
    driver = Driver(experiment)
    for step in range(STEPS):
        experiment.model.generator.set_rate(step, STEPS)
        driver.step()
    after, average = checksum(experiment.model.generator.net), checksum(experiment.state.ema.ema_model)
    return {"before": gather_object([before]), "after": gather_object([after]), "average": gather_object([average])}


def game(per_device: int) -> tuple[Experiment, dict[str, list[float]]]:
    """Train, with the discriminator held at some of the steps: this rank's observations and the joint decisions."""
    config = load_config(RunConfig, TINY, [*GAME, f"batch.per_device={per_device}"])
    x = assemble(config, make_accelerator(config))
    fill_pool(x)
    driver, seen = Driver(x), {"own": [], "lead": [], "paused": []}
    for step in range(GAME_STEPS):
        for player in x.state.learners.values():
            player.set_rate(step + 2, 100)  # past the warm-up
        report = driver.step()
        seen["own"].append((report["discriminator/D(y)_prob"] - report["discriminator/D(G(x))_prob"]).item())
        seen["lead"].append(x.state.adaptive_d.margin.item())
        seen["paused"].append(report["discriminator/paused"].item())
    return x, seen


def networks(x: Experiment) -> dict[str, dict[str, torch.Tensor]]:
    """State dicts of both networks: the discriminator's has its power iterations too."""
    return {name: player.net.state_dict() for name, player in x.state.learners.items()}


def game_of_all_ranks(answers: str) -> dict[str, Any]:
    """Each rank's discriminator decisions in micro-batches of one, and checksums of both networks per rank."""
    x, seen = game(per_device=1)
    if x.accelerator.is_main_process:
        torch.save(networks(x), Path(answers, "game.pt"))
    sums = {name: gather_object([checksum(player.net)]) for name, player in x.state.learners.items()}
    return {**{name: gather_object([values]) for name, values in seen.items()}, **sums}


def tell(arguments: Sequence[str]) -> int:
    """The work of each rank: `arguments` are ANSWERS and the overrides of the run."""
    answers, *overrides = arguments
    found: dict[str, object] = dict(weights_of_all_ranks())
    found["game"] = game_of_all_ranks(answers)
    rank = torch.distributed.get_rank()
    status = main([str(TINY), *overrides])
    Path(answers, f"rank-{rank}.json").write_text(json.dumps({**found, "status": status}))
    return status
