"""Pictures that cannot be read: named once, counted over all ranks, and too many stop the run (law 12)."""

from collections.abc import Callable, Iterable

import torch
from accelerate import Accelerator
from accelerate.utils import gather_object

from trainer.images.sources import ImageSource, why_unreadable
from trainer.mistakes import Mistake

LIMIT = 0.01  # the share of a source's pictures that may be unreadable


class UnreadableImages:
    """The unreadable pictures of one source, as all ranks have met them."""

    def __init__(self, accelerator: Accelerator, source: ImageSource, known: set[int]) -> None:
        self.accelerator, self.source, self.known = accelerator, source, known
        self.met: set[int] = set()

    def note(self, indices: Iterable[int]) -> None:
        """This rank met these; costs nothing until the next `agree`."""
        self.met.update(index for index in indices if index not in self.known)

    def agree(self, say: Callable[[str], None]) -> None:
        """Exchange what was met, on every rank at once: say each new one, and stop all ranks when there are too many.

        Raises Mistake, on every rank, when more than 1 % of the source is unreadable.
        """
        count = self.accelerator.reduce(torch.tensor(len(self.met), device=self.accelerator.device))
        if not count.item():
            return
        new = sorted(set(gather_object(sorted(self.met))))
        self.met.clear()
        self.known.update(new)
        for index in new:
            say(f"cannot be read, another picture takes its place: {why_unreadable(self.source, index)}")
        if len(self.known) > LIMIT * len(self.source):
            share = 100 * len(self.known) / len(self.source)
            raise Mistake(
                f"images.source: {len(self.known)} of {len(self.source)} pictures ({share:.1f} %) cannot be read, more "
                f"than {100 * LIMIT:.0f} %; the first is {why_unreadable(self.source, min(self.known))}."
            )
