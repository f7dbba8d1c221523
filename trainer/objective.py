"""What each player minimises: pure functions from a batch to named terms."""

from dataclasses import dataclass

from torch import Tensor

from trainer.losses import LossesConfig


@dataclass(frozen=True, slots=True)
class Term:
    """One part of an objective: its weight and its value before weighting, a scalar on the device."""

    weight: float
    value: Tensor


Terms = dict[str, Term]


def generator_terms(losses: LossesConfig, result: Tensor, target: Tensor) -> Terms:
    """The generator's terms for a result and its target, both float [b, C, H, W] in [0, 1]."""
    return {"pixel": Term(losses.pixel.weight, losses.pixel(result, target))}


def weighted_sum(terms: Terms) -> Tensor:
    """The scalar to differentiate."""
    first, *rest = (term.weight * term.value for term in terms.values())
    return sum(rest, first)
