"""Any loss that Python can import: a `torch.nn.Module` class, or a function, of (result, target)."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor, nn

from degradations.precision import no_autocast
from trainer.dotted_path import imported_name, made
from trainer.losses.weight import check_weight


@dataclass(frozen=True, kw_only=True, slots=True)
class ImportedLoss:
    """A loss from any installed package: it maps (result, target), float32 [B, C, H, W] in [0, 1], to one number.

    Results may leave [0, 1]. It is frozen, in evaluation mode, never under autocast, and tried once before training.
    """

    type: Literal["module"] = "module"
    name: str
    """Its name among the losses, of small letters, digits and `_`: `training/loss_NAME` is reported."""
    path: str
    """The class, a torch.nn.Module, or the function, as package.module.Name."""
    arguments: dict[str, Any] = field(default_factory=dict)
    """Arguments of the class, or further ones of the function."""
    weight: float = 1.0
    """The term's factor in the objective; 0 leaves it out."""

    def __post_init__(self) -> None:
        check_weight(self.weight)
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name) or self.name.startswith("scale"):
            raise ValueError(f"name: got {self.name!r}; must be small letters, digits and _, and not begin with scale")

    def build(self, bands: int, side: int) -> "ImportedDistance":
        """The loss, on the CPU, tried on two small pictures; ValueError if it fails or gives no number to minimise."""
        found = imported_name(self.path)
        if isinstance(found, type):
            if not issubclass(found, nn.Module):
                raise ValueError(f"path: {self.path} is no torch.nn.Module and no function")
            loss: Callable[..., Any] = made(found, self.path, self.arguments).eval().requires_grad_(False)
        elif callable(found):
            loss = partial(found, **self.arguments)
        else:
            raise ValueError(f"path: {self.path} is no torch.nn.Module and no function")
        distance = ImportedDistance(loss)
        self._try_out(distance, (2, bands, side, side))
        return distance

    def _try_out(self, distance: "ImportedDistance", shape: tuple[int, ...]) -> None:
        ramp = torch.linspace(0, 1, torch.Size(shape).numel()).reshape(shape)
        result = (1 - ramp).requires_grad_()
        on = f"on two pictures, {list(shape)}"
        try:
            value = distance.loss(result, ramp)
        except Exception as error:  # whatever somebody else's loss raises
            raise ValueError(f"{self.path} fails {on}: {type(error).__name__}: {error}") from error
        if not isinstance(value, Tensor) or value.numel() != 1:
            answer = f"a tensor {list(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
            raise ValueError(f"{self.path} answers {on} with {answer}; wanted is a tensor of one number")
        if not value.requires_grad:
            raise ValueError(f"{self.path} gives a number without a gradient {on}: there is nothing to learn from it")


class ImportedDistance(nn.Module):
    """An imported loss; not part of any checkpoint."""

    def __init__(self, loss: Callable[..., Any]) -> None:
        super().__init__()
        self.loss = loss

    def forward(self, result: Tensor, target: Tensor) -> Tensor:
        """The loss before its factor, a scalar, of two float [B, C, H, W]."""
        with no_autocast(result.device):
            value: Tensor = self.loss(result.float(), target.float())
        return value.reshape(())
