"""Pictures that a Python program gives itself: batches that it feeds, or an own dataset."""

from dataclasses import dataclass
from typing import ClassVar, Literal, NoReturn

from trainer.images.opened import BUDGET, Budget
from trainer.images.radiometry import Radiometry
from trainer.mistakes import Mistake


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramImages:
    """Pictures that a Python program gives, as trainer/README.md shows: no file of configuration can."""

    radiometry: ClassVar[Radiometry | None] = None

    type: Literal["python"]
    given: str = "batches that a program feeds"
    """What was given, in words. A run that is resumed is given it again."""

    def open(self, budget: Budget = BUDGET) -> NoReturn:  # noqa: ARG002 - one signature for all sources
        """Raise Mistake: pictures in a program's memory cannot be opened from a configuration."""
        raise Mistake(f"type: python, {self.given}: give them again, by `trainer.train` or `feed_data` in Python")
