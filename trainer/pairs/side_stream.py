"""Pairs made on a stream of a GPU's beside that of the training."""

from collections.abc import Callable

import torch

from trainer.pairs.synthesis import PairBatch


class SideStream:
    """A stream of a GPU's beside that of the training; on a CPU, nothing."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]
        if self.stream is not None:
            self.stream.wait_stream(torch.cuda.current_stream(device))  # what was made until now, as the filled pool

    def make(self, work: Callable[[], PairBatch]) -> PairBatch:
        """Let the stream do `work`, and the present stream wait for what it makes."""
        if self.stream is None:
            return work()
        with torch.cuda.stream(self.stream):
            pairs = work()
            ready = self.stream.record_event()
        here = torch.cuda.current_stream(self.device)
        here.wait_event(ready)
        for tensor in (pairs.lq, pairs.gt, pairs.positions):
            tensor.record_stream(here)  # else their memory may be given away while they are still trained on
        return pairs
