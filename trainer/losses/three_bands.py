"""Selection of three channels of a picture for networks trained on photographs."""

import torch
from torch import Tensor

FixedIdx = tuple[int, int, int] | None


def bands_problem(bands: int, fixed_idx: FixedIdx) -> str | None:
    """Reason why three channels cannot be selected from `bands`, naming the key, or None."""
    if fixed_idx is None:
        if bands in (1, 3):
            return None
        return (
            f"fixed_idx: must be given for {bands} bands: the numbers, from 0, of the bands that are red, green and "
            f"blue, as in [0, 1, 2]"
        )
    if min(fixed_idx) < 0 or max(fixed_idx) >= bands:
        return f"fixed_idx: got {list(fixed_idx)}; {bands} bands are numbered 0 to {bands - 1}"
    return None


def three_bands(pictures: Tensor, fixed_idx: FixedIdx) -> Tensor:
    """[B, C, H, W] to [B, 3, H, W]: the bands of `fixed_idx`, else all three, or one three times."""
    if fixed_idx is not None:
        # Not pictures[:, list]: such an index is copied to the GPU while the host waits.
        return torch.stack([pictures[:, band] for band in fixed_idx], dim=1)
    return pictures.expand(-1, 3, -1, -1)
