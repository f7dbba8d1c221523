"""One micro-batch ahead: the next pairs are made and exchanged while the present ones are trained on."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext

import torch

from trainer.synthesis import Pairs


def one_ahead(made: Iterator[Pairs], device: torch.device) -> Iterator[Pairs]:
    """The same pairs in the same order; each is begun before the one before it is handed over.

    On a GPU the making runs on a stream of its own, so it shares the device with the training step instead of standing
    before it. What it changes (the pool) runs one micro-batch ahead; `Pool.before` undoes that for a checkpoint.
    """
    stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
    if stream is not None:
        stream.wait_stream(torch.cuda.current_stream(device))  # what was made until now, such as the filled pool
    upcoming = _begin(made, stream)
    while upcoming is not None:
        present, upcoming = upcoming, _begin(made, stream)
        pairs, ready = present
        if ready is not None:
            here = torch.cuda.current_stream(device)
            here.wait_event(ready)
            for tensor in (pairs.lq, pairs.gt, pairs.positions):
                tensor.record_stream(here)  # else their memory may be given away while they are still trained on
        yield pairs


def _begin(made: Iterator[Pairs], stream: torch.cuda.Stream | None) -> tuple[Pairs, torch.cuda.Event | None] | None:
    """Make the next pairs on `stream`, and mark on it where they are ready; None where there are no more."""
    context: AbstractContextManager[object] = nullcontext() if stream is None else torch.cuda.stream(stream)
    with context:
        pairs = next(made, None)
        if pairs is None:
            return None
        return pairs, None if stream is None else stream.record_event()
