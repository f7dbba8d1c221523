"""Unreadable pictures: reported once, counted over all ranks; too many stop the run."""

from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from trainer.images.opened import Unreadable
from trainer.images.sources import ImageSource, why_unreadable
from trainer.images.streaming.dataset import Shards
from trainer.mistakes import Mistake

MOST_SHARE = 0.01  # the share of a source's pictures that may be unreadable
ALWAYS_ALLOWED = 2  # unreadable ones always allowed: of fewer than a hundred pictures, one alone exceeds that share
LEAST_SAMPLES = 1000  # samples of a stream that the share refers to at least: of fewer, one or two bad ones mean little


class UnreadableImages:
    """The unreadable pictures of one source, over all ranks.

    Parameters
    ----------
    known : numbers of those found so far; grows
    sample_count : number of samples made so far, for a source that cannot be counted
    """

    def __init__(
        self,
        accelerator: Accelerator,
        source: ImageSource | Shards,
        known: set[int],
        sample_count: Callable[[], int] = lambda: 0,
    ) -> None:
        self.accelerator, self.source, self.known, self.sample_count = accelerator, source, known, sample_count
        self.met: dict[int, str] = {}

    def note(self, indices: Iterable[int], reasons: Mapping[int, str] = MappingProxyType({})) -> None:
        """Record unreadable pictures of this rank, with `reasons` if known; nothing is sent until the next `agree`."""
        self.met.update({index: reasons.get(index, "") for index in indices if index not in self.known})

    def agree(self, say: Callable[[str], None]) -> None:
        """Exchange new unreadable pictures between all ranks (collective): report each, and stop all ranks if there are
        too many.

        Raises Mistake, on every rank, when more than 1 % of the source is unreadable, and more than two pictures.
        """
        count = self.accelerator.reduce(torch.tensor(len(self.met), device=self.accelerator.device))
        if not count.item():
            return
        new = dict(sorted(gather_object(sorted(self.met.items()))))
        self.met.clear()
        self.known.update(new)
        for index, reason in new.items():
            say(f"cannot be read, another picture takes its place: {reason or why_unreadable(self.source, index)}")
        among = max(LEAST_SAMPLES, self.sample_count()) if isinstance(self.source, Shards) else len(self.source)
        if too_many(len(self.known), among):
            self._forget_mended(say)
        if too_many(len(self.known), among):
            first = why_unreadable(self.source, min(self.known))
            raise Mistake(f"images: {share_of(len(self.known), among)}; the first is {first}.")

    def _forget_mended(self, say: Callable[[str], None]) -> None:
        """Drop pictures that can be read again, as they may have been repaired since an earlier part of the run.

        Each rank checks its share. Not for a stream, whose shards would have to be read.
        """
        if isinstance(self.source, Shards):
            return
        mine = sorted(self.known)[self.accelerator.process_index :: self.accelerator.num_processes]
        mended = gather_object([index for index in mine if is_readable(self.source, index)])
        self.known.difference_update(mended)
        if mended:
            say(f"{len(mended)} of the pictures that could not be read can be read again.")


def is_readable(source: ImageSource, index: int) -> bool:
    """True if a picture can be read."""
    try:
        source.read(index)
    except Unreadable:
        return False
    return True


def too_many(bad: int, among: int) -> bool:
    """True if so many pictures cannot be read that the fault is not in the pictures."""
    return bad > ALWAYS_ALLOWED and bad > MOST_SHARE * among


def share_of(bad: int, among: int) -> str:
    """Number and share of unreadable pictures, in words."""
    return f"{bad} of {among} pictures ({100 * bad / among:.1f} %) cannot be read, more than {100 * MOST_SHARE:.0f} %"
