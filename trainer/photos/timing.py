"""Steps that fit into the minutes: a few are taken on this machine, and timed."""

import sys
import time
from dataclasses import asdict, replace
from typing import Any

import torch

from trainer.config.schema import RunConfig
from trainer.distributed.batch import BatchConfig, most_processes, plan_batch
from trainer.models import RealESRNetModel

SHARE = 0.85
"""The part of the time that steps get: the rest is for the start, validations and checkpoints."""
TRIED = 4
"""Steps that are timed, after one that is not."""


def schedule(config: RunConfig, minutes: float, processes: int) -> dict[str, Any]:
    """Sections with the steps that fit into `minutes` of devices like this, and the intervals that follow from them."""
    seconds = seconds_of_a_step(config, processes)
    steps = max(100, round(60 * minutes * SHARE / seconds / 50) * 50)
    every = max(50, round(steps / 6 / 50) * 50)
    print(f"a step takes {seconds:.2f} s here, so {minutes:g} minutes are {steps} steps.", file=sys.stderr)
    assert config.validation is not None
    return {
        "max_train_steps": steps,
        "lr_scheduler": {"type": "cosine", "lr_warmup_steps": min(50, steps // 10)},
        "validation": asdict(replace(config.validation, validation_steps=every)),
        "checkpoints": {"checkpointing_steps": every, "checkpoints_total_limit": 2},
        "telemetry": {"report_steps": 50, "report_to": config.telemetry.report_to},
    }


def seconds_of_a_step(config: RunConfig, processes: int) -> float:
    """Seconds of an optimizer step of one of the processes, on random pictures, without the pool."""
    batch = config.batch
    if batch.per_device == "auto":  # which is tried when the run begins: here it is a number that most devices take
        batch = replace(batch, per_device=BatchConfig().per_device)
    plan = plan_batch(batch, most_processes(batch, processes))
    batch = BatchConfig(global_size=plan.per_process, per_device=plan.per_device)
    model = RealESRNetModel(replace(config, batch=batch, queue_size=0))
    side, begin = config.images.crop_size, 0.0
    pictures = torch.rand(plan.per_device, config.images.bands, side, side)
    for step in range(1, TRIED + 2):
        for _ in range(plan.accumulation):
            model.feed_data({"gt": pictures})
        model.optimize_parameters(step)["training/loss"].item()  # the host waits for the device
        if step == 1:
            begin = time.perf_counter()
    return (time.perf_counter() - begin) / TRIED
