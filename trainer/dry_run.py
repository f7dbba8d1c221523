"""`--dry-run`: everything is built and one step of each phase is taken, nothing is written."""

import time
from collections.abc import Iterator
from dataclasses import replace
from itertools import count

import torch

from trainer.experiment import Experiment
from trainer.lifecycle.banner import banner
from trainer.mistakes import Failure
from trainer.pairs.synthesis import Pairs
from trainer.steps import Report, train_step
from trainer.telemetry.reporter import peak_memory


def dry_run(x: Experiment) -> None:
    """One optimizer step of each phase and one validation picture; then what they cost, in words."""
    x.telemetry.say("\n".join((banner(x), *x.notes)))
    if x.pool:  # to fill it takes as long as size / batch steps; for a trial one pair in all slots will do
        x.pool.rows[:] = x.pool.shape.rows(next(replace(x, pool=None).pairs()))[:1]
    pairs = x.pairs()
    rows = [trial(x, step, pairs) for step in first_steps(x)]
    if x.validator:
        measured = x.validator(x.state.ema.ema_model, 1, pairs=x.accelerator.num_processes).metrics
        rows.append(
            "validation of a picture per process: "
            + ", ".join(f"{name.removeprefix('validation/')} {value:.4g}" for name, value in measured.items())
        )
    rows.append(f"peak memory: {peak_memory(x.accelerator.device):.2f} GiB per process")
    rows.append(f"exchanged per step: {exchanged_bytes(x) / 2**20:.2f} MiB sent by each process")
    x.telemetry.say("\n".join(rows) + "\ndry run: nothing was written.")
    x.accelerator.end_training()


def first_steps(x: Experiment) -> list[int]:
    """The first step of the run, of the game, and of both players, as far as the run comes to them."""
    game = x.config.adversarial
    if game is None or game.g_pretrain_steps == -1:
        return [0]
    joined = game.g_pretrain_steps
    both = next(step for step in count(joined) if game.phase(step).train_generator)
    return [step for step in sorted({0, joined, both}) if step < x.config.max_train_steps]


def trial(x: Experiment, step: int, pairs: Iterator[Pairs]) -> str:
    """Take optimizer step `step`, and say what came of it."""
    begin, phase, total = time.perf_counter(), x.phase(step), x.config.max_train_steps
    x.state.step = step
    for player in x.state.players.values():
        player.set_rate(step, total)
    report = train_step(x, pairs)
    check_losses(x, report)
    figures = ", ".join(f"{name.removeprefix('training/')} {value.item():.4g}" for name, value in report.items())
    seconds = time.perf_counter() - begin
    x.state.advance(x.batch.global_size)
    learns = "both learn" if phase.train_generator else "the discriminator learns"
    which = f" ({learns if phase.train_discriminator else 'pretraining'})" if x.discriminator else ""
    return f"one step{which}: {seconds:.1f} s with start-up, {figures}"


def check_losses(x: Experiment, report: Report) -> None:
    """Failure, on all ranks together, where a loss of any of them is no finite number."""
    losses = {name: value for name, value in report.items() if "/loss" in name}
    lost = x.accelerator.gather(torch.stack([~value.isfinite() for value in losses.values()]).int()[None]).any(dim=0)
    if names := [name for name, is_lost in zip(losses, lost.tolist(), strict=True) if is_lost]:
        raise Failure(
            f"dry run: {names[0]} is no finite number at step {x.state.step}: look at init, and at the losses."
        )


def exchanged_bytes(x: Experiment) -> float:
    """Bytes that a process sends in a step: gradients, in a ring all-reduce, and pairs, out and in."""
    networks = [player.net for player in x.state.players.values()]
    size: int = sum(p.numel() * p.element_size() for network in networks for p in network.parameters())
    pairs = x.batch.per_process * x.pool.shape.bytes if x.pool else 0
    world: int = x.accelerator.num_processes
    return 2 * (world - 1) / world * (size + pairs)
