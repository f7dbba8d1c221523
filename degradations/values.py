"""Conversion of pictures between [0, 1], used internally, and the values of black and white of a configuration."""

import torch
from torch import Tensor

UNIT = (0.0, 1.0)


def check_value_range(value_range: tuple[float, float]) -> None:
    """Raise ValueError unless both values are finite and black lies below white."""
    low, high = value_range
    if not (float("-inf") < low < high < float("inf")):
        raise ValueError(f"value_range must be (black, white) with black below white, got {value_range!r}")


def to_unit(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Convert pictures from `value_range` to float32 in [0, 1]; those in [0, 1] are returned unchanged."""
    if value_range == UNIT:
        return images
    low, high = value_range
    return (images.to(torch.float32) - low) / (high - low)


def from_unit(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Convert pictures from [0, 1] to `value_range`, float32."""
    if value_range == UNIT:
        return images
    low, high = value_range
    return images * (high - low) + low
