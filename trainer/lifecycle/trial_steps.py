"""Steps of growing micro-batches, for `batch.per_device: auto`: the largest that fits. See `trial_process`."""

import gc
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from trainer.building.accelerator import make_accelerator
from trainer.config.schema import RunConfig
from trainer.distributed.batch import BatchConfig, BatchPlan
from trainer.memory import is_shortage
from trainer.models import RealESRGANModel, RealESRNetModel
from trainer.networks.loading.initial import InitConfig

TIMES = 2
"""Steps of each phase: the first one makes the optimizer's moments."""
EXCHANGES = 2**29
"""Bytes that a GPU's process group may take for its buffers, assumed."""


@dataclass(frozen=True, slots=True)
class Room:
    """What a step has: a device, and the bytes that it may take there."""

    device: torch.device
    limit: int | None
    """On a GPU a cap for the allocator; on a CPU, which has none, what no size is tried beyond; None off Linux."""


def largest(config: RunConfig, sizes: list[int], plan: BatchPlan, room: Room) -> int:
    """The largest of ascending `sizes` whose steps fit, the first if none does.

    On a CPU a size is not tried that would take more by what those before it took: the system would kill it, or swap.
    """
    if room.device.type == "cuda" and room.limit is not None:
        total = torch.cuda.get_device_properties(room.device).total_memory
        torch.cuda.set_device(room.device)
        torch.cuda.set_per_process_memory_fraction(min(1.0, room.limit / total))
    limit = None if room.device.type == "cuda" else room.limit
    best, peaks = 0, dict[int, int]()
    # With a limit one size more, an answer or not: two make a line.
    for size in sizes if limit is None else sorted({*sizes, 2 * sizes[0]}):
        if limit is not None and predicted(size, peaks) > limit:
            break
        reset_peak()
        try:
            take_steps(config, size, plan)
        except (RuntimeError, MemoryError) as error:
            # Of a batch that is too large for a kernel's indices, torch and cuDNN say many things.
            if not is_shortage(error) and not best:
                raise
            break
        finally:
            gc.collect()
            if room.device.type == "cuda":
                torch.cuda.empty_cache()
        peaks[size] = peak_bytes()
        if limit is not None and peaks[size] > limit:
            break
        best = size if size in sizes else best
    return best or sizes[0]


def take_steps(config: RunConfig, size: int, plan: BatchPlan) -> None:
    """Take steps of each phase in micro-batches of `size` pairs, on random pictures, beside what else a run holds."""
    accumulation = 2 if plan.per_process > size else 1
    batch = BatchConfig(global_size=size * accumulation, per_device=size)
    quiet = replace(config, batch=batch, compile=False, validation=None, queue_size=0, init=InitConfig())
    model = (RealESRGANModel if config.adversarial else RealESRNetModel)(quiet, accelerator=make_accelerator(quiet))
    beside = held_beside(config, model, plan, size * accumulation)
    bands, side = config.images.bands, config.gt_size
    crop = config.images.crop_size if config.images.source else side
    data = {"gt": torch.rand(size, bands, crop, crop)}
    if not config.images.source:
        data["lq"] = torch.rand(size, bands, side // config.scale, side // config.scale)
    for step in config.adversarial.first_steps() if config.adversarial else [0]:
        for _ in range(TIMES):
            model.state.step = step
            for _ in range(accumulation):
                model.feed_data(data)
            report = model.optimize_parameters(step + 1, measure_update=True)
    torch.stack([value.float().mean() for value in report.values()]).tolist()  # the host waits for the device
    del beside


def held_beside(config: RunConfig, model: RealESRNetModel, plan: BatchPlan, fed: int) -> Tensor:
    """Memory for what a run holds and steps of `fed` pairs do not.

    The pool's shard; the step's other pairs, with what the discriminator's turn keeps of each; and with several
    processes DDP's buckets and the group's buffers.
    """
    bands, side, low = config.images.bands, config.gt_size, config.gt_size // config.scale
    pair = bands * (side**2 + low**2) * model.form.dtype.itemsize
    kept = pair + (8 * bands * side**2 if config.adversarial else 0)
    size = -(-config.queue_size // plan.processes) * pair + max(0, plan.per_process - fed) * kept
    device = model.accelerator.device
    if plan.processes > 1:
        nets = [learner.net for learner in model.state.learners.values()]
        size += sum(p.numel() * p.element_size() for net in nets for p in net.parameters())
        size += EXCHANGES if device.type == "cuda" else 0
    return torch.ones(size, dtype=torch.uint8, device=device)  # written to, as else a CPU gives no memory


def predicted(size: int, peaks: dict[int, int]) -> float:
    """Bytes that `size` would take by the line through the last two sizes; 0 where there are not two."""
    if len(peaks) < 2:
        return 0.0
    (small, low), (large, high) = list(peaks.items())[-2:]
    return high + (high - low) / (large - small) * (size - large)


def reset_peak() -> None:
    """Let the system measure the peak anew, where it can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")


def peak_bytes() -> int:
    """The most bytes that this process held since, where the system tells; else 0."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)
