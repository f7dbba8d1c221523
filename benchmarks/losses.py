"""Price of each loss beside L1: milliseconds and memory of forward and backward for pictures [B, 3, 256, 256].

    python benchmarks/losses.py                   # batch 4, float32, on the GPU if there is one
    python benchmarks/losses.py --batch 12 --side 192

All in one run, one after the other and several times around, so that a busy machine is busy for all: of each the
fastest time. Memory is what lives at its peak beside the pictures and the networks. VGG19 and the discriminator have
random weights, which cost as much as trained ones. LDL's average is not run here: it costs a forward of the generator.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial

import torch
from random_vgg import random_vgg
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from trainer.losses import (
    LDL,
    ColourConsistency,
    ContextualLoss,
    FocalFrequency,
    GradientLoss,
    LumaConsistency,
    MultiScaleSSIM,
    PerceptualLoss,
    PixelLoss,
    SpectralAngle,
    TotalVariation,
)
from trainer.losses.contextual import ContextualDistance
from trainer.losses.feature_matching import FeatureRecorder, feature_distance
from trainer.losses.perceptual import PerceptualDistance
from trainer.losses.vgg import VGG19Features
from trainer.networks.unet_discriminator import UNetDiscriminatorSN

Loss = Callable[[Tensor, Tensor], Tensor]


def losses(side: int, width: int = 64) -> dict[str, tuple[Loss, list[nn.Module]]]:
    """Each loss by its key, with the networks that it needs; `width` is that of their first convolution."""
    vgg, contextual = PerceptualLoss(), ContextualLoss()
    perceptual = PerceptualDistance(VGG19Features(random_vgg(width), vgg.layer_weights), vgg)
    matched = ContextualDistance(VGG19Features(random_vgg(width), contextual.layer_weights), contextual)
    critic = UNetDiscriminatorSN(num_feat=width).requires_grad_(False)
    recorder = FeatureRecorder(critic, ())
    scales = max(number for number in range(1, 6) if number == 1 or not MultiScaleSSIM(scales=number).problem(side))
    found: dict[str, tuple[Loss, list[nn.Module]]] = {
        "pixel (L1)": (PixelLoss(), []),
        "tv": (lambda result, _: TotalVariation()(result), []),
        "sam": (SpectralAngle(), []),
        "gradient (spsr)": (GradientLoss(), []),
        "gradient (sobel)": (GradientLoss(type="sobel"), []),
        "luma": (LumaConsistency(), []),
        "colour": (ColourConsistency(), []),
        "focal_frequency": (FocalFrequency(), []),
        "ldl": (lambda result, target: LDL()(result, target, target.flip(-1)), []),
        f"ms_ssim ({scales} scales)": (MultiScaleSSIM(scales=scales), []),
        "adversarial (U-Net)": (lambda result, _: -critic(result).mean(), [critic]),
        "with feature_matching": (partial(matching, critic, recorder), [critic]),
        "perceptual (VGG19)": (lambda result, target: perceptual(result, target)["perceptual"], [perceptual]),
        "contextual": (matched, [matched]),
    }
    return found


def matching(critic: nn.Module, recorder: FeatureRecorder, result: Tensor, target: Tensor) -> Tensor:
    """The adversarial term and feature matching, by one forward of each."""
    with torch.no_grad(), recorder.recording() as wanted:
        critic(target)
    with recorder.recording() as got:
        reward = -critic(result).mean()
    return reward + feature_distance(got, wanted)


def once(loss: Loss, pair: tuple[Tensor, Tensor]) -> None:
    """Forward and backward."""
    result = pair[0].detach().requires_grad_()
    loss(result, pair[1]).backward()


def milliseconds(loss: Loss, pair: tuple[Tensor, Tensor]) -> float:
    """The time of one forward and backward."""
    _wait(pair[0].device)
    start = time.perf_counter()
    once(loss, pair)
    _wait(pair[0].device)
    return 1e3 * (time.perf_counter() - start)


def mebibytes(loss: Loss, pair: tuple[Tensor, Tensor]) -> float:
    """The most memory of a forward and backward, beside what was there before."""
    if pair[0].is_cuda:
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        once(loss, pair)
        return float(torch.cuda.max_memory_allocated() - before) / 2**20
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        once(loss, pair)
    live = peak = 0
    for event in sorted(profiled.profiler.kineto_results.events(), key=lambda event: event.start_ns()):
        if event.name() == "[memory]":
            live += event.nbytes()
            peak = max(peak, live)
    return peak / 2**20


def measure(device: torch.device, batch: int, side: int, rounds: int, width: int = 64) -> None:
    """Print the table."""
    torch.manual_seed(0)
    pair = torch.rand(2, batch, 3, side, side, device=device).unbind()
    table = losses(side, width)
    for _, networks in table.values():
        for net in networks:
            net.to(device)
    for loss, _ in table.values():
        once(loss, pair)
    memory = {name: mebibytes(loss, pair) for name, (loss, _) in table.items()}
    times: dict[str, list[float]] = {name: [] for name in table}
    for _ in range(rounds):
        for name, (loss, _) in table.items():
            times[name].append(milliseconds(loss, pair))
    first = min(times["pixel (L1)"])
    print(f"| loss of [{batch}, 3, {side}, {side}] | ms | times L1 | MiB |\n|---|--:|--:|--:|")
    for name, values in times.items():
        print(f"| {name} | {min(values):.1f} | {min(values) / first:.0f} | {memory[name]:.0f} |")


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--side", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    measure(torch.device("cuda" if torch.cuda.is_available() else "cpu"), options.batch, options.side, options.rounds)
