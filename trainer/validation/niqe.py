"""NIQE, the natural image quality evaluator (Mittal et al. 2013), of pictures without ground truth: less is better.

As BasicSR's `calculate_niqe`, which agrees with the authors' MATLAB: luma of BT.601 rounded to levels, 36 statistics of
each block of 96 x 96 at two scales, halved between them by MATLAB's antialiased bicubic, and the distance of their mean
and covariance from those of 125 pristine photographs. Here in float64 on the pictures' device, all blocks at once;
BasicSR halves in float32.
"""

import math
from functools import cache
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from trainer.validation.psnr_ssim import luma

BLOCK = 96
LEAST_BLOCKS = 2
"""Blocks of a picture from which there is a covariance; a smaller picture has no NIQE."""
SHIFTS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Neighbours, as rows and columns, whose products with a pixel are described."""
WINDOW = 7
CUBIC_TAPS = 8
"""Taps of the halving filter: bicubic's four, twice as wide."""


def niqe(pictures: Tensor, crop_border: int = 0) -> Tensor:
    """NIQE of uint8 [B, 3, H, W] inside a border: float64 [B].

    NaN where the pictures have fewer than two blocks of 96 x 96 inside the border, or fewer that are not flat.
    """
    height, width = (side - 2 * crop_border for side in pictures.shape[2:])
    rows, columns = height // BLOCK, width // BLOCK
    if rows * columns < LEAST_BLOCKS:
        return torch.full((len(pictures),), math.nan, dtype=torch.float64, device=pictures.device)
    inner = pictures[:, :, crop_border : crop_border + rows * BLOCK, crop_border : crop_border + columns * BLOCK]
    y = torch.stack([luma(picture)[0] for picture in inner]).round()
    scales = [_features(_normalised(y), BLOCK), _features(_normalised(_halved(y)), BLOCK // 2)]
    return torch.stack([_distance(features) for features in torch.cat(scales, 2)])


def _normalised(y: Tensor) -> Tensor:
    """Mean-subtracted, contrast-normalised luma (eq. 1): [B, H, W], in a Gaussian window of sigma 7/6."""
    # In float32, as BasicSR has them: a flat place is its own mean exactly, or the sign of its 1e-16 would count.
    y = y.float()
    mean, square = _smoothed(y).float(), _smoothed(y * y).float()
    return ((y - mean) / ((square - mean * mean).abs().sqrt() + 1)).double()


def _smoothed(y: Tensor) -> Tensor:
    """[B, H, W] smoothed by the separable window, edges repeated: float64."""
    half = WINDOW // 2
    line = torch.exp(-(torch.arange(-half, half + 1, dtype=torch.float64) ** 2) / (2 * (WINDOW / 6) ** 2))
    weights = (line / line.sum()).tolist()
    padded = F.pad(y.double()[:, None], (half, half, half, half), mode="replicate")[:, 0]
    for axis in (1, 2):
        size = padded.shape[axis] - WINDOW + 1
        padded = _weighted(padded, axis, size, weights)
    return padded


def _halved(y: Tensor) -> Tensor:
    """[B, H, W] at half the size, as MATLAB's `imresize(.., 0.5)`: bicubic stretched twofold, edges mirrored."""
    distances = [abs((tap - (CUBIC_TAPS - 1) / 2) / 2) for tap in range(CUBIC_TAPS)]
    cubic = [1.5 * d**3 - 2.5 * d**2 + 1 if d <= 1 else -0.5 * d**3 + 2.5 * d**2 - 4 * d + 2 for d in distances]
    weights = [value / sum(cubic) for value in cubic]
    pad = CUBIC_TAPS // 2 - 1
    for axis in (1, 2):
        ends = [y.narrow(axis, 0, pad).flip(axis), y, y.narrow(axis, y.shape[axis] - pad, pad).flip(axis)]
        wide = torch.cat(ends, axis)
        size = wide.shape[axis] - CUBIC_TAPS + 1
        y = _weighted(wide, axis, size, weights).index_select(axis, torch.arange(0, size, 2, device=y.device))
    return y


def _weighted(y: Tensor, axis: int, size: int, weights: list[float]) -> Tensor:
    """Correlation with a line of weights along an axis, where it fits: `size` places."""
    total = y.narrow(axis, 0, size) * weights[0]
    for tap, weight in enumerate(weights[1:], 1):
        total.add_(y.narrow(axis, tap, size), alpha=weight)
    return total


def _features(normalised: Tensor, side: int) -> Tensor:
    """The 18 statistics of each block: [B, blocks, 18]."""
    blocks = rearrange(normalised, "b (r h) (c w) -> b (c r) h w", h=side, w=side)
    alpha, left, right = _generalised_gaussian(blocks)
    found = [alpha, (left + right) / 2]
    for shift in SHIFTS:
        alpha, left, right = _generalised_gaussian(blocks * blocks.roll(shift, (2, 3)))
        mean = (right - left) * torch.exp(torch.lgamma(2 / alpha) - torch.lgamma(1 / alpha))  # eq. 8
        found += [alpha, mean, left, right]
    return torch.stack(found, -1)


def _generalised_gaussian(blocks: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Shape and the two widths of asymmetric generalised Gaussians fitted by moments (eq. 7): [B, blocks] each."""
    values = blocks.flatten(2)
    squares = values * values
    low, high = values < 0, values > 0
    left = ((squares * low).sum(2) / low.sum(2)).sqrt()
    right = ((squares * high).sum(2) / high.sum(2)).sqrt()
    ratio = left / right
    share = values.abs().mean(2) ** 2 / squares.mean(2)
    wanted = share * (ratio**3 + 1) * (ratio + 1) / (ratio**2 + 1) ** 2
    shapes, moments = (table.to(values.device) for table in _shapes())
    after = torch.searchsorted(moments, wanted.nan_to_num(0.0)).clamp(1, len(moments) - 1)
    nearer = (wanted - moments[after - 1]).abs() <= (moments[after] - wanted).abs()
    # a block without values on one side has no fit; BasicSR's search then gives the first shape
    alpha = shapes[torch.where(nearer | wanted.isnan(), after - 1, after)]
    width = torch.exp((torch.lgamma(1 / alpha) - torch.lgamma(3 / alpha)) / 2)
    return alpha, left * width, right * width


@cache
def _shapes() -> tuple[Tensor, Tensor]:
    """Shapes from 0.2 to 10 by 0.001, and Gamma(2/a)^2 / (Gamma(1/a) Gamma(3/a)) of each, which increases."""
    shapes = torch.arange(200, 10001, dtype=torch.float64) / 1000
    inverse = 1 / shapes
    logarithm = 2 * torch.lgamma(2 * inverse) - torch.lgamma(inverse) - torch.lgamma(3 * inverse)
    return shapes, logarithm.exp()


def _distance(features: Tensor) -> Tensor:
    """Distance of a picture's statistics, [blocks, 36], from the pristine ones (eq. 10), a scalar."""
    whole = features[~features.isnan().any(1)]
    if len(whole) < LEAST_BLOCKS:
        return features.new_tensor(math.nan)
    mean, covariance = (value.to(features.device) for value in _pristine())
    apart = (mean - features.nanmean(0))[None]
    inverse = torch.linalg.pinv((covariance + whole.T.cov()) / 2)
    distance: Tensor = (apart @ inverse @ apart.T).sqrt()[0, 0]
    return distance


@cache
def _pristine() -> tuple[Tensor, Tensor]:
    """Mean [36] and covariance [36, 36] of the pristine photographs; LICENSES.txt has where they are from."""
    shipped = safetensors.torch.load_file(Path(__file__).with_name("niqe_pristine.safetensors"))
    return shipped["mean"], shipped["covariance"]
