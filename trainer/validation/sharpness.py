"""Sharpness of results beside their ground truth."""

from torch import Tensor


def sharpness(results: Tensor, gt: Tensor) -> Tensor:
    """Mean step between neighbouring pixels of float64 [B, H, W] over that of `gt`: [B], 1 where they are as sharp.

    Below 1 results are blurred, above they are sharpened or noisy. NaN where the ground truth is flat.
    """
    return _steps(results) / _steps(gt)


def _steps(pictures: Tensor) -> Tensor:
    """Mean absolute difference of neighbours along both axes: [B], NaN where there is none."""
    steps = sum((pictures.diff(dim=axis).abs().mean((1, 2)) for axis in (1, 2)), start=pictures.new_zeros(()))
    return steps.where(steps > 0, float("nan"))
