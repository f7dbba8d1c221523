"""Pairs made on a stream of a GPU's beside that of the training."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from trainer.pairs.synthesis import PairBatch


class SideStream:
    """A stream of a GPU's beside that of the training; on a CPU, nothing."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        if self.stream is not None:
            self.stream.wait_stream(torch.cuda.current_stream(device))  # what was made until now, as the filled pool

    @contextmanager
    def beside(self) -> Iterator[None]:
        """Do what is surrounded on the stream, and let the present stream wait for it."""
        if self.stream is None:
            yield
            return
        with torch.cuda.stream(self.stream):
            yield
            done = self.stream.record_event()
        torch.cuda.current_stream(self.device).wait_event(done)

    def hand_over(self, pairs: PairBatch) -> PairBatch:
        """Pairs of the stream as pairs of the present one, which trains on them."""
        if self.stream is not None:
            here = torch.cuda.current_stream(self.device)
            for tensor in (pairs.lq, pairs.gt, pairs.positions):
                tensor.record_stream(here)  # else their memory may be given away while they are still trained on
        return pairs
