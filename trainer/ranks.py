"""The processes of a run: how they join, and how one works for all."""

import os
from collections.abc import Callable
from typing import TypeVar

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, ProjectConfiguration, broadcast_object_list, gather_object

from trainer.claim import folder_of
from trainer.config import RunConfig
from trainer.mistakes import Mistake
from trainer.telemetry import trackers

T = TypeVar("T")


def make_accelerator(config: RunConfig) -> Accelerator:
    """Join the processes that the launcher started; Mistake if Accelerate sees another number of them."""
    accelerator = Accelerator(
        cpu=not torch.cuda.is_available(),
        mixed_precision=config.mixed_precision,
        log_with=trackers(config.telemetry) or None,
        project_config=ProjectConfiguration(str(folder_of(config).path), logging_dir=str(folder_of(config).path)),
        step_scheduler_with_optimizer=False,
        kwargs_handlers=[DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True)],
    )
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if accelerator.num_processes != launched:
        raise Mistake(
            f"the launcher started {launched} processes, but Accelerate joined {accelerator.num_processes}; "
            f"start two without a GPU by `ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 ...`."
        )
    return accelerator


def leave() -> None:
    """Take this process out of its group: a thread of gloo's that still runs at Python's end can abort it."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


def on_main(accelerator: Accelerator, work: Callable[[], T]) -> T:
    """Do `work` on rank 0 and give every rank its result, or the same Mistake."""
    outcome: list[T | Mistake | None] = [None]
    if accelerator.is_main_process:
        try:
            outcome = [work()]
        except Mistake as mistake:
            outcome = [mistake]
    broadcast_object_list(outcome)
    if isinstance(outcome[0], Mistake):
        raise outcome[0]
    return outcome[0]  # type: ignore[return-value]


def once_per_machine(accelerator: Accelerator, work: Callable[[], object]) -> None:
    """Do `work` on one rank of each machine, before any other goes on; Mistake, on every rank, where one failed."""
    said: list[str] = []
    if accelerator.is_local_main_process:
        try:
            work()
        except Mistake as mistake:
            said = [str(mistake)]
    if problems := gather_object(said):
        raise Mistake(problems[0])
