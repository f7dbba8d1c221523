"""What only the ranks themselves can see. Started by `accelerate launch tests/launch/ranks.py ANSWERS KEY=VALUE...`.

Every rank writes ANSWERS/rank-<r>.json: checksums of the weights of all ranks after a few steps, and with what status
a run of the same overrides ends (its data is the caller's choice).
"""

import json
import sys
from pathlib import Path

import torch
from accelerate.utils import gather_object

from trainer.assemble import assemble, make_accelerator
from trainer.config import RunConfig
from trainer.config_io import load_config
from trainer.run import main
from trainer.steps import train_step

TINY = Path(__file__).with_name("tiny.yaml")
STEPS = 3


def checksum(module: torch.nn.Module) -> float:
    """Differs if any weight differs, however little: the sum of the bits of all."""
    return sum(p.detach().view(torch.int32).to(torch.int64).sum().item() for p in module.parameters())


def weights_of_all_ranks() -> dict[str, list[float]]:
    """Checksums per rank, before and after some steps of a run whose ranks begin with other random states."""
    accelerator = make_accelerator(config := load_config(RunConfig, TINY))
    torch.manual_seed(accelerator.process_index)
    experiment = assemble(config, accelerator)
    before = checksum(experiment.generator.module)
    experiment.fill_pool()
    pairs = experiment.pairs()
    for step in range(STEPS):
        experiment.generator.set_rate(step, STEPS)
        train_step(experiment, pairs)
        experiment.state.advance(experiment.batch.global_size)
    after, average = checksum(experiment.generator.module), checksum(experiment.state.ema.ema_model)
    return {"before": gather_object([before]), "after": gather_object([after]), "average": gather_object([average])}


if __name__ == "__main__":
    answers, *overrides = sys.argv[1:]
    found: dict[str, object] = dict(weights_of_all_ranks())
    status = main([str(TINY), *overrides])
    rank = torch.distributed.get_rank()
    Path(answers, f"rank-{rank}.json").write_text(json.dumps({**found, "status": status}))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()
