"""Joining the processes of a run: Accelerate's `Accelerator` as this program needs it."""

import os
import socket

import torch
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import DistributedDataParallelKwargs, InitProcessGroupKwargs, ProjectConfiguration

from trainer.building.launcher_environment import check_engine, check_launcher
from trainer.config.schema import RunConfig, folder_of
from trainer.distributed.ranks import START_GRACE
from trainer.distributed.waiting import WATCH
from trainer.mistakes import Mistake
from trainer.optim.loss_scale import autocast_alone


def make_accelerator(config: RunConfig) -> Accelerator:
    """Join the processes that the launcher started.

    Raises Mistake if the launcher asks for what this program does not do, or Accelerate sees another number of them.
    """
    check_launcher(os.environ)
    with WATCH.phase("joining the other processes", _where_to_join, grace=START_GRACE):
        _forget_precision(config)
        accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),
            mixed_precision=config.mixed_precision,
            project_config=ProjectConfiguration(str(folder_of(config).path)),
            step_scheduler_with_optimizer=False,
            kwargs_handlers=[
                DistributedDataParallelKwargs(broadcast_buffers=False, gradient_as_bucket_view=True),
                InitProcessGroupKwargs(timeout=WATCH.group_timeout),
            ],
        )
    check_engine(accelerator)
    if config.mixed_precision == "fp16":
        autocast_alone(accelerator)
    launched = int(os.environ.get("WORLD_SIZE", 1))
    if accelerator.num_processes != launched:
        raise Mistake(
            f"the launcher started {launched} processes, but Accelerate joined {accelerator.num_processes}; "
            f"start two without a GPU by `ACCELERATE_USE_CPU=true accelerate launch --multi_gpu --num_processes 2 ...`."
        )
    return accelerator


def check_accelerator(accelerator: Accelerator, config: RunConfig) -> None:
    """Mistake for an accelerator of a program's own by which another training would come of the configuration."""
    if not isinstance(accelerator, Accelerator):
        raise Mistake(f"accelerator: got {type(accelerator).__name__}; must be Accelerate's, or left out.")
    check_engine(accelerator)
    if accelerator.mixed_precision != config.mixed_precision:
        raise Mistake(
            f"accelerator: its mixed_precision is {accelerator.mixed_precision}, that of the options "
            f"{config.mixed_precision}."
        )
    if (steps := accelerator.gradient_accumulation_steps) != 1:
        raise Mistake(
            f"accelerator: its gradient_accumulation_steps are {steps}, by which it would divide every loss; "
            "batch.global_size and batch.per_device say how much is accumulated here."
        )


def _forget_precision(config: RunConfig) -> None:
    """Let a process have a run at another precision than the one before, of which Accelerate keeps one for all.

    The accelerators before this hold that state themselves, and keep theirs.
    """
    if AcceleratorState._shared_state and AcceleratorState().mixed_precision != config.mixed_precision:
        AcceleratorState._shared_state = {}


def _where_to_join() -> str:
    """The address at which processes meet; for several machines also the settings that help if they do not."""
    world, near = os.environ.get("WORLD_SIZE", "1"), os.environ.get("LOCAL_WORLD_SIZE")
    said = f"{world} at {os.environ.get('MASTER_ADDR', 'this machine')}, port {os.environ.get('MASTER_PORT', 'any')}"
    if near == world or "GLOO_SOCKET_IFNAME" in os.environ:
        return said
    try:
        address = socket.gethostbyname(name := socket.gethostname())
    except OSError:
        address = "no address"
    return (
        f"{said}; this machine offers {name}, which is {address}: where the others cannot reach that, set "
        "GLOO_SOCKET_IFNAME and NCCL_SOCKET_IFNAME to the network between the machines, such as eth0"
    )
