"""`--dry-run`: everything is built and one step of each phase is taken, nothing is written."""

import time

import torch

from trainer.distributed.waiting import WATCH
from trainer.experiment import Experiment
from trainer.lifecycle.banner import banner
from trainer.mistakes import Failure
from trainer.pairs.feed import Feed
from trainer.steps import Report
from trainer.telemetry.step_means import peak_memory


def dry_run(run: Experiment) -> None:
    """One optimizer step of each phase and one validation picture; then what they cost, in words."""
    run.telemetry.say("\n".join((banner(run), *run.notes)))
    feed = run.open_feed()
    fill_pool_with_one_pair(run, feed)
    rows = [trial(run, step, feed) for step in first_steps(run)]
    if run.validator:
        with WATCH.phase("validating"):
            measured = run.validator(run.state.ema.ema_model, 1, pairs=run.accelerator.num_processes).metrics
        rows.append(
            "validation of a picture per process: "
            + ", ".join(f"{name.removeprefix('validation/')} {value:.4g}" for name, value in measured.items())
        )
    rows.append(f"peak memory: {peak_memory(run.accelerator.device):.2f} GiB per process")
    rows.append(f"exchanged per step: {exchanged_bytes(run) / 2**20:.2f} MiB sent by each process")
    run.telemetry.say("\n".join(rows) + "\ndry run: nothing was written.")
    run.accelerator.end_training()


def fill_pool_with_one_pair(run: Experiment, feed: Feed) -> None:
    """Put one pair in all slots: to fill the pool takes as long as size / batch steps, and for a trial this will do."""
    feed.read_step()
    if pool := run.model.pool:
        row = pool.shape.rows(run.model.maker.fresh(feed.read[0]))[:1]
        pool.put(pool.first, row.expand(len(pool.rows), -1))


def first_steps(run: Experiment) -> list[int]:
    """The first step of the run, of the discriminator, and of both networks, as far as the run comes to them."""
    game = run.config.adversarial
    return [step for step in (game.first_steps() if game else [0]) if step < run.config.max_train_steps]


def trial(run: Experiment, step: int, feed: Feed) -> str:
    """Take optimizer step `step`, and say what came of it."""
    begin = time.perf_counter()
    run.state.step = step
    with WATCH.phase("taking a step", lambda: f"step {step + 1}"):
        for pictures in feed.take_step():
            run.model.feed_data(pictures)
        report = run.model.optimize_parameters(step + 1, measure_update=run.intervals.due(step + 1).report)
        check_losses(run, report, step)
    figures = ", ".join(f"{name.removeprefix('training/')} {value.item():.4g}" for name, value in report.items())
    seconds = time.perf_counter() - begin
    return f"one step{who_learns(run, step)}: {seconds:.1f} s with start-up, {figures}"


def who_learns(run: Experiment, step: int) -> str:
    """The networks that learn at a step, in brackets; empty for a run without a discriminator."""
    phase = run.model.phase(step)
    learns = "both learn" if phase.train_generator else "the discriminator learns"
    return f" ({learns if phase.train_discriminator else 'pretraining'})" if run.model.discriminator else ""


def check_losses(run: Experiment, report: Report, step: int) -> None:
    """Failure, on all ranks together, where a loss of any of them is no finite number."""
    losses = {name: value for name, value in report.items() if "/loss" in name}
    lost = run.accelerator.gather(torch.stack([~value.isfinite() for value in losses.values()]).int()[None]).any(dim=0)
    if names := [name for name, is_lost in zip(losses, lost.tolist(), strict=True) if is_lost]:
        raise Failure(f"dry run: {names[0]} is no finite number at step {step}: look at init, and at the losses.")


def exchanged_bytes(run: Experiment) -> float:
    """Bytes that a process sends in a step: gradients, in a ring all-reduce, and pairs, out and in."""
    networks = [learner.net for learner in run.state.learners.values()]
    size: int = sum(p.numel() * p.element_size() for network in networks for p in network.parameters())
    pairs = run.model.batch.per_process * run.model.pool.shape.bytes if run.model.pool else 0
    world: int = run.accelerator.num_processes
    return 2 * (world - 1) / world * (size + pairs)
