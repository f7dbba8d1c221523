"""Keyed randomness inside networks, such as Dropout's: a function of the seed and of the place in the run.

Modules draw from torch's own generator of their device, which has one state and no keys. So it is seeded anew before
each micro-batch of each network: none of its state needs to be saved, and no draw depends on an earlier one.
"""

import hashlib

import torch
from torch import nn


def seed_generators(device: torch.device, seed: int, place: int, network: str) -> None:
    """Seed torch's generators, the CPU's and `device`'s, for the micro-batch whose first sample has `place` in the run.

    The place is that of `BatchPlan.places`: for any number of ranks with as many samples per device it is the same. The
    state of a generator is the host's, also that of a GPU's, so nothing waits for the device.
    """
    drawn = hashlib.sha256(f"{seed} {place} {network}".encode()).digest()
    number = int.from_bytes(drawn[:4], "big")  # the CPU's generator uses no more bits
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.manual_seed(number)


def uses_randomness(net: nn.Module) -> bool:
    """True if a network is known to draw in training: torch's Dropouts, and modules with a `drop_prob`."""
    return any(
        (isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0)
        or (isinstance(module, nn.MultiheadAttention) and module.dropout > 0)
        or bool(getattr(module, "drop_prob", 0))
        for module in net.modules()
    )
