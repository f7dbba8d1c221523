"""Recipes: the numbers drawn for each sample of a batch, as data that can be read, stored and replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import torch
from torch import Tensor

from degradations.keyed_random import Keys


@dataclass(frozen=True, slots=True)
class Recipe:
    """Base of every recipe: tensors whose first axis is the sample, other recipes (or tuples of them), plain values."""

    def __len__(self) -> int:
        """Number of samples."""
        for _, value in self._parts():
            if isinstance(value, Tensor | Recipe):
                return len(value)
        raise ValueError(f"{type(self).__name__} holds no tensor")

    def describe(self, i: int) -> str:
        """Sample `i` in words; empty if nothing is applied."""
        raise NotImplementedError(f"{type(self).__name__} {i}")

    def _parts(self) -> Iterator[tuple[str, Any]]:
        """Names and values, tuples taken apart: ``steps.0``, ``steps.1``, ..."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                yield from ((f"{field.name}.{i}", part) for i, part in enumerate(value))
            else:
                yield field.name, value

    def _with(self, parts: Mapping[str, Any]) -> Self:
        """This recipe with values by the names of `_parts`."""
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, tuple):
                changed[field.name] = tuple(parts[f"{field.name}.{i}"] for i in range(len(value)))
            else:
                changed[field.name] = parts[field.name]
        return replace(self, **changed)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Self:
        def mapped(value: Any) -> Any:
            if isinstance(value, Recipe):
                return value._map(change)
            return change(value) if isinstance(value, Tensor) else value

        return self._with({name: mapped(value) for name, value in self._parts()})

    def select(self, index: int | slice | Tensor) -> Self:
        """The recipe of some samples; an int keeps the batch axis with length 1."""
        if isinstance(index, int):
            index = torch.arange(len(self))[index].reshape(1)
        return self._map(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> Self:
        """The same recipe on another device. `apply` reads sizes on the host: recipes belong on the CPU."""
        # a copy to the host must block, or it is read before it has arrived
        asynchronous = torch.device(device).type != "cpu"
        return self._map(lambda tensor: tensor.to(device, non_blocking=asynchronous))

    def as_dict(self) -> dict[str, Any]:
        """Flat ``{"resize1.scale": tensor, ...}``; `load` reverses it."""
        flat: dict[str, Any] = {}
        for name, value in self._parts():
            if isinstance(value, Recipe):
                flat |= {f"{name}.{inner}": item for inner, item in value.as_dict().items()}
            else:
                flat[name] = value
        return flat

    def load(self, flat: Mapping[str, Any]) -> Self:
        """A recipe of this structure with the values of `flat`, as returned by `as_dict`.

        Raises:
            ValueError: if names are missing or unknown.
        """
        wanted = self.as_dict().keys()
        if flat.keys() != wanted:
            raise ValueError(f"recipe entries differ from the structure: {sorted(flat.keys() ^ wanted)}")
        parts: dict[str, Any] = {}
        for name, value in self._parts():
            if isinstance(value, Recipe):
                prefix = name + "."
                parts[name] = value.load({k.removeprefix(prefix): v for k, v in flat.items() if k.startswith(prefix)})
            else:
                parts[name] = flat[name]
        return self._with(parts)


@dataclass(frozen=True, slots=True, kw_only=True)
class DegradationRecipe(Recipe):
    """Base of the recipes of whole degradations.

    Args:
        positions: int64 [B], and seed: the key of the noise fields.
        height, width: size of the clean images, pixels. scale: of the whole degradation.
    """

    positions: Tensor
    seed: int
    height: int
    width: int
    scale: int

    @property
    def keys(self) -> Keys:
        """The key of the noise fields."""
        return Keys(self.seed, self.positions)

    @property
    def lq_size(self) -> tuple[int, int]:
        """Height and width of the result, pixels."""
        return self.height // self.scale, self.width // self.scale

    def caption(self, i: int) -> str:
        """Sample `i` in words, operations in the order in which they are applied."""
        raise NotImplementedError(f"{type(self).__name__} {i}")


def check_images(images: Tensor, recipe: DegradationRecipe) -> None:
    """Raise ValueError unless images [B, C, H, W] have the number and size that the recipe was drawn for."""
    batch, _, height, width = images.shape
    if (batch, height, width) != (len(recipe), recipe.height, recipe.width):
        raise ValueError(
            f"the recipe is for {len(recipe)} images of {recipe.height}x{recipe.width}, got {batch} of {height}x{width}"
        )
