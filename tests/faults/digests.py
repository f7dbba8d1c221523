"""Reproducibility of the tiny run across numbers of ranks, accumulation, workers and resumes.

    python -m tests.faults.digests

Trains the tiny run, with a stochastic generator, a discriminator and R1, with a global batch of 12 on 1 to 4 ranks,
with accumulation, with loader workers, and resumed half way on another number of ranks. Prints a row for each: whether
every step's digest equals the first row's exactly, and the largest difference of the final weights of both networks.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch

from tests.faults.forked import TINY, Job

HALF, STEPS = 3, 6
SETTINGS = [
    "queue_size=20",
    "batch.global_size=12",
    "telemetry.report_to=none",
    "validation=null",
    "generator={type: StochasticSRResNet, n_channels: 8, n_blocks: 2, noise_dim: 4, large_kernel_size: 3}",
    "adversarial.discriminator.type=UNetDiscriminatorSN",
    "adversarial.discriminator.num_feat=4",
    "adversarial.r1={gamma: 0.1, interval: 2}",
]


@dataclass(frozen=True)
class Case:
    """Parallel layout of one run: `worlds` has one number of ranks, or one for each half."""

    worlds: tuple[int, ...]
    per_device: int
    workers: int = 0

    def __str__(self) -> str:
        ranks = " -> ".join(map(str, self.worlds))
        accumulation = [12 // world // self.per_device for world in self.worlds]
        return f"{ranks:>6} ranks, accumulation {accumulation[0]}, {self.workers} workers"


CASES = (
    Case((1,), 3),  # every third is what the suite runs: 1 rank of 4 micro-batches, 4 of 1, 2 of 2, and two resumes
    Case((1,), 12),
    Case((1,), 1),
    Case((4,), 3),
    Case((2,), 6),
    Case((2,), 2, workers=2),
    Case((2,), 3),
    Case((3,), 4),
    Case((3,), 2),
    Case((1, 2), 6),
    Case((4,), 1, workers=1),
    Case((2, 1), 3, workers=4),
    Case((4, 3), 1),
    Case((2, 4), 3),
)


@dataclass(frozen=True)
class Outcome:
    """Digests of the training pairs, losses and final weights of a run."""

    digests: list[int]
    losses: list[float]
    weights: dict[str, torch.Tensor]


def train(case: Case, folder: Path) -> Outcome:
    """Train one case to its end, and read its outcome."""
    folder.mkdir()
    for world, last in zip(case.worlds, (STEPS,) if len(case.worlds) == 1 else (HALF, STEPS), strict=True):
        job = Job(world, folder / "log", [str(TINY), *SETTINGS, f"output_dir={folder}", f"max_train_steps={last}",
                  f"batch.per_device={case.per_device}", f"images.dataloader_num_workers={case.workers}"])  # fmt: skip
        codes = job.wait(120)
        job.end()
        assert codes == [0] * world, (case, codes, (folder / "log").read_text()[-3000:])
    return outcome(folder / "tiny")


def outcome(run: Path) -> Outcome:
    """The outcome of a run, read from its folder."""
    lines = [json.loads(text) for text in (run / "metrics.jsonl").read_text().splitlines()]
    newest = max((run / "checkpoints").glob("step-????????"))
    return Outcome(
        [line["training/digest"] for line in lines],
        [line["training/loss_pixel"] for line in lines],
        {
            f"{name} {key}": value
            for name in ("generator", "generator_ema", "discriminator")
            for key, value in safetensors.torch.load_file(newest / f"{name}.safetensors").items()
        },
    )


def compare(first: Outcome, other: Outcome) -> tuple[bool, float, float]:
    """Equality of the digests, and the largest differences of losses and weights."""
    losses = max(abs(a - b) for a, b in zip(first.losses, other.losses, strict=True))
    weights = max(float((first.weights[name] - other.weights[name]).abs().max()) for name in first.weights)
    return first.digests == other.digests, losses, weights


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 1 if a stream differs, or a result by more than rounding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="run each N-th case only")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    wrong = 0
    with tempfile.TemporaryDirectory() as name:
        first: Outcome | None = None
        for number, case in enumerate(CASES[:: options.every]):
            result = train(case, Path(name) / str(number))
            first = first or result
            equal, losses, weights = compare(first, result)
            wrong += not equal or weights > 1e-5 or len(result.digests) != STEPS
            verdict = "equal" if equal else "DIFFERENT"
            print(f"{case}: digests {verdict}, losses {losses:.1e}, weights {weights:.1e}", flush=True)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
