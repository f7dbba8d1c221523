"""The declared value range: the same degradation, in other numbers."""

import pytest
import torch

from degradations import Keys, Pipeline, SecondOrder
from degradations.operations.pipeline_steps import FitStep, NoiseStep


@pytest.mark.parametrize("value_range", [(0.0, 255.0), (-1.0, 1.0), (0.0, 10000.0)])
@pytest.mark.parametrize("bands", [1, 3, 4])
def test_the_range_changes_the_numbers_and_nothing_else(value_range: tuple[float, float], bands: int) -> None:
    low, high = value_range
    images = torch.rand(2, bands, 48, 48, generator=torch.Generator().manual_seed(0))
    keys = Keys(5, torch.arange(2))
    for plain, ranged in (
        (SecondOrder(), SecondOrder(value_range=value_range)),
        (Pipeline(steps=(NoiseStep(), FitStep())), Pipeline(steps=(NoiseStep(), FitStep()), value_range=value_range)),
    ):
        recipe = plain.draw(keys, 48, 48, 4)
        expected = plain.apply(images, recipe)  # type: ignore[arg-type]
        got = ranged.apply(images * (high - low) + low, recipe)  # type: ignore[arg-type]
        unit = (got - low) / (high - low)
        # Scaling there and back rounds; a value that sat on the border of two levels may take the other one.
        assert ((unit - expected).abs() < 1e-4).float().mean() > 0.95
        assert torch.allclose(unit * 255, (unit * 255).round(), atol=1e-2)


def test_a_range_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match=r"value_range must be .black, white. with black below white"):
        SecondOrder(value_range=(1.0, 0.0))
