"""Errors in one sentence: a person's (Mistake, status 2), and the run's (Failure, status 1)."""

import difflib
from collections.abc import Callable
from typing import Any, TypeVar

E = TypeVar("E", bound="Mistake | Failure")


def agreed(error: E) -> E:
    """Mark what every rank raises alike, by an exchange before: none need wait to hear whether others met it too."""
    error.everywhere = True
    return error


class Mistake(Exception):
    """A wrong input: the message names the key or file, what was got and what was wanted.

    The program prints it, without a traceback, and exits with status 2.
    """

    everywhere = False


class Mistakes(Mistake):
    """Several, each with its sentence: a person puts them right in one go."""

    def __init__(self, sentences: list[str]) -> None:
        super().__init__(sentences)
        self.sentences = sentences

    def __str__(self) -> str:
        lines = "\n".join(self.sentences).replace("\n", "\n  ")
        return f"{len(self.sentences)} things are wrong:\n  {lines}"


def sentences_of(mistake: Mistake) -> list[str]:
    """Its sentences, of which `Mistakes` has several."""
    return mistake.sentences if isinstance(mistake, Mistakes) else [str(mistake)]


def gather(*works: Callable[[], Any]) -> list[Any]:
    """Do all of `works` and give their results; Mistake with the sentences of all that made one."""
    results, found = [], []
    for work in works:
        try:
            results.append(work())
        except Mistake as mistake:
            found += sentences_of(mistake)
    if found:
        raise Mistakes(found) if len(found) > 1 else Mistake(found[0])
    return results


def suggestion(got: str, allowed: list[str]) -> str:
    """The end of a sentence about a name that does not exist: the nearest that does, and all of them."""
    near = difflib.get_close_matches(got, allowed, 1, 0.6)
    hint = f"did you mean '{near[0]}'? " if near else ""
    return f"{hint}allowed: {', '.join(allowed)}"


class Failure(Exception):
    """The run cannot go on, and no input was wrong: it diverged, or a disk is full.

    The program prints the sentence, without a traceback, and exits with status 1.
    """

    everywhere = False
    prints: bool | None = None
    """If this rank prints the sentence, where the ranks have settled that."""
