"""Profile of training steps: real steps of the assembled run, timed by part, then traced by torch's profiler."""

import os
from argparse import Namespace
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity

from trainer.building.accelerator import make_accelerator
from trainer.command import check_config_file
from trainer.config.loader import load_config
from trainer.config.schema import RunConfig, folder_of
from trainer.distributed.ranks import on_main
from trainer.distributed.waiting import WATCH
from trainer.dry_run import fill_pool_with_one_pair, first_steps, who_learns
from trainer.experiment import Experiment
from trainer.files.paths import check_path
from trainer.lifecycle.assemble import assemble
from trainer.lifecycle.compare_ranks import compare_start
from trainer.lifecycle.short_memory import naming_shortage
from trainer.lifecycle.throughput import Throughput
from trainer.mistakes import Mistake
from trainer.pairs.feed import Feed
from trainer.profiler.table import Operator, is_operator, operators_table, parts_table
from trainer.telemetry.step_means import peak_memory
from trainer.training import prepare

WARM_UP = 3  # steps: memory is allocated, networks are compiled, the loader's workers read ahead
TRACED = 2  # steps: to see where one meets the next
TABLE, TRACE = "steps.txt", "trace.json.gz"


def execute(options: Namespace) -> None:
    """Profile as the command line says, and say where the files are; Mistake for whatever a person can put right."""
    check_path(options.config, "CONFIG")
    check_config_file(options.config, options.shipped)
    config = load_config(RunConfig, options.config, options.overrides)
    prepare(config)
    folder = folder_of(config).path
    out = options.out or folder.with_name(f"{folder.name}-profile")
    check_path(out, "--out")
    WATCH.start()
    accelerator = make_accelerator(config)
    compare_start(accelerator, config, {"profile": options.steps})
    on_main(accelerator, lambda: check_out(out, folder), "making the folder of the profile")
    with naming_shortage(config, accelerator):
        run = assemble(config, accelerator)
        profile(run, options.steps, out)
    run.accelerator.end_training()


def check_out(out: Path, run: Path) -> None:
    """Make the folder that is written to; Mistake where that fails, or it lies in the run's."""
    if out.resolve().is_relative_to(run.resolve()):
        raise Mistake(f"--out: {out} lies in the run folder {run}, into which a profile writes nothing; give another.")
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(f"--out: {out} cannot be made: {error.strerror or error}.") from None


def profile(run: Experiment, steps: int, out: Path) -> None:
    """Take `steps` steps that are timed, and a few that are traced; print the table, and write both. Collective."""
    feed, watch, on_gpu = run.open_feed(), run.model.stopwatch, run.accelerator.device.type == "cuda"
    fill_pool_with_one_pair(run, feed)
    first = first_steps(run)[-1]
    numbers = (min(step, run.config.max_train_steps - 1) for step in count(first))
    for note in run.notes:
        run.telemetry.say(note)
    take(run, feed, numbers, WARM_UP)
    watch.is_detailed = True
    watch.read()
    take(run, feed, numbers, steps)
    times = watch.read()
    watch.is_detailed = False
    told = headline(run, range(first, first + steps), times.total)  # with the peak of memory, before it is traced
    if not on_gpu:
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # lines of its bookkeeping; of a GPU its errors are worth them
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with torch.profiler.profile(activities=activities) as traced:
        take(run, feed, numbers, TRACED)
        watch.read()  # waits for the device
    if not run.accelerator.is_main_process:
        return
    operators = [
        Operator(event.key, event.count, event.self_cpu_time_total / 1e6, event.self_device_time_total / 1e6)
        for event in traced.key_averages()
        if is_operator(event)
    ]
    text = "\n".join(
        [
            told,
            "",
            parts_table(steps, times.total, times.cost, times.host, on_gpu),
            "",
            f"the heaviest operators of {TRACED} more steps, a step of them; the profiler slows down what it watches:",
            "",
            operators_table(operators, TRACED, on_gpu),
            "",
        ]
    )
    run.telemetry.say(text)
    try:
        (out / TABLE).write_text(text, encoding="utf-8")
        traced.export_chrome_trace(str(out / TRACE))
    except OSError as error:
        raise Mistake(f"--out: {out} cannot be written: {error.strerror or error}.") from None
    run.telemetry.say(f"{out / TABLE} and {out / TRACE}, which ui.perfetto.dev opens, were written.")


def take(run: Experiment, feed: Feed, numbers: Iterator[int], steps: int) -> None:
    """Take optimizer steps as the loop does, without reports, validations and checkpoints."""
    for _ in range(steps):
        step = run.state.step = next(numbers)
        with WATCH.phase("taking a step", lambda: f"step {step + 1}"):  # noqa: B023 - called meanwhile
            for pictures in feed.take_step():
                run.model.feed_data(pictures)
            run.telemetry.add(run.model.optimize_parameters(step + 1))
            feed.read_step()


def headline(run: Experiment, steps: range, seconds: float) -> str:
    """What was profiled, in two lines."""
    device, batch = run.accelerator.device, run.model.batch
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "the CPU"
    each = seconds / len(steps)
    figures = Throughput(run.model).figures(steps, each)
    speed = [f"{each:.3f} s a step", f"{batch.global_size / each:.1f} images/s"]
    speed += [f"{figures['speed/tflops']:.3g} TFLOP/s a process"] if "speed/tflops" in figures else []
    speed += [f"{100 * figures['speed/mfu']:.1f} % of the GPU's peak"] if "speed/mfu" in figures else []
    speed += [f"peak memory {peak_memory(device):.2f} GiB"]
    return f"{run.config.name} on {name}, {len(steps)} steps{who_learns(run, steps[0])} of {batch}\n{', '.join(speed)}"
