"""The maker of a run's training pairs: degradation, by one path on all ranks, and pool."""

from collections.abc import Callable

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from degradations import eligible
from degradations.fused import dispatch, switch
from trainer.config.schema import RunConfig
from trainer.distributed.batch import BatchPlan
from trainer.distributed.ranks import START_GRACE, wait_for_ranks
from trainer.distributed.waiting import WATCH
from trainer.mistakes import Failure
from trainer.pairs.pool import Layout, PairShape, Pool
from trainer.pairs.synthesis import Synthesis


def picture_type(config: RunConfig) -> torch.dtype:
    """Of the pixels that are trained on."""
    return torch.uint16 if config.images.radiometry else torch.uint8


def make_synthesis(config: RunConfig, accelerator: Accelerator) -> Synthesis:
    """The synthesis of pairs, on all ranks by the same path: by another one they would differ by rounding.

    Raises:
        Failure: if the fused kernels are a fault on one rank.
    """
    synthesis = Synthesis(
        config.degradation, config.seed, config.scale, config.gt_size, config.gt_usm, config.degrade_gt_usm
    )
    if config.images.source or config.validation:
        agree_on_path(accelerator, lambda: tried_degradation_path(config, synthesis, accelerator.device))
    return synthesis


def degradation_path(config: RunConfig, device: torch.device) -> str:
    """The path by which pictures of this run are degraded on `device`, and the reason, in words."""
    return eligible.describe_path(config.degradation, picture_type(config), device, config.images.bands)


def tried_degradation_path(config: RunConfig, synthesis: Synthesis, device: torch.device) -> str:
    """`degradation_path` after a trial pair: crops of this run may need kernels that were not launched yet."""
    if degradation_path(config, device) == eligible.WHOLE:
        side, position = config.images.crop_size, torch.zeros(1, dtype=torch.int64)
        crop = torch.zeros(1, config.images.bands, side, side, dtype=torch.uint8, device=device)
        if reason := dispatch.failure_of(device, lambda: synthesis.synthesize_fused(crop, position)):
            switch.turn_off(reason)
    return degradation_path(config, device)


def agree_on_path(accelerator: Accelerator, ask: Callable[[], str]) -> None:
    """Let every rank say which path it would take; where they differ, all take the reference.

    Raises:
        Failure: on every rank, if the kernels are a fault on one; on one alone if its device computes nothing more.
    """
    told, fault, what = "", "", "trying the fused kernels, which are compiled where they never were"
    with WATCH.phase(what, grace=START_GRACE):
        try:
            told = ask()
        except switch.DeviceBroken as error:
            raise Failure(str(error)) from error  # and could not say so to the others
        except switch.KernelsUnusable as error:
            fault = str(error)
    wait_for_ranks(f"waiting for the other ranks, which are {what}", range(accelerator.num_processes))
    ranks: list[tuple[str, str]] = gather_object([(told, fault)])
    for _, fault in ranks:
        if fault:
            raise Failure(fault)
    if len({told for told, _ in ranks}) > 1:
        rank, other = next((rank, told) for rank, (told, _) in enumerate(ranks) if told != eligible.WHOLE)
        switch.turn_off(f"rank {rank} would degrade {other}, and all ranks take the same path")


def make_pool(config: RunConfig, batch: BatchPlan, accelerator: Accelerator) -> Pool | None:
    """This rank's shard of the empty pool; None where the configuration has none."""
    if not config.queue_size:
        return None
    layout = Layout(
        size=config.queue_size,
        per_process=batch.per_process,
        per_device=batch.per_device,
        rank=accelerator.process_index,
        world=accelerator.num_processes,
    )
    side = config.gt_size // config.scale
    bands, dtype = config.images.bands, picture_type(config)
    shape = PairShape((bands, side, side), (bands, config.gt_size, config.gt_size), dtype)
    group = torch.distributed.new_group(timeout=WATCH.group_timeout) if accelerator.num_processes > 1 else None
    return Pool(layout, shape, config.seed, accelerator.device, group)
