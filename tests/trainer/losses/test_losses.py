"""The objective's terms against their closed forms."""

import pytest
import torch

from trainer.adversarial.phases import SOLO
from trainer.losses import LossesConfig, PixelLoss
from trainer.objective import Objective, Targets, Term, weighted_sum

RESULT = torch.tensor([[[[0.0, 0.5], [1.0, 0.25]]]], dtype=torch.float64)
TARGET = torch.tensor([[[[0.0, 0.0], [0.5, 0.75]]]], dtype=torch.float64)  # distances 0, 1/2, 1/2, 1/2


@pytest.mark.parametrize(("kind", "wanted"), [("l1", 1.5 / 4), ("mse", 0.75 / 4), ("charbonnier", (1.5 + 1e-6) / 4)])
def test_pixel_losses_are_means_of_their_distance(kind: str, wanted: float) -> None:
    loss = PixelLoss(type=kind)  # type: ignore[arg-type]
    assert loss(RESULT, TARGET).item() == pytest.approx(wanted, rel=1e-9)


def test_charbonnier_has_a_gradient_where_both_agree() -> None:
    result = torch.zeros(3, requires_grad=True)
    PixelLoss(type="charbonnier")(result, torch.zeros(3)).backward()
    assert result.grad is not None
    assert result.grad.tolist() == [0.0, 0.0, 0.0]


def test_the_generators_objective_is_its_weighted_pixel_loss() -> None:
    objective = Objective(LossesConfig(pixel=PixelLoss(weight=2.0)))
    terms = objective.generator(RESULT, Targets(TARGET, TARGET, TARGET), SOLO, None)
    assert list(terms) == ["pixel"]
    assert terms["pixel"].value.item() == pytest.approx(0.375)
    assert weighted_sum(terms).item() == pytest.approx(0.75)


def test_an_objective_is_the_weighted_sum_of_its_terms() -> None:
    terms = {"a": Term(2.0, torch.tensor(3.0)), "b": Term(0.5, torch.tensor(4.0))}
    assert weighted_sum(terms).item() == 8.0
