"""`--dry-run`: everything is built and one step is taken, nothing is written."""

import time
from dataclasses import replace

from trainer.assemble import Experiment
from trainer.banner import banner
from trainer.steps import train_step
from trainer.telemetry import peak_memory


def dry_run(x: Experiment) -> None:
    """One optimizer step and one validation picture; then what they cost, in words."""
    x.telemetry.say(banner(x))
    for player in x.state.players.values():
        player.set_rate(0, x.config.max_train_steps)
    if x.pool:  # to fill it takes as long as size / batch steps; for a trial one pair in all slots will do
        x.pool.rows[:] = x.pool.shape.rows(next(replace(x, pool=None).pairs()))[:1]
    begin = time.perf_counter()
    report = train_step(x, x.pairs())
    figures = ", ".join(f"{name.removeprefix('training/')} {value.item():.4g}" for name, value in report.items())
    seconds = time.perf_counter() - begin
    x.state.advance(x.batch.global_size)
    rows = [f"one step: {seconds:.1f} s with start-up, {figures}"]
    if x.validator:
        measured = x.validator(x.state.ema.ema_model, 1, pairs=x.accelerator.num_processes).figures
        rows.append(
            "validation of a picture per process: "
            + ", ".join(f"{name.removeprefix('validation/')} {value:.4g}" for name, value in measured.items())
        )
    rows.append(f"peak memory: {peak_memory(x.accelerator.device):.2f} GiB per process")
    rows.append(f"exchanged per step: {exchanged_bytes(x) / 2**20:.2f} MiB sent by each process")
    x.telemetry.say("\n".join(rows) + "\ndry run: nothing was written.")
    x.accelerator.end_training()


def exchanged_bytes(x: Experiment) -> float:
    """Bytes that a process sends in a step: gradients, in a ring all-reduce, and pairs, out and in."""
    networks = [player.module for player in x.state.players.values()]
    size: int = sum(p.numel() * p.element_size() for network in networks for p in network.parameters())
    pairs = x.batch.per_process * x.pool.shape.bytes if x.pool else 0
    world: int = x.accelerator.num_processes
    return 2 * (world - 1) / world * (size + pairs)
