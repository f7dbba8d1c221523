"""Recipes: what was drawn for each sample of a batch, as data that can be read, stored and replayed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self

import torch
from torch import Tensor


class Described(Protocol):
    """A stage's recipe that can be put in words."""

    def describe(self, i: int) -> str:
        """What sample `i` gets, empty where that is nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Drawn:
    """Base of every recipe: tensors whose first axis is the sample, other recipes, and plain shared values."""

    def __len__(self) -> int:
        """Number of samples."""
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor | Drawn):
                return len(value)
        raise ValueError(f"{type(self).__name__} holds no tensor")

    def _map(self, change: Any) -> Self:
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changed[field.name] = change(value)
            elif isinstance(value, Drawn):
                changed[field.name] = value._map(change)
        return replace(self, **changed)

    def select(self, index: int | slice | Tensor) -> Self:
        """The recipe of some samples; an int keeps the batch axis with length 1."""
        if isinstance(index, int):
            index = torch.arange(len(self))[index].reshape(1)
        return self._map(lambda tensor: tensor[index])

    def to(self, device: torch.device | str) -> Self:
        """The same recipe on another device. `apply` reads sizes on the host: keep recipes on the CPU."""
        return self._map(lambda tensor: tensor.to(device, non_blocking=True))

    def as_dict(self) -> dict[str, Any]:
        """Flat ``{"resize1.scale": tensor, ...}``; `load` reverses it."""
        flat: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Drawn):
                flat |= {f"{field.name}.{name}": inner for name, inner in value.as_dict().items()}
            else:
                flat[field.name] = value
        return flat

    def load(self, flat: Mapping[str, Any]) -> Self:
        """A recipe of this structure with the values of `flat`, as returned by `as_dict`.

        Raises:
            ValueError: where names are missing or unknown.
        """
        wanted = self.as_dict().keys()
        if flat.keys() != wanted:
            raise ValueError(f"recipe entries differ from the structure: {sorted(flat.keys() ^ wanted)}")
        changed: dict[str, Any] = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Drawn):
                prefix = field.name + "."
                inner = {k.removeprefix(prefix): v for k, v in flat.items() if k.startswith(prefix)}
                changed[field.name] = value.load(inner)
            else:
                changed[field.name] = flat[field.name]
        return replace(self, **changed)
