"""`batch.per_device: auto`: the largest micro-batch whose steps fit into the memory of a process."""

import base64
import hashlib
import json
import os
import pickle
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator

from trainer.config.schema import RunConfig, folder_of
from trainer.distributed.batch import BatchPlan, plan_batch
from trainer.distributed.ranks import on_main
from trainer.experiment import Experiment
from trainer.images.machine import local_processes
from trainer.lifecycle.short_memory import memory_of
from trainer.memory import available
from trainer.mistakes import Mistake

TRIAL = "trainer.lifecycle.trial_steps"
SHARE = 0.9
"""The part of the free memory that steps may take: the rest is for exchanges, validation and what falls between."""
WEIGHTY = (
    "scale", "mixed_precision", "gradient_checkpointing", "gt_size", "degradation", "queue_size", "mixing", "generator",
    "losses", "optimizer", "ema", "adversarial",
)  # fmt: skip
"""Keys on which the memory of a step depends, beside pictures and batch."""
OF_LAUNCHERS = ("RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_", "ACCELERATE_MIXED")
"""Beginnings of the variables by which a process would join others."""


def fitting_batch(config: RunConfig, accelerator: Accelerator) -> BatchPlan:
    """The batch of a run, `per_device` being tried, or known from an earlier start, where it is `auto`. Collective.

    Raises:
        Mistake: the networks or losses cannot be made for the trial.
    """
    plan = plan_batch(config.batch, accelerator.num_processes)
    sizes = sizes_to_try(config, plan)
    if config.batch.per_device != "auto" or len(sizes) < 2:
        return plan

    def find() -> int:
        known = remembered(config, plan, accelerator.device)
        return known or largest(config, sizes, plan, accelerator.device)

    size = on_main(accelerator, find, "looking for the largest batch.per_device that fits")
    return plan_batch(replace(config.batch, per_device=size), accelerator.num_processes)


def sizes_to_try(config: RunConfig, plan: BatchPlan) -> list[int]:
    """The divisors of a process's share, from the smallest; even ones where mixing pairs neighbours up."""
    even = config.mixing is not None and config.mixing.pairs_up
    return [size for size in range(1, plan.per_process + 1) if not plan.per_process % size and not (even and size % 2)]


def remembered(config: RunConfig, plan: BatchPlan, device: torch.device) -> int | None:
    """The number that an earlier start of this run found, with the same settings on the same device: it stays.

    So a resumed run adds in the order in which it would have gone on.
    """
    key = fingerprint(config, plan.processes, device)
    starts = reversed(folder_of(config).started())
    found = next((start.get("per_device") for start in starts if start.get("auto") == key), None)
    return found if isinstance(found, int) and found > 0 else None


def found_batch(run: Experiment) -> dict[str, Any]:
    """What a start records of a number that was found: `per_device`, and `auto`, for what it was."""
    if run.config.batch.per_device != "auto":
        return {}
    key = fingerprint(run.config, run.model.batch.processes, run.accelerator.device)
    return {"per_device": run.model.batch.per_device, "auto": key}


def fingerprint(config: RunConfig, processes: int, device: torch.device) -> str:
    """A checksum of all on which the number depends."""
    images = (config.images.bands, config.images.crop_size, config.batch.global_size)
    facts = [processes, memory_of(device), *images, {key: asdict(config)[key] for key in WEIGHTY}]
    return hashlib.sha256(json.dumps(facts, default=str, sort_keys=True).encode()).hexdigest()[:16]


def largest(config: RunConfig, sizes: list[int], plan: BatchPlan, device: torch.device) -> int:
    """The largest of ascending `sizes` whose steps fit, the first if none does, as a process of its own finds it.

    It takes memory by the same allocator, and gives all of it back by its end; with the ranks' own process groups
    a step of one rank alone would hang.
    """
    pool = -(-config.queue_size // plan.processes)
    memory = None if device.type == "cuda" else available()
    limit = None if memory is None else int(SHARE * memory / local_processes(plan.processes))
    request = pickle.dumps((config, sizes, plan.per_process, pool, limit))
    path = os.pathsep.join(str(Path(entry or ".").resolve()) for entry in sys.path)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OF_LAUNCHERS)}
    done = subprocess.run(
        [sys.executable, "-P", "-m", TRIAL],
        input=base64.b64encode(request), env={**kept, "PYTHONPATH": path}, capture_output=True,
    )  # fmt: skip
    said = done.stderr.decode(errors="replace").strip().splitlines()
    if done.returncode == 2:
        raise Mistake(said[-1].removeprefix("error: "))
    if done.returncode or not done.stdout.strip():
        # A system that ends what takes too much memory ends the trial, which then had no answer.
        reason = said[-1] if said else f"status {done.returncode}"
        raise Mistake(f"batch.per_device: auto could not be tried ({reason}); give a number.")
    return int(done.stdout.split()[-1])
