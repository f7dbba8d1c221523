"""One rule for what every rank reads or computes for itself and all must have alike: it is compared over the ranks."""

import hashlib
import json
import socket
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object
from torch import Tensor

from trainer.distributed.waiting import WATCH
from trainer.mistakes import Failure, Mistake, agreed

NAMED = 5
"""So many differences are told; of another version of the program every file may be one."""
ODD = 0x9E3779B97F4A7C15 - (1 << 64)  # 2**64 over the golden ratio: spreads consecutive integers (Knuth, TAOCP 6.4)
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def same_everywhere(
    accelerator: Accelerator,
    facts: Mapping[str, object],
    wanted: str = "every machine needs the same.",
    error: type[Mistake | Failure] = Mistake,
    grace: float = 60.0,
) -> None:
    """Compare `facts`, by what a person knows them by, over all ranks. Collective: 64 bytes of each where all is well.

    Raises `error`, the same on every rank, that names what differs, on which rank and machine, with both values, and
    ends in `wanted`. `grace`: seconds after a stop request in which the exchange must end, or a rank is gone.
    """
    if accelerator.num_processes == 1:
        return
    told = json.dumps(facts, default=str)
    with WATCH.phase("comparing what every rank has", grace=grace):
        if len(set(gather_object([hashlib.sha256(told.encode()).hexdigest()]))) == 1:
            return
        everyone = [(host, json.loads(text)) for host, text in gather_object([(socket.gethostname(), told)])]
    raise agreed(error(f"{told_apart(everyone)}; {wanted}"))


def told_apart(ranks: Sequence[tuple[str, dict[str, object]]]) -> str:
    """In what ranks, each with its machine, differ: the first that does not have what most have, or what rank 0 has."""
    texts = [json.dumps(facts) for _, facts in ranks]
    common, _ = Counter(texts).most_common(1)[0]  # of equally many the first one met
    one = texts.index(common)
    odd, *others = [rank for rank, text in enumerate(texts) if text != common]
    (host, usual), (its_host, found) = ranks[one], ranks[odd]
    keys = [*usual, *(key for key in found if key not in usual)]
    lines = [
        f"{key}: rank {odd} on {its_host} has {_shown(found.get(key))}, rank {one} on {host} {_shown(usual.get(key))}"
        for key in keys
        if usual.get(key) != found.get(key)
    ]
    more = [f"{len(lines) - NAMED} more differences"] if len(lines) > NAMED else []
    more += [f"{len(others)} more of {len(ranks)} ranks"] if others else []
    return "; ".join([*lines[:NAMED], *([f"and {' and '.join(more)}"] if more else [])])


def _shown(value: object) -> str:
    return "nothing" if value is None else json.dumps(value)[:80]


def checksum(tensors: Iterable[Tensor]) -> Tensor:
    """An int64 scalar on the tensors' device that another bit anywhere changes: it sums the bits, read as integers."""
    total: Tensor | None = None
    for tensor in tensors:
        bits = tensor.detach().contiguous().view(BITS[tensor.element_size()])
        part = bits.sum(dtype=torch.int64)
        total = part if total is None else total * ODD + part
    return torch.zeros((), dtype=torch.int64) if total is None else total
