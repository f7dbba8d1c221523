"""A degradation as a list of operations, with probabilities, choices and shuffled groups.

Enough for BSRGAN (Zhang et al., "Designing a Practical Degradation Model for Deep Blind Image
Super-Resolution", 2021; `configs/degradations/bsrgan.yaml`) and for recipes of one's own.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from degradations.checks import check_probability, check_scale, check_weights
from degradations.fused.dispatch import apply_step
from degradations.keyed_random import Keys, Purpose, choose, uniform_table, uniforms
from degradations.operations.camera import Camera
from degradations.operations.correlated_noise import CorrelatedNoise, Speckle
from degradations.operations.noise import quantise
from degradations.operations.operation import NUMBERS_PER_OPERATION, OperationContext
from degradations.operations.pipeline_steps import (
    BlurStep,
    DownsampleNearestStep,
    FitStep,
    JpegStep,
    NoiseStep,
    ResizeStep,
)
from degradations.operations.real_codecs import Codec
from degradations.recipes import DegradationRecipe, Recipe, check_images
from degradations.values import UNIT, check_value_range, from_unit, to_unit

# The registry of operations, in the order of the README's table.
Step = (
    BlurStep
    | ResizeStep
    | DownsampleNearestStep
    | FitStep
    | NoiseStep
    | CorrelatedNoise
    | Speckle
    | JpegStep
    | Codec
    | Camera
)
_MAX_OPERATIONS = (64 - Purpose.PIPELINE) // 2


@dataclass(frozen=True, kw_only=True, slots=True)
class OneOf:
    """One of several operations for each sample."""

    type: Literal["one_of"] = "one_of"
    steps: tuple[Step, ...]
    """The alternatives."""
    weights: tuple[float, ...]
    """The relative weight of each alternative."""
    prob: float = 1.0
    """Probability that any of them is applied."""

    def __post_init__(self) -> None:
        check_weights("weights", self.weights, len(self.steps))
        check_probability("prob", self.prob)


@dataclass(frozen=True, kw_only=True, slots=True)
class Shuffle:
    """Operations in a random order, drawn for each sample."""

    type: Literal["shuffle"] = "shuffle"
    steps: tuple[Step | OneOf, ...]
    """The operations that change places."""
    keep: tuple[int, ...] = ()
    """Places in `steps`, from 0, that stay in this order among each other."""

    def __post_init__(self) -> None:
        if len(set(self.keep)) != len(self.keep) or not all(0 <= i < len(self.steps) for i in self.keep):
            raise ValueError(f"keep must name different places in 0..{len(self.steps) - 1}, got {self.keep!r}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelineRecipe(DegradationRecipe):
    """Draws of a pipeline for a batch.

    Args:
        order: int64 [B, S], operation `order[i, k]` is sample i's k-th.
        applied: bool [B, S], whether operation s is applied at all.
        steps: the recipe of each operation.
    """

    order: Tensor
    applied: Tensor
    steps: tuple[Recipe, ...]

    def caption(self, i: int) -> str:
        """Sample `i` in words, operations in the order in which they are applied."""
        places = [s for s in self.order[i].tolist() if bool(self.applied[i, s])]
        return " · ".join(text for s in places if (text := self.steps[s].describe(i)))


@dataclass(frozen=True, kw_only=True, slots=True)
class Pipeline:
    """A list of operations. Every draw is made for each sample."""

    type: Literal["pipeline"] = "pipeline"
    steps: tuple[Step | OneOf | Shuffle, ...]
    """Operations, choices (`one_of`) and shuffled groups (`shuffle`), at most 24 operations in all; one `fit`
    of `prob` 1 makes the final size."""
    value_range: tuple[float, float] = UNIT
    """The values of black and white that are taken and returned, such as [0, 10000] for reflectance."""

    def __post_init__(self) -> None:
        check_value_range(self.value_range)
        count = len(self.operations())
        if not 0 < count <= _MAX_OPERATIONS:
            raise ValueError(f"steps must hold 1..{_MAX_OPERATIONS} operations, got {count}")
        if not any(isinstance(unit, FitStep) and unit.prob == 1 for _, unit in self._units()):
            raise ValueError("steps must contain a `fit` of prob 1, which makes the final size")

    def _units(self) -> Iterator[tuple[int, Step | OneOf]]:
        """Operations and choices, each with the number of its group; only units of one group change places."""
        for group, step in enumerate(self.steps):
            units = step.steps if isinstance(step, Shuffle) else (step,)
            yield from ((group, unit) for unit in units)

    def operations(self) -> list[Step]:
        """All operations, in the order of the configuration; alternatives and shuffled ones too."""
        return [leaf for _, unit in self._units() for leaf in (unit.steps if isinstance(unit, OneOf) else (unit,))]

    def _ranks(self, u: Tensor) -> Tensor:
        """Sort keys of the units, float32 [B, U], from uniform numbers of the same shape."""
        groups = torch.tensor([group for group, _ in self._units()]).to(u.device, non_blocking=True)
        ranks = u
        start = 0
        for step in self.steps:
            if isinstance(step, Shuffle):
                if step.keep:
                    places = (torch.tensor(step.keep) + start).to(u.device, non_blocking=True)
                    kept = ranks.index_select(1, places).sort(dim=1).values
                    ranks = ranks.index_copy(1, places, kept)
                start += len(step.steps)
            else:
                start += 1
        return ranks + groups

    def _plan(self, keys: Keys) -> tuple[Tensor, Tensor]:
        """Order and presence of the operations, see `PipelineRecipe`."""
        units = [unit for _, unit in self._units()]
        count = len(units)
        u = uniforms(keys, Purpose.ORDER, 2 * count + len(self.operations()))
        ranks, chance = self._ranks(u[:, :count]), iter(u[:, 2 * count :].unbind(1))
        leaf_ranks, applied = [], []
        for place, unit in enumerate(units):
            if isinstance(unit, OneOf):
                chosen = choose(u[:, count + place], unit.weights)
                # alternatives exclude each other, so each may draw for itself if the choice is applied
                masks = [(chosen == i) & (next(chance) < unit.prob * leaf.prob) for i, leaf in enumerate(unit.steps)]
            else:
                masks = [next(chance) < unit.prob]
            applied += masks
            leaf_ranks += [ranks[:, place]] * len(masks)
        return torch.stack(leaf_ranks, dim=1).argsort(dim=1, stable=True), torch.stack(applied, dim=1)

    def draw(self, keys: Keys, height: int, width: int, scale: int) -> PipelineRecipe:
        """Draw the recipe of a batch; arguments as in `SecondOrder.draw`.

        Raises:
            ValueError: if a side is not a multiple of the scale.
        """
        check_scale(height, width, scale)
        leaves = self.operations()
        order, applied = self._plan(keys)
        purposes = [Purpose.PIPELINE + 2 * s for s in range(len(leaves))]
        table = uniform_table(keys, purposes, NUMBERS_PER_OPERATION)
        return PipelineRecipe(
            order=order,
            applied=applied,
            steps=tuple(leaf.draw(numbers) for leaf, numbers in zip(leaves, table, strict=True)),
            positions=keys.positions,
            seed=keys.seed,
            height=height,
            width=width,
            scale=scale,
        )

    def apply(self, images: Tensor, recipe: PipelineRecipe) -> Tensor:
        """Degrade images; arguments and result as in `SecondOrder.apply`.

        Raises:
            ValueError: if the images are not those of the recipe, or an operation changes the size after `fit`.
        """
        check_images(images, recipe)
        recipe = recipe.to("cpu")
        size = recipe.lq_size
        out = list(to_unit(images, self.value_range))
        for turn in recipe.order.unbind(1):
            for s, leaf in enumerate(self.operations()):
                places = ((turn == s) & recipe.applied[:, s]).nonzero().flatten()
                if len(places):
                    context = OperationContext(
                        Keys(recipe.seed, recipe.positions[places]), Purpose.PIPELINE + 2 * s + 1, size
                    )
                    chosen: Sequence[int] = places.tolist()
                    done = apply_step(leaf, [out[i] for i in chosen], recipe.steps[s].select(places), context)
                    for i, image in zip(chosen, done, strict=True):
                        out[i] = image
        wrong = [tuple(image.shape[-2:]) for image in out if tuple(image.shape[-2:]) != size]
        if wrong:
            raise ValueError(f"the result must be {size}, got {wrong[0]}: put `fit` after what changes the size")
        return from_unit(torch.stack([quantise(image) for image in out]), self.value_range)
