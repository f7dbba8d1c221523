"""`batch.per_device: auto`: the largest micro-batch whose steps fit into the memory of a process."""

import base64
import hashlib
import json
import os
import pickle
import signal
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
from trainer.distributed.waiting import WATCH
from trainer.experiment import Experiment
from trainer.images.machine import local_processes
from trainer.lifecycle.open_images import check_machine
from trainer.lifecycle.short_memory import memory_of
from trainer.lifecycle.trial_steps import Room
from trainer.memory import available
from trainer.mistakes import Mistake, Mistakes

TRIAL = "trainer.lifecycle.trial_process"
SHARE = 0.9
"""The part of the free memory that steps may take: the rest is for exchanges, validation and what falls between."""
WEIGHTY = (
    "scale", "mixed_precision", "gradient_checkpointing", "gt_size", "degradation", "queue_size", "mixing", "generator",
    "losses", "optimizer", "ema", "adversarial",
)  # fmt: skip
"""Keys on which the memory of a step depends, beside pictures and batch."""
OF_LAUNCHERS = (
    "RANK", "WORLD_SIZE", "MASTER_", "LOCAL_", "GROUP_", "ROLE_", "TORCHELASTIC_", "ACCELERATE_MIXED",
    "PMI_", "PMIX_", "OMPI_", "MPI_", "MV2_",
)  # fmt: skip
"""Beginnings of the variables by which a process would join others."""


def fitting_batch(config: RunConfig, accelerator: Accelerator) -> tuple[BatchPlan, list[str]]:
    """The batch of a run, and sentences on it; an `auto` is known from an earlier start, or tried. Collective.

    Raises:
        Mistake: the networks or losses cannot be made for the trial, or it had no answer.
    """
    plan = plan_batch(config.batch, accelerator.num_processes)
    if config.batch.per_device != "auto" or plan.per_process == 1:
        return plan, []
    device, free = accelerator.device, free_bytes(accelerator, plan)

    def find() -> tuple[int, list[str]]:
        known = remembered(config, plan, device)
        size = known or largest_by_trial(config, sizes_to_try(config, plan), plan, device, free)
        return size, note_on_change(config, size)

    size, notes = on_main(accelerator, find, "looking for the largest batch.per_device that fits")
    return plan_batch(replace(config.batch, per_device=size), accelerator.num_processes), notes


def sizes_to_try(config: RunConfig, plan: BatchPlan) -> list[int]:
    """The divisors of a process's share, from the smallest; even ones where mixing pairs neighbours up.

    Those beyond the first must fit into this machine's shared memory, through which decoded pictures come.
    """
    even = config.mixing is not None and config.mixing.pairs_up
    sizes = [size for size in range(1, plan.per_process + 1) if not plan.per_process % size and not (even and size % 2)]
    return sizes[:1] + [size for size in sizes[1:] if not lacks_shared_memory(config, size, plan.processes)]


def lacks_shared_memory(config: RunConfig, size: int, processes: int) -> bool:
    """True if batches of `size` that wait to be trained on would not fit."""
    try:
        check_machine(replace(config, batch=replace(config.batch, per_device=size)), processes)
    except Mistake:
        return True
    return False


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
    sections = asdict(config)
    facts = [processes, memory_of(device), *images, {key: sections[key] for key in WEIGHTY}]
    return hashlib.sha256(json.dumps(facts, default=str, sort_keys=True).encode()).hexdigest()[:16]


def largest_by_trial(
    config: RunConfig, sizes: list[int], plan: BatchPlan, device: torch.device, free: int | None
) -> int:
    """The largest of ascending `sizes` whose steps fit into `free` bytes, as a process of its own finds it.

    It takes memory by the same allocator, and gives all of it back by its end; with the ranks' own process groups
    a step of one rank alone would hang.

    Raises:
        Mistake: the networks or losses cannot be made, or the process had no answer.
    """
    limit = None if free is None else int(SHARE * free)
    request = pickle.dumps((config, sizes, plan, Room(device, limit)))
    path = os.pathsep.join(str(Path(entry or ".").resolve()) for entry in sys.path)
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OF_LAUNCHERS)}
    try:
        done = subprocess.run(
            [sys.executable, "-P", "-m", TRIAL, str(os.getpid())], input=base64.b64encode(request), capture_output=True,
            env={**kept, "PYTHONPATH": path}, timeout=WATCH.limit, start_new_session=True, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise Mistake(f"batch.per_device: auto had no answer after {WATCH.limit:.0f} s; give a number.") from None
    WATCH.raise_if_asked()
    answer = json.loads(done.stdout) if done.stdout.strip() else {}
    if "size" in answer:
        return int(answer["size"])
    if sentences := answer.get("mistakes"):
        raise Mistakes(sentences) if len(sentences) > 1 else Mistake(sentences[0])
    said = done.stderr.decode(errors="replace").strip().splitlines()
    reason = answer.get("error") or (ended_by(done.returncode) if done.returncode < 0 else "".join(said[-1:]))
    raise Mistake(f"batch.per_device: auto could not be tried ({reason}); give a number.")


def ended_by(status: int) -> str:
    """The signal that ended a process of a negative status, in words."""
    name = signal.Signals(-status).name
    return f"its process was ended by {name}" + (", as where memory is short" if name == "SIGKILL" else "")


def free_bytes(accelerator: Accelerator, plan: BatchPlan) -> int | None:
    """The memory that is free for a process: of the GPU that has the least, or a share of this machine's. Collective.

    None where the system does not tell.
    """
    device = accelerator.device
    if device.type == "cuda":
        free = torch.tensor([torch.cuda.mem_get_info(device)[0]], device=device)
        return int(accelerator.gather(free).min())
    memory = available()
    return None if memory is None else memory // local_processes(plan.processes)


def note_on_change(config: RunConfig, size: int) -> list[str]:
    """A sentence where an earlier start of the run had found another number."""
    starts = reversed(folder_of(config).started())
    before = next((start.get("per_device") for start in starts if "auto" in start), size)
    if before == size:
        return []
    return [
        f"batch.per_device: auto is {size} now and was {before}, as settings, device or processes are others: sums are "
        "the same to rounding"
    ]
