"""Trial of the kernels on a device before training: small pictures are compared with the reference's."""

from __future__ import annotations

from typing import Any

import torch
import triton
from einops import rearrange
from torch import Tensor

from degradations.fused import steps
from degradations.fused.second_order import Pairing
from degradations.fused.switch import SWITCH, DeviceBroken, KernelsUnusable
from degradations.keyed_random import Keys, Purpose, uniforms
from degradations.operations.crops import draw_crops, paired_crop
from degradations.operations.operation import NUMBERS_PER_OPERATION, Operation, OperationContext
from degradations.operations.sharpen import usm_sharpen
from degradations.second_order import SecondOrder

HEIGHT, WIDTH, SCALE, SIDE = 80, 96, 2, 32  # multiples of 16, as in training, for the same machine code

LIMIT = 0.2
"""Largest share of values that may differ. Rounding alone changes a coefficient of a JPEG now and then, and with it up
to 256 pixels of one of the pictures; a wrong kernel changes most values."""


def try_degradation(config: SecondOrder, device: torch.device, bands: int, count: int = 8) -> str:
    """Try the kernels on `device`: a reason in words if they fail or differ from the reference, else empty.

    It compiles them, which takes a minute the first time, and waits for the device.

    Raises:
        KernelsUnusable: see `explain_failure`.
    """
    pictures, positions = _pictures(count, bands), torch.arange(count)
    try:
        maker = Pairing(config=config, seed=0, scale=SCALE, side=SIDE, sharpen_gt=True)
        made = [part.cpu() for part in maker(pictures.to(device), positions.to(device))]
    except Exception as error:
        return explain_failure(error, device)
    keys, sharp = Keys(0, positions), usm_sharpen(pictures / 255)
    degraded = config.apply(sharp, config.draw(keys, HEIGHT, WIDTH, SCALE))
    cut = draw_crops(keys, HEIGHT // SCALE, WIDTH // SCALE, SIDE)
    wanted = paired_crop(degraded, sharp, *cut, SIDE, SCALE)
    return compare([_levels(part) for part in wanted], made)


def try_step(operation: Operation[Any], device: torch.device, bands: int, count: int = 8) -> str:
    """`try_degradation` of one operation of a general pipeline, which has a fused form."""
    step, keys = steps.fused_form(operation), Keys(0, torch.arange(count))
    assert step is not None
    images = list(_pictures(count, bands) / 255)
    context = OperationContext(keys, Purpose.PIPELINE + 1, (HEIGHT // 2, WIDTH // 2))
    recipe = operation.draw(uniforms(keys, Purpose.PIPELINE, NUMBERS_PER_OPERATION))
    try:
        there = [image.to(device) for image in images]
        made = [_levels(image.cpu()).flatten() for image in steps.run(operation, step, there, recipe, context)]
    except Exception as error:
        return explain_failure(error, device)
    wanted = [_levels(image).flatten() for image in operation.apply(images, recipe, context)]
    return compare([torch.cat(wanted)], [torch.cat(made)])


def explain_failure(error: Exception, device: torch.device) -> str:
    """Describe a failure of the device or its driver, after which the reference can still make the pairs.

    Raises:
        DeviceBroken: if the device computes nothing more.
        KernelsUnusable: if the failure is not the device's. A failure before the launch (Triton's binder, the compiler,
            the assembler, too little of a resource) is a fault of this program or of the Triton installed: falling back
            to the reference would hide it, and training would be slow.
    """
    failure = _one_line(error)
    again = f"with {SWITCH}=0 in the environment: the reference then makes the pairs"
    if not _device_computes(device):
        raise DeviceBroken(
            f"No fused kernels for the degradation: in a trial on {device} they failed: {failure}. After that {device} "
            f"computes nothing more for this process. Start it again {again}."
        ) from error
    if not _is_device_error(error):
        raise KernelsUnusable(
            f"The fused kernels of the degradation cannot be compiled or launched for {device} by Triton "
            f"{triton.__version__}: {failure}. Until that is mended, start again {again}."
        ) from error
    return f"in a trial on {device} they failed: {failure}"


def _one_line(error: BaseException) -> str:
    """Type and message of the innermost cause; Triton chains an error through every function around it."""
    while error.__cause__:
        error = error.__cause__
    lines = str(error).strip().splitlines() or [""]
    # a compile error of Triton has the place first, then the kernel's source, then the reason
    return f"{type(error).__name__}: {lines[-1 if lines[0].startswith('at ') else 0].strip()}"


def _is_device_error(error: Exception) -> bool:
    """True for errors of the device or its driver: types of PyTorch's, and a prefix of Triton's messages."""
    refusals = (torch.AcceleratorError, torch.OutOfMemoryError)
    return isinstance(error, refusals) or (isinstance(error, RuntimeError) and str(error).startswith("Triton Error ["))


def _device_computes(device: torch.device) -> bool:
    """True if the device still computes; after an illegal memory access CUDA refuses all further work of a process."""
    try:
        return torch.ones(1, device=device).add(1).item() == 2
    except RuntimeError:
        return False


def _levels(pictures: Tensor) -> Tensor:
    """float32 in [0, 1] -> uint8 levels."""
    return (255 * pictures).round().clamp(0, 255).to(torch.uint8)


def compare(wanted: list[Tensor], made: list[Tensor]) -> str:
    """Compare the pictures `made` with those `wanted`, both uint8: a reason in words if more than rounding differs."""
    off = max(float(((one.int() - two.int()).abs() > 1).float().mean()) for one, two in zip(wanted, made, strict=True))
    return f"in a trial {100 * off:.0f} % of the values were not the reference's" if off > LIMIT else ""


def _pictures(count: int, bands: int) -> Tensor:
    """Smooth waves with edges, uint8 [count, bands, HEIGHT, WIDTH], different in every picture and band."""
    numbers = uniforms(Keys(0, torch.arange(count)), Purpose.CROP, 3 * bands)
    down, along, phase = rearrange(numbers, "picture (band number) -> number picture band 1 1", number=3)
    rows, columns = torch.arange(HEIGHT)[:, None], torch.arange(WIDTH)
    waves = torch.sin(0.4 * down * rows + 0.4 * along * columns + 6 * phase)
    edges = 40 * ((rows // 16 + columns // 16) % 2)
    return (108 + 80 * waves + edges).clamp(0, 255).to(torch.uint8)
