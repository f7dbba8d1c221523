"""A trial on the device at hand: small pictures by the kernels and by the reference, before anything is trained."""

from __future__ import annotations

import torch
from torch import Tensor

from degradations.crops import draw_crops, paired_crop
from degradations.draws import Keys, Purpose, uniforms
from degradations.fused import SWITCH
from degradations.fused.second_order import Pairing
from degradations.second_order import SecondOrder
from degradations.sharpen import usm_sharpen

HEIGHT, WIDTH, SCALE, SIDE = 80, 96, 2, 32  # multiples of 16, as in training: for them the machine code is the same

LIMIT = 0.2
"""The share of values that may be off. Rounding alone turns a coefficient of a JPEG now and then, and with it up to 256
pixels of one of the pictures; a kernel that is wrong spoils them all."""


def trial(config: SecondOrder, device: torch.device, bands: int, count: int = 8) -> str:
    """Why the kernels are not to be trusted on `device`, in words; empty where they do what the reference does.

    It compiles them, which takes a minute where that was never done, and waits for the device.

    Raises:
        RuntimeError: if they failed in such a way that the device computes nothing more for this process.
    """
    pictures, positions = _pictures(count, bands), torch.arange(count)
    try:
        maker = Pairing(config=config, seed=0, scale=SCALE, side=SIDE, sharpen_gt=True)
        made = [part.cpu() for part in maker(pictures.to(device), positions.to(device))]
    except Exception as error:  # of a compiler or a driver, of any kind: the reference can still make the pairs
        lines = str(error).strip().splitlines() or [""]
        failure = f"in a trial on {device} they failed: {type(error).__name__}: {lines[0]}"
        if _answers(device):
            return failure
        raise RuntimeError(
            f"No fused kernels for the degradation: {failure}. After that {device} computes nothing more for this "
            f"process. Start it again with {SWITCH}=0 in the environment: the reference then makes the pairs."
        ) from error
    keys, sharp = Keys(0, positions), usm_sharpen(pictures / 255)
    degraded = config.apply(sharp, config.draw(keys, HEIGHT, WIDTH, SCALE))
    cut = draw_crops(keys, HEIGHT // SCALE, WIDTH // SCALE, SIDE)
    wanted = paired_crop(degraded, sharp, *cut, SIDE, SCALE)
    return doubt([(255 * part).round().to(torch.uint8) for part in wanted], made)


def _answers(device: torch.device) -> bool:
    """Whether the device still computes. After an illegal access to memory, CUDA refuses a process all that follows."""
    try:
        return torch.ones(1, device=device).add(1).item() == 2
    except RuntimeError:
        return False


def doubt(wanted: list[Tensor], made: list[Tensor]) -> str:
    """What is wrong with the pictures `made`, uint8 as those `wanted`; empty where it is not more than rounding."""
    off = max(float(((one.int() - two.int()).abs() > 1).float().mean()) for one, two in zip(wanted, made, strict=True))
    return f"in a trial {100 * off:.0f} % of the values were not the reference's" if off > LIMIT else ""


def _pictures(count: int, bands: int) -> Tensor:
    """Smooth waves with edges, uint8 [count, bands, HEIGHT, WIDTH], different in every picture and band."""
    numbers = uniforms(Keys(0, torch.arange(count)), Purpose.CROP, 3 * bands).float().view(count, bands, 3, 1, 1)
    rows, columns = torch.arange(HEIGHT)[:, None], torch.arange(WIDTH)
    waves = torch.sin(0.4 * numbers[:, :, 0] * rows + 0.4 * numbers[:, :, 1] * columns + 6 * numbers[:, :, 2])
    edges = 40 * ((rows // 16 + columns // 16) % 2)
    return (108 + 80 * waves + edges).clamp(0, 255).to(torch.uint8)
