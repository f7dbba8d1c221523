"""The files of a run, checkpoints apart: what happens where one cannot be written is one policy for them all."""

from collections.abc import Iterator
from contextlib import contextmanager

from trainer.console import say


class Disk:
    """What `checkpoints.stop_on_error` says, for metrics, sheets, marks and TensorBoard's files.

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
        """Remember, or say, that `what` could not be written."""
        sentence = f"{what} could not be written: {error}"
        if self.stop_on_error:
            self.problem = self.problem or sentence
        elif what not in self.said:
            self.said.add(what)
            say(f"{sentence}; training goes on without it.")
