"""Part 2: the card's ceilings, and the speed of cuDNN on the convolutions of a training step."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from first_contact.measuring import milliseconds, synchronise
from first_contact.setting import Setting


@dataclass(frozen=True)
class Layer:
    """A convolution of a step: channels, side of its input, and its kernel."""

    name: str
    inputs: int
    outputs: int
    side: int
    taps: int = 3
    stride: int = 1

    def flops(self, batch: int) -> float:
        """Operations of the forward pass, or of either gradient."""
        return 2 * batch * self.inputs * self.outputs * (self.taps * (self.side // self.stride)) ** 2


LAYERS = (
    Layer("dense 64-32", 64, 32, 64), Layer("dense 128-32", 128, 32, 64), Layer("dense 160-32", 160, 32, 64),
    Layer("dense 192-64", 192, 64, 64), Layer("transposed 64-192", 64, 192, 64), Layer("dense 96-32", 96, 32, 64),
    Layer("tail 64-64", 64, 64, 256), Layer("critic 64-128 s2", 64, 128, 256, 4, 2),
    Layer("critic 512-256", 512, 256, 64), Layer("VGG 64-64", 64, 64, 256), Layer("VGG 256-256", 256, 256, 64),
    Layer("VGG 512-512", 512, 512, 16),
)  # fmt: skip


@dataclass(frozen=True)
class Way:
    """A way to compute convolutions."""

    batch: int
    half: bool
    nhwc: bool
    deterministic: bool
    benchmark: bool

    def __str__(self) -> str:
        words = ["bf16" if self.half else "TF32", "NHWC" if self.nhwc else "NCHW", f"batch {self.batch}"]
        words += ["deterministic"] * self.deterministic + ["benchmark"] * self.benchmark
        return ", ".join(words)


def ways(batches: tuple[int, ...]) -> Iterator[Way]:
    """The ways by their value: the trainer's today, its neighbours, then the rest."""
    for batch, half in ((batches[0], True), (batches[0], False), (batches[-1], True)):
        for deterministic, benchmark in ((True, False), (False, True), (True, True), (False, False)):
            for nhwc in (False, True):
                yield Way(batch, half, nhwc, deterministic, benchmark)


def ceilings(setting: Setting) -> None:
    """Copy and matrix products, then convolutions in each way, as long as there is time."""
    from degradation_cuda import copy_bandwidth

    setting.record.add("ceilings", "copy", TB_s=copy_bandwidth(setting.device) / 1e12)
    size = setting.sized(8192, 64)
    torch.backends.cuda.matmul.allow_tf32 = True
    for name, dtype in (("bf16", torch.bfloat16), ("TF32", torch.float32)):
        one, two = (torch.randn(size, size, device=setting.device, dtype=dtype) for _ in range(2))
        ms = milliseconds(lambda one=one, two=two: one @ two, setting.sized(20, 2), setting.device)
        setting.record.add("ceilings", f"matrix product, {name}", TFLOP_s=2 * size**3 / ms / 1e9)
    torch.backends.cudnn.allow_tf32 = True
    for way, layer in product(ways((48, 12) if not setting.tiny else (1,)), LAYERS):
        if setting.left() < 4 and not setting.tiny:
            setting.record.add("left out", f"convolutions from {way}, {layer.name} on", reason="no time was left")
            return
        convolution(setting, way, layer)
        if setting.tiny and layer is LAYERS[1]:
            return


def convolution(setting: Setting, way: Way, layer: Layer) -> None:
    """Record TFLOP/s of the forward pass and of both gradients."""
    torch.backends.cudnn.deterministic, torch.backends.cudnn.benchmark = way.deterministic, way.benchmark
    layout = torch.channels_last if way.nhwc else torch.contiguous_format
    kind, side = torch.bfloat16 if way.half else torch.float32, setting.sized(layer.side, 8)

    def made(*shape: int) -> Tensor:
        return torch.randn(shape, device=setting.device, dtype=kind).contiguous(memory_format=layout)

    x, weight = made(way.batch, layer.inputs, side, side), made(layer.outputs, layer.inputs, layer.taps, layer.taps)
    geometry: list[Any] = [[layer.stride] * 2, [1, 1], [1, 1], False, [0, 0], 1]
    forward: Callable[[], Tensor] = lambda: torch.ops.aten.convolution(x, weight, None, *geometry)  # noqa: E731
    gradient = torch.randn_like(forward())

    def backward(*wanted: bool) -> Callable[[], object]:
        return lambda: torch.ops.aten.convolution_backward(gradient, x, weight, None, *geometry, [*wanted, False])

    flops, figures = layer.flops(way.batch) * (side / layer.side) ** 2, {}
    for name, call in (("forward", forward), ("dgrad", backward(True, False)), ("wgrad", backward(False, True))):
        figures[name] = flops / milliseconds(call, setting.sized(5, 1), setting.device) / 1e9
    synchronise(setting.device)
    setting.record.add(f"convolutions, TFLOP/s: {way}", layer.name, **figures)
