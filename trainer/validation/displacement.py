"""Displacement of results against their ground truth, in parts of a pixel.

The displacement is the place of the maximum of the correlation of the two, by the phases of their spectra: of the shift
theorem, so that a symmetric blur, or details that only one of them has, do not move it.
"""

import math

import torch
from torch import Tensor

BAND = 0.1
"""Cycles per pixel at which the pass band, |f|^2 exp(-(f / BAND)^2), is highest: enlarged pictures agree up to here.
Lower, the window of small pictures counts; higher, bicubic's aliases do."""
REACH = 4
"""Pixels within which the maximum is sought."""
NEWTON_STEPS = 6


def displacement(results: Tensor, gt: Tensor) -> Tensor:
    """Displacement of float64 [B, H, W] against `gt` of the same shape: [B, 2], to the right and down, in pixels.

    At most `REACH` pixels a side are found. NaN where either is flat. Of photographs moved by known parts of a pixel
    it is off by 0.002 pixel in root mean square at 256 x 256, by 0.013 at 128 x 128, three to six times that where they
    are blurred or noisy too; its mean over pictures is within 0.01. Of shifts by pixels 1 % is missing. Pictures below
    128 pixels tell little.
    """
    height, width = gt.shape[1:]
    window = _hann(height, gt.device)[:, None] * _hann(width, gt.device)
    spectra = [torch.fft.rfft2((part - part.mean((1, 2), keepdim=True)) * window) for part in (results, gt)]
    down = 2 * math.pi * torch.fft.fftfreq(height, dtype=torch.float64, device=gt.device)[:, None]
    right = 2 * math.pi * torch.fft.rfftfreq(width, dtype=torch.float64, device=gt.device)
    square = (down**2 + right**2) / (2 * math.pi * BAND) ** 2
    cross = spectra[0] * spectra[1].conj() * square * torch.exp(-square)
    if width > 2:
        cross[:, :, 1 : (width + 1) // 2] *= 2  # the other half of the spectrum
    place = _peak(cross, height, width)
    for _ in range(NEWTON_STEPS):
        turned = cross * torch.polar(
            torch.ones((), dtype=torch.float64, device=gt.device),
            place[:, 0, None, None] * right + place[:, 1, None, None] * down,
        )
        slope = torch.stack([-(turned.imag * axis).sum((1, 2)) for axis in (right.expand(height, -1), down)], 1)
        xx, xy, yy = (-(turned.real * axes).sum((1, 2)) for axes in (right**2, right * down, down**2))
        x, y = slope.T
        newton = torch.stack([yy * x - xy * y, xx * y - xy * x], 1) / (xx * yy - xy**2)[:, None]
        place = place - newton.clamp(-0.5, 0.5)
    flat = torch.stack([part.flatten(1).std(1) for part in (results, gt)]).amin(0) < 1e-6
    return torch.where(flat[:, None], math.nan, place)


def _hann(length: int, device: torch.device) -> Tensor:
    return torch.hann_window(length, periodic=False, dtype=torch.float64, device=device)


def _peak(cross: Tensor, height: int, width: int) -> Tensor:
    """The highest place of the correlation in whole pixels, to the right and down: float64 [B, 2]."""
    reach = min(REACH, (min(height, width) - 1) // 2)
    correlation = torch.fft.irfft2(cross, s=(height, width)).roll((reach, reach), (1, 2))
    near = correlation[:, : 2 * reach + 1, : 2 * reach + 1].flatten(1).argmax(1)
    rows, columns = near // (2 * reach + 1) - reach, near % (2 * reach + 1) - reach
    return torch.stack([columns, rows], 1).double()
