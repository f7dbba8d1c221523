"""Steps of growing micro-batches in a process of its own, for `batch.per_device: auto`: prints the largest that fits.

Reads from stdin what `fitting_batch.largest` wrote.
"""

import base64
import gc
import os
import pickle
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path
from threading import Thread

import torch

from trainer.building.accelerator import make_accelerator
from trainer.config.schema import RunConfig
from trainer.distributed.batch import BatchConfig
from trainer.lifecycle.fitting_batch import SHARE
from trainer.memory import is_shortage
from trainer.mistakes import Mistake
from trainer.models import RealESRGANModel, RealESRNetModel

TIMES = 2
"""Steps of each phase: the first one makes the optimizer's moments."""


def main() -> int:
    """Answer one request; the exit status, 2 after a mistake. A stop is the asker's to hear, with whom this ends."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if name in signal.Signals.__members__:
            signal.signal(signal.Signals[name], signal.SIG_IGN)
    Thread(target=end_with, args=(os.getppid(),), daemon=True).start()
    config, sizes, share, pool, limit = pickle.loads(base64.b64decode(sys.stdin.buffer.read()))
    try:
        print(largest(replace(config, compile=False, validation=None, queue_size=0), sizes, share, pool, limit))
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    return 0


def end_with(parent: int) -> None:
    """End this process once its parent has ended."""
    while os.getppid() == parent:
        time.sleep(1)
    os._exit(1)


def largest(config: RunConfig, sizes: list[int], share: int, pool: int, limit: int | None) -> int:
    """The largest of ascending `sizes` whose steps fit, the first if none does.

    `share` are a process's pairs in a step, `pool` the pairs that lie beside, `limit` bytes on a CPU. There a size is
    not tried that would take more by what the sizes before it took: the system would kill it, or swap.
    """
    on_gpu = torch.cuda.is_available()
    if on_gpu:
        free, total = torch.cuda.mem_get_info()
        torch.cuda.set_per_process_memory_fraction(SHARE * free / total)
    best, peaks = sizes[0], dict[int, int]()
    for size in sizes:
        if limit is not None and predicted(size, peaks) > limit:
            break
        try:
            take_steps(config, size, min(2, share // size), pool)
        except (RuntimeError, MemoryError) as error:
            if not is_shortage(error):
                raise
            break
        finally:
            gc.collect()
            if on_gpu:
                torch.cuda.empty_cache()
        if limit is not None:
            peaks[size] = peak_bytes()
            if peaks[size] > limit:
                break
        best = size
    return best


def take_steps(config: RunConfig, size: int, accumulation: int, pool: int) -> None:
    """Take steps of each phase, of so many micro-batches of `size` pairs, on random pictures, beside `pool` pairs."""
    batch = BatchConfig(global_size=size * accumulation, per_device=size)
    build = RealESRGANModel if config.adversarial else RealESRNetModel
    model = build(replace(config, batch=batch), accelerator=make_accelerator(config))
    device, bands, side, scale = model.accelerator.device, config.images.bands, config.gt_size, config.scale
    pair = bands * (side**2 + (side // scale) ** 2) * model.form.dtype.itemsize
    beside = torch.empty(pool * pair, dtype=torch.uint8, device=device)
    crop = config.images.crop_size if config.images.source else side
    data = {"gt": torch.rand(size, bands, crop, crop)}
    if not config.images.source:
        data["lq"] = torch.rand(size, bands, side // scale, side // scale)
    for step in config.adversarial.first_steps() if config.adversarial else [0]:
        for _ in range(TIMES):
            model.state.step = step
            for _ in range(accumulation):
                model.feed_data(data)
            report = model.optimize_parameters(step + 1, measure_update=True)
    torch.stack([value.float().mean() for value in report.values()]).tolist()  # the host waits for the device
    del beside


def predicted(size: int, peaks: dict[int, int]) -> float:
    """Bytes that `size` would take by the line through the last two sizes; 0 where there are not two."""
    if len(peaks) < 2:
        return 0.0
    (small, low), (large, high) = list(peaks.items())[-2:]
    return high + (high - low) / (large - small) * (size - large)


def peak_bytes() -> int:
    """The most bytes that this process ever held, where the system tells; else 0."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


if __name__ == "__main__":
    sys.exit(main())
