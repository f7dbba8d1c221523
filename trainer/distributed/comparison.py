"""Comparison over the ranks of what each reads or computes itself and all must have alike."""

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

MAX_DIFFERENCES = 5
"""Differences named in a message; with another version of the program every file may differ."""
MULTIPLIER = 0x9E3779B97F4A7C15 - (
    1 << 64
)  # 2**64 over the golden ratio: spreads consecutive integers (Knuth, TAOCP 6.4)
BITS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


def same_everywhere(
    accelerator: Accelerator,
    facts: Mapping[str, object],
    wanted: str = "every machine needs the same.",
    error: type[Mistake | Failure] = Mistake,
    grace: float = 60.0,
) -> None:
    """Compare `facts`, values by the names of a message, over all ranks. Collective: 64 bytes per rank if all agree.

    Raises `error`, the same on every rank, which names the differences, ranks and machines with both values and ends in
    `wanted`. `grace`: seconds after a stop request in which the exchange must end, or a rank is gone.
    """
    if accelerator.num_processes == 1:
        return
    own = json.dumps(facts, default=str)
    with WATCH.phase("comparing what every rank has", grace=grace):
        if len(set(gather_object([hashlib.sha256(own.encode()).hexdigest()]))) == 1:
            return
        everyone = [(host, json.loads(text)) for host, text in gather_object([(socket.gethostname(), own)])]
    raise agreed(error(f"{describe_differences(everyone)}; {wanted}"))


def describe_differences(ranks: Sequence[tuple[str, dict[str, object]]]) -> str:
    """Differences of the first rank that deviates from the majority, in a tie from rank 0; `ranks`: (host, facts)."""
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
    more = [f"{len(lines) - MAX_DIFFERENCES} more differences"] if len(lines) > MAX_DIFFERENCES else []
    more += [f"{len(others)} more of {len(ranks)} ranks"] if others else []
    return "; ".join([*lines[:MAX_DIFFERENCES], *([f"and {' and '.join(more)}"] if more else [])])


def _shown(value: object) -> str:
    return "nothing" if value is None else json.dumps(value)[:80]


def checksum(tensors: Iterable[Tensor]) -> Tensor:
    """Checksum, an int64 scalar on the tensors' device: a sum of their bits as integers; it tells any changed bit."""
    total: Tensor | None = None
    for tensor in tensors:
        bits = tensor.detach().contiguous().view(BITS[tensor.element_size()])
        part = bits.sum(dtype=torch.int64)
        total = part if total is None else total * MULTIPLIER + part
    return torch.zeros((), dtype=torch.int64) if total is None else total
