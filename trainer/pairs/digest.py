"""An exact fingerprint of what was trained on, the same for any number of ranks and any accumulation."""

import torch
from torch import Tensor

from trainer.distributed.comparison import MULTIPLIER
from trainer.pairs.synthesis import PairBatch


def digest(pairs: PairBatch) -> Tensor:
    """One int64 for a batch: the sum, modulo 2**64, of a hash of each pair. The order within the batch does not matter.

    A hash weighs every pixel by its place, so pictures that differ in one pixel, or by a shift, differ in it; a pair's
    two hashes are mixed before they are summed, so it also matters which LQ goes with which ground truth.
    """
    mixed = (_hashes(pairs.lq) * MULTIPLIER) ^ _hashes(pairs.gt)
    return (mixed * (mixed | 1)).sum()


def _hashes(pictures: Tensor) -> Tensor:
    """uint8 [b, C, H, W] -> int64 [b]."""
    flat = pictures.flatten(1).to(torch.int64)
    places = (torch.arange(flat.shape[1], device=flat.device) * 2 + 1) * MULTIPLIER
    return ((flat + 1) * places).sum(1)
