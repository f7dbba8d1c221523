"""Full precision of the losses: float32 under autocast too."""

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec

import torch
from torch import Tensor

from degradations.precision import no_autocast

P = ParamSpec("P")


def in_full_precision(loss: Callable[P, Tensor]) -> Callable[P, Tensor]:
    """A loss that runs without autocast, on its tensors as float32; float64 stays float64."""

    @wraps(loss)
    def run(*arguments: P.args, **options: P.kwargs) -> Tensor:
        device = next(value.device for value in arguments if isinstance(value, Tensor))
        with no_autocast(device):
            return loss(*map(_widened, arguments), **options)  # type: ignore[arg-type]

    return run


def _widened(value: object) -> object:
    return value.float() if isinstance(value, Tensor) and value.dtype != torch.float64 else value
