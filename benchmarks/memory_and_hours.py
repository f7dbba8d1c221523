"""Estimate of the memory of a training step and of a run's hours, by GPU, without one: counted, not measured.

    python benchmarks/memory_and_hours.py                            # the table of configs/recipes.md, in two minutes
    python benchmarks/memory_and_hours.py CONFIG [key=value ...]     # of another configuration
    python benchmarks/memory_and_hours.py --check                    # the count against a process on the CPU

The trainer's own step (`trainer.steps.train_step` on the networks and losses of the configuration, under its autocast)
runs on fake tensors, which have shapes and no values. Counted are the bytes of all tensors that are alive at once, the
floating-point operations of convolutions and matrix products, and the bytes that all other operations read and write.
Not counted are the degradation, cuDNN's workspaces, the CUDA context and gaps between blocks, for which
`RESERVED` stands.
"""

from __future__ import annotations

import argparse
import resource
import warnings
import weakref
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from random_vgg import random_vgg
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from trainer.config.loader import load_config
from trainer.config.schema import RunConfig
from trainer.losses.perceptual import PerceptualDistance
from trainer.losses.vgg import VGG19Features
from trainer.models import RealESRGANModel, RealESRNetModel
from trainer.objective import Objective
from trainer.pairs.synthesis import PairBatch
from trainer.steps import train_step

CONFIGS = Path(__file__).parents[1] / "configs"
SHIPPED = ("realesr_general_x4v3", "realesrnet_x4plus", "realesrgan_x4plus")
RESERVED = 1.5 * 2**30
"""Bytes of a GPU that are left for what is not counted; on top of `GAPS`."""
GAPS = 1.1
"""The allocator's memory over that of the tensors in it."""
EFFICIENCY = 0.2
"""The share of the peak at which convolutions are taken to run, changes of layout included."""
BATCH = 48
"""Pairs of an optimizer step, as upstream's."""
STEPS = 10_000


@dataclass(frozen=True, slots=True)
class Card:
    """A GPU by its data sheet: GB of memory, dense bf16 or fp16 TFLOP/s accumulated in fp32, and TB/s of memory."""

    name: str
    memory: int
    peak: float
    bandwidth: float


CARDS = (
    Card("RTX 4060", 8, 30, 0.272),
    Card("RTX 3060", 12, 25, 0.360),
    Card("T4 (fp16)", 16, 65, 0.320),
    Card("RTX 4090", 24, 165, 1.008),
    Card("L40S", 48, 362, 0.864),
    Card("A100 80 GB", 80, 312, 2.039),
    Card("H100 SXM", 80, 989, 3.35),
)


class Counted(TorchDispatchMode):
    """Bytes of the tensors alive, now and at most, and bytes moved by operations that are no convolutions."""

    def __init__(self) -> None:
        super().__init__()
        self.alive, self.peak, self.moved = 0, 0, 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        tensors = [leaf for leaf in tree_leaves(made) if isinstance(leaf, Tensor)]
        read = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, Tensor)]
        is_view = {t.untyped_storage()._cdata for t in tensors} <= {t.untyped_storage()._cdata for t in read}
        if not (is_view and not func._schema.is_mutable) and "convolution" not in func.__name__:
            self.moved += sum(t.numel() * t.element_size() for t in (*tensors, *read))
        for tensor in tensors:
            self.add(tensor)
        return made

    def add(self, tensor: Tensor) -> None:
        """Count the storage of a tensor until it is freed."""
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if key not in self.known:
            self.known.add(key)
            self.alive += size
            self.peak = max(self.peak, self.alive)
            weakref.finalize(storage, self.free, key, size)

    def free(self, key: int, size: int) -> None:
        """Forget a storage."""
        self.known.discard(key)
        self.alive -= size


@dataclass(frozen=True, slots=True)
class Count:
    """A step of one micro-batch: bytes at most, floating-point operations, and bytes moved beside convolutions."""

    peak: float
    flops: float
    moved: float


def counted(config: RunConfig, per_device: int, fake: bool = True) -> Count:
    """Count one optimizer step of one micro-batch of `per_device` pairs; with values too if not `fake`."""
    config = replace(config, batch=replace(config.batch, global_size=per_device, per_device=per_device))
    with ExitStack() as stack:
        if fake:
            stack.enter_context(warnings.catch_warnings())
            warnings.filterwarnings("ignore", "Accessing the data pointer of FakeTensor")  # by copies of a module
            stack.enter_context(FakeTensorMode())
        model = model_of(config)
        bands, side = config.images.bands, config.gt_size
        lq = torch.zeros(per_device, bands, side // config.scale, side // config.scale, dtype=torch.uint8)
        pair = PairBatch(lq, torch.zeros(per_device, bands, side, side, dtype=torch.uint8), torch.arange(per_device))
        train_step(model, [pair])  # which makes the moments
        tensors = Counted()
        for tensor in permanent(model):
            tensors.add(tensor)
        flops = stack.enter_context(FlopCounterMode(display=False))
        with tensors:
            train_step(model, [pair])
        pool = config.queue_size * (lq[0].nbytes + pair.gt[0].nbytes)
        return Count(tensors.peak + pool, flops.get_total_flops(), tensors.moved)


def apart(config: RunConfig, per_device: int) -> Count:
    """`counted` in a process of its own: what is cached there is fake, and of no use to the next."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as process:
        return process.submit(counted, config, per_device).result()


def model_of(config: RunConfig) -> RealESRNetModel:
    """The model of a configuration with random weights, those of VGG19 too, and without a pool."""
    config = replace(config, queue_size=0, init=type(config.init)(), validation=None)
    # Fake tensors have no device to be moved to.
    accelerator = Accelerator(cpu=True, mixed_precision=config.mixed_precision, device_placement=False)
    model = (RealESRGANModel if config.adversarial else RealESRNetModel)(config, accelerator=accelerator)
    perceptual, game = config.losses.perceptual, config.adversarial
    if perceptual:
        vgg = VGG19Features(random_vgg(64), perceptual.layer_weights)
        distance = PerceptualDistance(vgg, perceptual).eval().requires_grad_(False)
        model.objective = Objective(config.losses, distance, game.loss if game else None)
    return model


def permanent(model: RealESRNetModel) -> Iterator[Tensor]:
    """The tensors that stay from step to step: weights, moments, average, the losses' networks."""
    for learner in model.state.learners.values():
        yield from (*learner.net.parameters(), *learner.net.buffers())
        for state in learner.optimizer.state.values():
            yield from (value for value in state.values() if isinstance(value, Tensor))
    yield from model.state.ema.ema_model.parameters()
    if model.objective.perceptual:
        yield from (*model.objective.perceptual.parameters(), *model.objective.perceptual.buffers())


@dataclass(frozen=True, slots=True)
class Estimate:
    """The line through two counts: bytes of a step without pairs, bytes of each pair, and what a pair costs in time."""

    fixed: float
    each: float
    flops: float
    moved: float

    @classmethod
    def of(cls, config: RunConfig) -> Estimate:
        """Count a step of two pairs and one of four."""
        two, four = apart(config, 2), apart(config, 4)
        each = (four.peak - two.peak) / 2
        return cls(two.peak - 2 * each, each, four.flops / 4, (four.moved - two.moved) / 2)

    def memory(self, per_device: int) -> float:
        """Bytes of a GPU that a micro-batch of so many pairs takes."""
        return GAPS * (self.fixed + per_device * self.each) + RESERVED

    def per_device(self, card: Card) -> int:
        """The largest part of a batch that fits; 0 if none does."""
        parts = [part for part in range(1, BATCH + 1) if BATCH % part == 0]
        return max((part for part in parts if self.memory(part) <= card.memory * 1e9), default=0)

    def hours(self, card: Card) -> float:
        """Hours of `STEPS` steps: convolutions at `EFFICIENCY` of the peak, all else at the memory's full speed."""
        pair = self.flops / (EFFICIENCY * card.peak * 1e12) + self.moved / (card.bandwidth * 1e12)
        return STEPS * BATCH * pair / 3600


def table(configs: dict[str, RunConfig]) -> None:
    """Print the counts, and by card the largest `batch.per_device`, its memory and the hours."""
    estimates = {}
    for name, config in configs.items():
        estimates[name] = found = Estimate.of(config)
        print(
            f"{name}, gt_size {config.gt_size}: {found.fixed / 1e9:.2f} GB and {found.each / 1e9:.2f} GB a pair; "
            f"{found.flops / 1e12:.2f} TFLOP and {found.moved / 1e9:.1f} GB moved a pair",
            flush=True,
        )
    print(f"\nestimated: largest batch.per_device (GB), hours of {STEPS} steps of {BATCH}")
    print(f"| GPU | GB | {' | '.join(estimates)} |\n|---|--:|{'---|' * len(estimates)}")
    for card in CARDS:
        cells = []
        for found in estimates.values():
            part = found.per_device(card)
            cells.append(f"{part} ({found.memory(part) / 1e9:.0f} GB), {found.hours(card):.1f} h" if part else "none")
        print(f"| {card.name} | {card.memory} | {' | '.join(cells)} |")


def check(config: RunConfig) -> None:
    """Print the count of a step beside what the process grew by, which includes the libraries' workspaces."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    real = counted(config, 2, fake=False)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    fake = apart(config, 2)
    print(f"counted {fake.peak / 1e9:.3f} GB, with values {real.peak / 1e9:.3f}; the process grew by {grown / 1e9:.3f}")


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description="Estimate memory and hours by GPU, without one.")
    parser.add_argument("config", nargs="?", type=Path)
    parser.add_argument("overrides", nargs="*", metavar="key=value")
    parser.add_argument("--check", action="store_true", help="compare the count with a process on the CPU")
    options = parser.parse_intermixed_args()
    paths = [options.config] if options.config else [CONFIGS / f"{name}.yaml" for name in SHIPPED]
    if options.check:
        check(load_config(RunConfig, paths[0], ["gt_size=128", "mixed_precision=no", *options.overrides]))
    else:
        table({path.stem: load_config(RunConfig, path, options.overrides) for path in paths})


if __name__ == "__main__":
    main()
