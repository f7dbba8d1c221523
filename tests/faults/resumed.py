"""Bitwise comparison of a resumed run with an uninterrupted one on more than two ranks.

    python -m tests.faults.resumed [--world 4]

From three ranks on the order of sums changes the result, and DistributedDataParallel puts gradients into other buckets
after a start's first step: see `Learner.rehearse`.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import safetensors.torch
import torch

from tests.faults.forked import TINY, Job

GAME = "adversarial={discriminator: {type: UNetDiscriminatorSN, num_feat: 4}}"
PARTS = ("generator", "discriminator", "generator_ema")


def train(world: int, folder: Path, steps: int) -> None:
    """Train the tiny run with two networks up to `steps`."""
    log = folder.with_name(f"{folder.name}-{steps}.log")
    job = Job(world, log, [str(TINY), f"output_dir={folder}", "batch.per_device=1", GAME, f"max_train_steps={steps}"])
    codes = job.wait(240)
    job.end()
    assert codes == [0] * world, (codes, log.read_text()[-3000:])


def tensors(folder: Path, part: str) -> dict[str, torch.Tensor]:
    """Weights of one part of the last checkpoint."""
    return safetensors.torch.load_file(folder / "tiny" / "checkpoints" / "step-00000006" / f"{part}.safetensors")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train both, and print the largest difference of each part's weights."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--world", type=int, default=4)
    world = parser.parse_args(arguments).world
    with tempfile.TemporaryDirectory() as name:
        whole, cut = Path(name, "whole"), Path(name, "cut")
        for folder, steps in ((whole, 6), (cut, 3), (cut, 6)):
            train(world, folder, steps)
        for part in PARTS:
            one, two = tensors(whole, part), tensors(cut, part)
            print(f"{part}: {max(float((one[key] - two[key]).abs().max()) for key in one)}")


if __name__ == "__main__":
    main()
