"""The end of a run for which memory is too short: one sentence with the key that takes less."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from accelerate import Accelerator

from trainer.config.schema import RunConfig
from trainer.distributed.batch import plan_batch
from trainer.distributed.ranks import is_first_to_end
from trainer.distributed.waiting import WATCH
from trainer.memory import amount, is_shortage
from trainer.mistakes import Failure

PIECE = 512
"""Side in pixels that validation pictures can be cut to, where they are taken whole."""


@contextmanager
def naming_shortage(config: RunConfig, accelerator: Accelerator) -> Iterator[None]:
    """Turn an error of too little memory into a Failure that names what was done, what there is, and what would do.

    Each rank may meet it alone, or all of them: the first prints it.
    """
    WATCH.failed_phase = ""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_shortage(error):
            raise
        wanted = amount(error)
    else:
        return
    # here the error is gone, and with it the tensors that its traceback holds
    more = f", {wanted} more were asked for" if wanted else ""
    doing = WATCH.failed_phase or "building the run"
    failure = Failure(
        f"{WATCH.rank}: {memory_of(accelerator.device)} is too short while {doing}{more}. "
        f"{advice(config, accelerator.num_processes, doing)} {WATCH.ask_last_words()}"
    )
    failure.prints = is_first_to_end()
    raise failure


def memory_of(device: torch.device) -> str:
    """The memory that is meant, with its size where torch knows it."""
    if device.type != "cuda":
        return "the memory of this machine"
    properties = torch.cuda.get_device_properties(device)
    return f"the memory of {properties.name}, {properties.total_memory / 2**30:.1f} GiB,"


def advice(config: RunConfig, processes: int, doing: str) -> str:
    """A sentence with the key that would make a run take less memory in what it was doing."""
    if doing.startswith("validating") and (validation := config.validation):
        side = validation.max_side // 2 if validation.max_side else PIECE
        return f"validation.max_side={side} cuts the pictures to pieces that take less."
    if doing.startswith(("building", "saving")):
        return "A smaller generator or queue_size takes less."
    if config.batch.per_device == "auto":
        return "batch.per_device=auto left too little for the rest: give a number below that of the line `batch` above."
    plan = plan_batch(config.batch, processes)
    now = plan.per_device  # what is taken at a time, which may be less than what was asked for
    less = max((size for size in range(1, now // 2 + 1) if plan.per_process % size == 0), default=None)
    if less is None:
        return (
            "batch.per_device is 1 already: mixed_precision=bf16 takes less, and so does a smaller gt_size or network."
        )
    return (
        f"batch.per_device={less} in place of {now} takes about {round(100 * less / now)} % of it for pictures and "
        "features, and trains the same: gradients are accumulated to batch.global_size."
    )
