"""Cost of making the pairs in an adversarial training step: not made, made before the step, made beside it.

    python benchmarks/training_step.py --batch 48            # on a GPU; each row is printed as it is measured
    python benchmarks/training_step.py --dry-run             # on a CPU, tiny: the figures mean nothing

The networks and losses are the trainer's own (RRDBNet, U-Net discriminator, VGG19 with random weights, L1), and so are
the pairs (sharpened, two orders, 8 bits) and the stream on which they are made. Crops of 400 x 400 come from the
host. Without diffusers, a bare module replaces its base class.
"""

# ruff: noqa: E402 - what stands in for diffusers must come first
from __future__ import annotations

import argparse
import sys
import time
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from itertools import count, islice, pairwise, repeat
from statistics import median

import torch
from torch import Tensor, nn


def without_diffusers() -> None:
    """Stand-ins for the networks' imports from diffusers, for machines without it: nothing is saved or loaded here."""
    modules = ("diffusers", "diffusers.configuration_utils", "diffusers.models", "diffusers.models.modeling_utils")
    for name in modules:
        sys.modules[name] = types.ModuleType(name)
    vars(sys.modules[modules[1]]).update(ConfigMixin=object, register_to_config=lambda function: function)
    vars(sys.modules[modules[3]]).update(ModelMixin=nn.Module)


if find_spec("diffusers") is None:
    without_diffusers()

from degradations import SecondOrder
from trainer.images.levels import unit
from trainer.losses.adversarial import AdversarialLoss
from trainer.losses.perceptual import PerceptualDistance, PerceptualLoss
from trainer.losses.vgg import STAGES, VGG19Features
from trainer.networks.layers.spectral_norm import advance
from trainer.networks.rrdb import RRDBNet
from trainer.networks.unet_discriminator import UNetDiscriminatorSN
from trainer.pairs.side_stream import SideStream
from trainer.pairs.synthesis import PairBatch, Synthesis


def random_vgg(width: int) -> dict[str, Tensor]:
    """VGG19's tensors with random values, `width` of the usual 64 channels in its first stage."""
    tensors, inputs, number = {}, 3, 0
    for stage, convolutions in enumerate(STAGES):
        outputs = width * min(2**stage, 8)
        for _ in range(convolutions):
            tensors[f"features.{number}.weight"] = torch.randn(outputs, inputs, 3, 3) * (2 / (9 * inputs)) ** 0.5
            tensors[f"features.{number}.bias"] = torch.zeros(outputs)
            inputs, number = outputs, number + 2  # an activation follows each
        number += 1  # and a pooling each stage
    return tensors


@dataclass
class AdversarialTraining:
    """Both networks and their objectives, as in `configs/realesrgan_x4plus.yaml`."""

    generator: nn.Module
    critic: nn.Module
    perceptual: nn.Module
    adversarial: AdversarialLoss
    optimizers: tuple[torch.optim.Optimizer, torch.optim.Optimizer]

    @classmethod
    def on(cls, device: torch.device, tiny: bool) -> AdversarialTraining:
        """The networks of the recipe; with few channels if `tiny`."""
        generator = (RRDBNet(scale=4, num_feat=8, num_block=1, num_grow_ch=4) if tiny else RRDBNet(scale=4)).to(device)
        critic = UNetDiscriminatorSN(num_feat=4 if tiny else 64).to(device)
        config = PerceptualLoss()
        vgg = VGG19Features(random_vgg(4 if tiny else 64), config.layer_weights)
        adam = (partial(torch.optim.Adam, lr=1e-4, betas=(0.9, 0.99), fused=device.type == "cuda"),) * 2
        optimizers = tuple(make(net.parameters()) for make, net in zip(adam, (generator, critic), strict=True))
        return cls(generator, critic, PerceptualDistance(vgg, config).to(device), AdversarialLoss(), optimizers)

    def steps(self, pairs: Iterator[PairBatch], accumulation: int, half: bool) -> None:
        """One step from the next `accumulation` micro-batches."""
        self.step(list(islice(pairs, accumulation)), half)

    def step(self, pairs: list[PairBatch], half: bool) -> None:
        """Train both networks on the micro-batches of one step."""
        device, accumulation = pairs[0].lq.device, len(pairs)
        precision = torch.autocast(device.type, torch.bfloat16, enabled=half)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        self.critic.requires_grad_(False)
        seen = []
        for pair in pairs:
            target = unit(pair.gt)
            with precision:
                result = self.generator(unit(pair.lq))
                distances = self.perceptual(result, target)
                reward = self.adversarial.generator(self.critic(result))
                loss = nn.functional.l1_loss(result, target) + distances["perceptual"]
            ((loss + self.adversarial.weight * reward) / accumulation).backward()
            seen.append((target, result.detach()))
        self.optimizers[0].step()
        self.critic.requires_grad_(True)
        advance(self.critic)
        for real, fake in seen:
            with precision:
                logits = self.critic(torch.cat([real, fake.to(real.dtype)]))
                loss = sum(self.adversarial.discriminator(*logits.chunk(2)))
            (loss / accumulation).backward()
        self.optimizers[1].step()


def made(synthesis: Synthesis, crops: Tensor, device: torch.device) -> Iterator[PairBatch]:
    """PairBatch from crops on the host, new positions each time, without end."""
    for start in count(step=len(crops)):
        yield synthesis.synthesize(crops.to(device, non_blocking=True), torch.arange(start, start + len(crops)))


def made_beside(pairs: Iterator[PairBatch], device: torch.device) -> Iterator[PairBatch]:
    """The same pairs, made on a stream of their own."""
    stream = SideStream(device)
    while True:
        yield stream.make(partial(next, pairs))


def timed(step: Callable[[], object], rounds: int, device: torch.device) -> float:
    """Milliseconds of a step: the median, from the end of one to the end of the next."""
    step()
    step()
    if device.type == "cpu":
        marks = [time.perf_counter()]
        for _ in range(rounds):
            step()
            marks.append(time.perf_counter())
        return 1e3 * median(b - a for a, b in pairwise(marks))
    events = [torch.cuda.Event(enable_timing=True) for _ in range(rounds + 1)]
    events[0].record()
    for event in events[1:]:
        step()
        event.record()
    torch.cuda.synchronize()
    return median(a.elapsed_time(b) for a, b in pairwise(events))


def fitting(training: AdversarialTraining, pairs: Callable[[int], PairBatch], batch: int, half: bool) -> int:
    """The largest micro-batch, a half, a quarter, ... of the batch, for which the memory suffices."""
    micro = batch
    while True:
        try:
            training.step([pairs(micro)] * (batch // micro), half)
            return micro
        except torch.OutOfMemoryError:
            if micro == 1:
                raise
            micro //= 2
            torch.cuda.empty_cache()


def measure(device: torch.device, batch: int, rounds: int, tiny: bool) -> None:
    """Print the table, each row as soon as it is measured."""
    side, gt_size = (64, 32) if tiny else (400, 256)
    crops = torch.randint(0, 256, (batch, 3, side // 8, side // 8), dtype=torch.uint8)
    crops = crops.repeat_interleave(8, 2).repeat_interleave(8, 3)
    crops = crops.pin_memory() if device.type == "cuda" else crops
    synthesis = Synthesis(SecondOrder(), seed=0, scale=4, gt_size=gt_size, gt_usm=True)
    training = AdversarialTraining.on(device, tiny)
    print(f"\nadversarial step, batch {batch}, RRDBNet, U-Net discriminator, VGG19; milliseconds, share above none")
    print("| networks | micro-batch | none made | before the step | beside it |\n|---|--:|--:|--:|--:|", flush=True)
    for half in (True, False):
        micro = fitting(training, lambda n: next(made(synthesis, crops[:n], device)), batch, half)
        accumulation = batch // micro
        fixed = next(made(synthesis, crops[:micro], device))
        print(f"| {'bf16' if half else 'TF32'} | {micro} |", end="", flush=True)
        none = 0.0
        fresh = partial(made, synthesis, crops[:micro], device)
        for pairs in (repeat(fixed), fresh(), made_beside(fresh(), device)):
            spent = timed(partial(training.steps, pairs, accumulation, half), rounds, device)
            share = f" ({spent / none - 1:+.1%})" if none else ""
            none = none or spent
            print(f" {spent:.1f}{share} |", end="", flush=True)
        print(flush=True)


def main() -> None:
    """Command line; see the module."""
    parser = argparse.ArgumentParser(description="The share of the degradation in a training step.")
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--dry-run", action="store_true", help="on the CPU, tiny")
    options = parser.parse_args()
    if options.dry_run:
        measure(torch.device("cpu"), 2, 2, tiny=True)
        return
    torch.set_float32_matmul_precision("high")
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cudnn.benchmark = True
    measure(torch.device("cuda", torch.cuda.current_device()), options.batch, options.rounds, tiny=False)


if __name__ == "__main__":
    main()
