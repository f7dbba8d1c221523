"""The interface of a pipeline's operations: a frozen dataclass with a `type`, a `draw` and an `apply`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Generic, TypeVar, cast

from torch import Tensor

from degradations.checks import check_probability
from degradations.keyed_random import Keys
from degradations.recipes import Recipe

NUMBERS_PER_OPERATION = 12  # uniform numbers that an operation may use for its parameters

R = TypeVar("R", bound=Recipe)
T = TypeVar("T")


def with_options_of(config: object, operation: Callable[..., T], suffix: str = "", **others: object) -> T:
    """An `operation`, a dataclass, with the options that a configuration has under its fields' names.

    Args:
        suffix: behind each name in the configuration, such as "2" in ``noise_range2``.
        others: options that have another name there. What is in neither keeps its default.
    """
    names = [field.name for field in fields(cast(Any, operation)) if hasattr(config, field.name + suffix)]
    return operation(**{name: getattr(config, name + suffix) for name in names} | others)


@dataclass(frozen=True, slots=True)
class OperationContext:
    """Arguments of `Operation.apply` besides images and recipe.

    Args:
        keys: of the samples that it is applied to.
        purpose: for per-pixel noise; every operation of a pipeline has its own.
        size: height and width of the final image, pixels.
    """

    keys: Keys
    purpose: int
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Operation(ABC, Generic[R]):
    """A step of a pipeline. A new one is a file with a subclass, a line in `pipeline.Step`, and a test."""

    prob: float = 1.0
    """Probability that a sample gets the operation."""
    type: str = ""  # the name of the operation in configurations: a literal in each subclass

    def __post_init__(self) -> None:
        check_probability("prob", self.prob)

    @abstractmethod
    def draw(self, u: Tensor) -> R:
        """Parameters from uniform numbers, float32 [B, NUMBERS_PER_OPERATION] in (0, 1)."""

    @abstractmethod
    def apply(self, images: Sequence[Tensor], recipe: R, context: OperationContext) -> list[Tensor]:
        """Operate on image `i`, float32 [C, H, W] in [0, 1], by sample `i` of the recipe."""
