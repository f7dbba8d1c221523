"""Cost of the global pool: time on real ranks; bytes and messages for many.

    python benchmarks/pool.py                        # counts, for 2 to 512 ranks
    accelerate launch --multi_gpu --num_processes 2 ... benchmarks/pool.py     # and the time of an exchange

The pairs are RealESRNet x4's: LQ 64x64, ground truth 256x256, 12 per process and step, 180 slots per process. On a
machine without GPUs set ACCELERATE_USE_CPU=true.
"""

import statistics
import time

import torch
import torch.distributed as dist
from accelerate import Accelerator

from trainer.pairs.pool import Layout, PairShape, Pool, plan_route
from trainer.pairs.synthesis import PairBatch

SHAPE = PairShape((3, 64, 64), (3, 256, 256))
PER_PROCESS, SLOTS = 12, 180
GRADIENTS = 16_697_987 * 4  # RRDBNet x4 in float32: bytes of the step's all-reduce
STEPS = 30


def counted(world: int) -> str:
    """Bytes and messages that a rank sends per step, the mean over ranks and a few steps, beside the all-reduce's."""
    layouts = [Layout(SLOTS * world, PER_PROCESS, PER_PROCESS, rank, world) for rank in range(world)]
    pool = Pool(layouts[0], SHAPE, seed=0, device=torch.device("cpu"))
    rows, messages, seconds, largest = [], [], [], 0
    for step in range(5):
        begin = time.perf_counter()
        slots = pool.drawn(step)
        drawn = time.perf_counter() - begin
        for layout in layouts[:: max(1, world // 16)]:
            begin = time.perf_counter()
            counts = plan_route(slots, layout, 0).send_counts
            seconds.append(time.perf_counter() - begin + drawn)
            counts[layout.rank] = 0  # pairs that stay are not sent
            rows.append(sum(counts))
            messages.append(sum(count > 0 for count in counts))
            largest = max(largest, sum(counts))
    sent = statistics.mean(rows) * SHAPE.bytes
    reduced = 2 * (world - 1) / world * GRADIENTS
    return (
        f"{world:>5} ranks: {sent / 1e6:5.2f} MB in {statistics.mean(messages):5.1f} messages per rank and step "
        f"(largest {largest * SHAPE.bytes / 1e6:.2f} MB), {100 * sent / reduced:.1f} % of the gradients' bytes, "
        f"planned in {1e3 * statistics.median(seconds):.2f} ms on the host"
    )


def timed(accelerator: Accelerator) -> str:
    """The time of one exchange on the ranks at hand."""
    world, device = accelerator.num_processes, accelerator.device
    layout = Layout(SLOTS * world, PER_PROCESS, PER_PROCESS, accelerator.process_index, world)
    pool = Pool(layout, SHAPE, seed=0, device=device)
    fresh = PairBatch(
        torch.zeros(PER_PROCESS, *SHAPE.lq, dtype=torch.uint8, device=device),
        torch.zeros(PER_PROCESS, *SHAPE.gt, dtype=torch.uint8, device=device),
        torch.zeros(PER_PROCESS, dtype=torch.int64, device=device),
    )
    gradients = torch.zeros(GRADIENTS // 4, device=device)
    exchange, reduction = [], []
    for step in range(STEPS):
        exchange.append(_seconds(accelerator, lambda step=step: pool.swap(fresh, step, 0)))
        reduction.append(_seconds(accelerator, lambda: dist.all_reduce(gradients) if world > 1 else None))
    return (
        f"{world} ranks on {device.type}: an exchange takes {1e3 * statistics.median(exchange):.2f} ms, "
        f"the all-reduce of RRDBNet's gradients {1e3 * statistics.median(reduction):.2f} ms "
        f"(medians of {STEPS}, interleaved)"
    )


def _seconds(accelerator: Accelerator, work) -> float:  # type: ignore[no-untyped-def]
    accelerator.wait_for_everyone()
    if accelerator.device.type == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    work()
    if accelerator.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def main() -> None:
    """Print the tables on rank 0."""
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    lines = [timed(accelerator)]
    if accelerator.is_main_process:
        lines += [counted(world) for world in (2, 8, 64, 512)]
        print(f"a pair is {SHAPE.bytes / 1e3:.1f} kB", *lines, sep="\n")
    accelerator.end_training()


if __name__ == "__main__":
    main()
