"""Intervals of reports, validations and checkpoints."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Due:
    """Reports, validations and checkpoints that are due."""

    report: bool
    validate: bool
    checkpoint: bool


@dataclass(frozen=True, slots=True)
class Intervals:
    """Periods in optimizer steps. The last step is always due for everything, so a run ends reported and saved.

    What is validated or saved is reported too: a resumed run then begins a report where the uninterrupted one does.
    """

    report: int
    validate: int | None
    checkpoint: int
    last: int

    def due(self, step: int) -> Due:
        """Report, validation and checkpoint due after `step` steps (1-based)."""
        final = step == self.last
        validate = self.validate is not None and (final or step % self.validate == 0)
        checkpoint = final or step % self.checkpoint == 0
        return Due(report=validate or checkpoint or step % self.report == 0, validate=validate, checkpoint=checkpoint)
