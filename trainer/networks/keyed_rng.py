"""Keyed seeds of torch's generators, for randomness inside networks that has no keyed mask of its own.

See `keyed_masks` for Dropout and stochastic depth, whose masks go by sample. What else a network draws follows here.
Modules draw from torch's own generator of their device, which has one state and no keys. So it is seeded anew before
each micro-batch of each network: none of its state needs to be saved, and no draw depends on an earlier one.
"""

import hashlib

import torch


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
