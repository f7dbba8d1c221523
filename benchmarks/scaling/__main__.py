"""Scaling: what 1 to 4 ranks send each other, counted, and a model of 8, 64 and 512 GPUs from it.

    python benchmarks/scaling                                   # RealESRGAN x4plus, some five minutes on two cores
    python benchmarks/scaling CONFIG [key=value ...] --ranks 1,2 --gpus 8,64

Counted are the collectives of the trainer's own runs between forked ranks on gloo, at small pictures and full networks:
what gradients, control, reports and saves send does not depend on the size of pictures, and pairs are counted by their
bytes. The operations of a pair are counted at the full size. The rest is a model: its assumptions are printed with it.
"""

import argparse
import io
import math
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch.utils._python_dispatch import TorchDispatchMode

HERE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(HERE), str(HERE.parent)]  # the other benchmarks, and tests/, whose forked ranks serve here too

from memory_and_hours import model_of  # noqa: E402

from scaling.counted import Overlap, Row, overlaps_of, ranks_of, rows_of  # noqa: E402
from scaling.modelled import Machine, Network, Step, Work, checkpoint, step_of  # noqa: E402
from trainer import flops  # noqa: E402
from trainer.config.loader import load_config  # noqa: E402
from trainer.config.schema import RunConfig  # noqa: E402
from trainer.images.decode import decode  # noqa: E402
from trainer.pairs.pool import PairShape  # noqa: E402

SOURCE = "{type: package, package: skimage, folder: data, files: [astronaut.png, coffee.png]}"
SHEET = "{type: package, package: skimage, folder: data, files: [chelsea.png]}"
STEPS = 6
SMALL = (
    f"images.source={SOURCE}",
    f"validation.source={SHEET}",
    *(
        "images.crop_size=96",
        "gt_size=64",
        "images.dataloader_num_workers=0",
        "losses.perceptual=null",
        "percep_gt_usm=false",
    ),
    *("init.generator=null", "mixed_precision=no", "validation.max_side=48", "validation.draws=4"),
    *("validation.num_samples=4", f"validation.validation_steps={STEPS}", "telemetry.report_to=none"),
    *(f"max_train_steps={STEPS}", f"telemetry.report_steps={STEPS // 2}", f"checkpoints.checkpointing_steps={STEPS}"),
)
"""The full networks at pictures by which a step takes seconds on a CPU, with a report, a validation and a save."""


def small(path: Path, overrides: Sequence[str], world: int, folder: str) -> RunConfig:
    """A configuration for `world` ranks of two micro-batches of a pair each."""
    sizes = [f"batch.global_size={2 * world}", "batch.per_device=1", f"queue_size={8 * world}", f"output_dir={folder}"]
    return load_config(RunConfig, path, [*SMALL, *sizes, *overrides])


def counted(world: int, config: RunConfig, folder: Path) -> tuple[list[Row], list[Overlap]]:
    """Count a run; RuntimeError where the counts are not what a closed form gives."""
    ranks = ranks_of(world, config, folder)
    rows = rows_of(ranks)
    if world > 1:
        facts, found = ranks[0], {row.kind: row for row in rows}
        wanted = {f"gradients of {name}": 4.0 * count for name, count in facts["parameters"].items()}
        wanted["control"] = 16.0
        if facts["row"]:
            wanted["pool"] = 2.0 * facts["row"] * facts["global_size"] / world
        for kind, size in wanted.items():
            if not math.isclose(found[kind].bytes, size):
                raise RuntimeError(f"{kind}: counted {found[kind].bytes} bytes a step, {size} by the closed form")
    return rows, overlaps_of(ranks)


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def size_of(number: float) -> str:
    """Bytes in words."""
    unit = next((unit for unit in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)) if number >= unit[1]), None)
    return f"{number / unit[1]:.3g} {unit[0]}" if unit else f"{number:.0f} B"


def show_counts(runs: dict[int, tuple[list[Row], list[Overlap]]]) -> None:
    """Print what was counted."""
    body = []
    for world, (rows, _) in runs.items():
        body += [
            [world, row.kind, row.every, f"{row.calls:.3g}", size_of(row.bytes), size_of(row.sent)] for row in rows
        ]
    print("counted: a rank's mean\n")
    print(table(["ranks", "exchange", "each", "collectives", "bytes", "sent by a rank"], body))
    body = []
    for world, (_, overlaps) in runs.items():
        for one in overlaps:
            leaves = ", ".join(
                f"{size_of(size)} at {share:.0%}" for size, share in zip(one.bytes, one.ready, strict=True)
            )
            body.append([world, one.kind, leaves, f"{one.hidden:.0%}"])
    print("\ncounted: buckets, by the share of the backward pass that is over when each leaves\n")
    print(
        table(["ranks", "exchange", "buckets", "of the time of exchanges before the last one leaves"], body), flush=True
    )


class Launches(TorchDispatchMode):
    """Number of operations that are no views."""

    count = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.count += not func.is_view
        return func(*args, **(kwargs or {}))


def work_of(config: RunConfig, overlaps: Sequence[Overlap]) -> Work:
    """What a step computes and saves, counted on the model of a configuration at its full size, without data."""
    model = model_of(replace(config, batch=replace(config.batch, global_size=2, per_device=2)))
    generator, discriminator, _ = flops.without_data(model)
    side, bands = config.gt_size, config.images.bands
    forward = {}
    for name, net, edge in (("generator", generator, side // config.scale), ("discriminator", discriminator, side)):
        if net is not None:
            with (counter := flops.Counter()), torch.no_grad():
                net(torch.empty(1, bands, edge, edge, device="meta"))
            forward[name] = counter.total
    networks = [Network(one, 2 * forward[one.kind.removeprefix("gradients of ")]) for one in overlaps]
    weights = {name: 4 * sum(p.numel() for p in one.learning) for name, one in model.state.learners.items()}
    low = side // config.scale
    row = PairShape((bands, low, low), (bands, side, side)).bytes
    state = 3 * sum(weights.values()) + weights["generator"]  # weights and two moments; and the generator's average
    phase = model.phase(config.max_train_steps - 1)
    with (launched := Launches()):
        operations = flops.count(model, phase, None)
    return Work(operations / 2, launched.count, networks, row, state, 2 * max(weights.values()))


def show_model(work: Work, gpus: Sequence[int], pairs: int, slots: int, machine: Machine) -> list[Step]:
    """Print the model of steps and saves; the steps."""
    steps = [step_of(work, number, pairs, machine) for number in gpus]
    print(f"\nmodelled: {pairs} pairs on each GPU. Counted: {work.flops / 1e12:.3f} TFLOP of each, and {work.launches}")
    print("operations that the host launches for them. Assumed:", end=" ")
    print("; ".join(f"{one.name} {getattr(machine, one.name):.4g}" for one in fields(machine)), "\n")
    header = (
        "GPUs, global batch, computation ms, gradients ms, of them exposed ms, pool MB, pool ms, host ms, control ms"
    )
    body = [
        [
            *(one.gpus, one.gpus * pairs),
            *(f"{1e3 * seconds:.1f}" for seconds in (one.compute, one.exchange, one.exposed)),
            *(
                f"{one.pool_bytes / 1e6:.1f}",
                f"{1e3 * one.pool:.2f}",
                f"{1e3 * one.launches:.1f}",
                f"{1e3 * one.control:.1f}",
            ),
            *(f"{one.efficiency:.1%}", f"{one.gpus * one.rate:.0f}"),
        ]
        for one in steps
    ]
    print(table([*header.split(", "), "efficiency", "pairs/s"], body))
    body = []
    for number in gpus:
        size, at_once, background = checkpoint(work, number, slots, machine)
        body.append([number, f"{size / 1e9:.2f}", f"{at_once:.2f}", f"{background:.3f}"])
    print(f"\nmodelled: saves, with a pool of {slots} pairs for each GPU\n")
    print(table(["GPUs", "GB", "held up s", "in the background s"], body))
    return steps


def sources() -> Iterator[tuple[str, bytes]]:
    """Encoded pictures as folders and shards have them, made of a photograph of 512 x 512."""
    from skimage import data

    photo = data.astronaut()
    large = np.tile(photo, (3, 4, 1))[:1356, :2040]
    for name, array, form, options in (
        ("2040 x 1356 PNG", large, "PNG", {}),
        ("2040 x 1356 JPEG, quality 92", large, "JPEG", {"quality": 92}),
        ("tile of 512, PNG", photo, "PNG", {}),
        ("tile of 512, lossless WebP", photo, "WEBP", {"lossless": True}),
        ("tile of 512, JPEG, quality 95", photo, "JPEG", {"quality": 95}),
    ):
        file = io.BytesIO()
        Image.fromarray(array).save(file, form, **options)
        yield name, file.getvalue()


def decoding(data: bytes, crop: int, rounds: int) -> float:
    """CPU seconds in which the loader's own function decodes a picture, and a square is cut from it; the least."""
    spent = []
    for _ in range(rounds):
        begin = time.process_time()
        decode(data, "picture")[:, :crop, :crop].contiguous()
        spent.append(time.process_time() - begin)
    return min(spent)


def show_loader(steps: Sequence[Step], crop: int, machine: Machine, rounds: int = 15) -> None:
    """Print the cores that decode pictures for a GPU, by source: the same for any number of nodes."""
    rate = max(one.rate for one in steps)
    body = []
    for name, data in sources():
        seconds = decoding(data, crop, rounds) + IPC
        cores = rate * seconds
        body.append([name, f"{1e3 * seconds:.1f}", f"{cores:.1f}", f"{min(1.0, machine.cores / cores):.0%}"])
    print(f"\ndecoding measured in CPU time ({1e3 * IPC:.1f} ms between processes assumed), cores modelled: {rate:.0f}")
    print(f"pairs a second for each GPU, which has {machine.cores} cores\n")
    print(table(["source", "ms a picture", "cores for a GPU", "of its speed with these"], body))


IPC = 0.75e-3
"""CPU seconds by which a picture gets from a worker to the training process."""


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description="Count what ranks exchange, and model many GPUs from it.")
    parser.add_argument("config", nargs="?", type=Path, default=HERE.parent / "configs" / "realesrgan_x4plus.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--ranks", default="1,2,3,4", help="numbers of forked ranks to count")
    parser.add_argument("--gpus", default="1,8,64,512", help="numbers of GPUs to model")
    parser.add_argument("--per-gpu", type=int, default=12, help="pairs of a step on each GPU")
    parser.add_argument("--slots", type=int, default=180, help="pairs of the pool for each GPU")
    options = parser.parse_intermixed_args()
    torch.set_num_threads(1)
    runs = {}
    for world in map(int, options.ranks.split(",")):
        with tempfile.TemporaryDirectory() as folder:
            runs[world] = counted(world, small(options.config, options.overrides, world, folder), Path(folder))
    show_counts(runs)
    machine, config = Machine(), load_config(RunConfig, options.config, options.overrides)
    work = work_of(config, runs[max(runs)][1])
    gpus = [int(number) for number in options.gpus.split(",")]
    show_loader(show_model(work, gpus, options.per_gpu, options.slots, machine), config.images.crop_size, machine)
    print(f"\ntorch {torch.__version__}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
