"""One optimizer step."""

from collections.abc import Iterator

import torch
from torch import Tensor

from trainer.assemble import Experiment
from trainer.objective import generator_terms, weighted_sum
from trainer.synthesis import Pairs


def reconstruct(x: Experiment, pairs: Iterator[Pairs]) -> dict[str, Tensor]:
    """RealESRNet's step: the generator alone, over all micro-batches; what to report of it, on the device."""
    report: dict[str, Tensor] = {}
    of = x.batch.accumulation
    for number in range(of):
        pair = next(pairs)
        x.telemetry.saw(pair)
        with x.generator.micro_batch(number, of):
            result = x.generator.net(pair.lq.float() / 255)
            terms = generator_terms(x.config.losses, result, pair.gt.float() / 255)
            x.accelerator.backward(weighted_sum(terms) / of)
        for name, term in terms.items():
            key = f"training/loss_{name}"
            report[key] = report.get(key, 0) + term.value.detach() / of
    norm = x.generator.step()
    return {**report, "training/grad_norm": norm, "training/skipped_share": (~torch.isfinite(norm)).float()}
