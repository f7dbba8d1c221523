"""Policy for files of a run, besides checkpoints, that cannot be written."""

from collections.abc import Iterator
from contextlib import contextmanager

from trainer.console import say


class Disk:
    """The policy `checkpoints.stop_on_error` for metrics, sheets, marks and TensorBoard's files.

    Parameters
    ----------
    stop_on_error : whether a file that cannot be written asks the run to stop, else it is said once
    """

    def __init__(self, stop_on_error: bool = True) -> None:
        self.stop_on_error = stop_on_error
        self.problem = ""
        """The first sentence that asks the run to stop, on this rank."""
        self.said: set[str] = set()

    @contextmanager
    def writing(self, what: str) -> Iterator[None]:
        """Surround the writing of `what`, such as metrics.jsonl: an OSError goes to `failed`."""
        try:
            yield
        except OSError as error:
            self.failed(what, error)

    def failed(self, what: str, error: Exception) -> None:
        """Record as `problem`, or print once, that `what` could not be written."""
        sentence = f"{what} could not be written: {error}"
        if self.stop_on_error:
            self.problem = self.problem or sentence
        elif what not in self.said:
            self.said.add(what)
            say(f"{sentence}; training goes on without it.")
