"""`--dry-run`: everything is built and one step is taken, nothing is written."""

import time
from dataclasses import replace

from trainer.assemble import Experiment
from trainer.banner import banner
from trainer.steps import reconstruct
from trainer.telemetry import peak_memory


def dry_run(x: Experiment) -> None:
    """One optimizer step and one validation picture; then what they cost, in words."""
    x.telemetry.say(banner(x))
    x.generator.set_rate(x.rate(0))
    if x.pool:  # to fill it takes as long as size / batch steps; for a trial one pair in all slots will do
        x.pool.rows[:] = x.pool.shape.rows(next(replace(x, pool=None).pairs()))[:1]
    begin = time.perf_counter()
    report = reconstruct(x, x.pairs())
    loss = {name: round(value.item(), 5) for name, value in report.items()}
    seconds = time.perf_counter() - begin
    x.state.advance(x.batch.global_size)
    rows = [f"one step: {seconds:.1f} s with start-up, {loss}"]
    if x.validator:
        rows.append(f"validation: {x.validator(x.state.ema.ema_model, 1).figures}")
    rows.append(f"peak memory: {peak_memory(x.accelerator.device):.2f} GiB per process")
    rows.append(f"exchanged per step: {exchanged_bytes(x) / 2**20:.2f} MiB sent by each process")
    x.telemetry.say("\n".join(rows) + "\ndry run: nothing was written.")
    x.accelerator.end_training()


def exchanged_bytes(x: Experiment) -> float:
    """What a ring all-reduce of the gradients makes each process send: 2 (W - 1) / W of their size."""
    size: int = sum(p.numel() * p.element_size() for p in x.generator.module.parameters())
    world: int = x.accelerator.num_processes
    return 2 * (world - 1) / world * size
