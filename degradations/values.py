"""The values of pictures: inside, black is 0 and white is 1; outside, what the configuration declares."""

import torch
from torch import Tensor

UNIT = (0.0, 1.0)


def check_value_range(value_range: tuple[float, float]) -> None:
    """ValueError unless the two values are finite and rising."""
    low, high = value_range
    if not (float("-inf") < low < high < float("inf")):
        raise ValueError(f"value_range must be (black, white) with black below white, got {value_range!r}")


def to_unit(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Pictures of `value_range` as float32 in [0, 1]; those of [0, 1] as they are."""
    if value_range == UNIT:
        return images
    low, high = value_range
    return (images.to(torch.float32) - low) / (high - low)


def from_unit(images: Tensor, value_range: tuple[float, float]) -> Tensor:
    """Pictures in [0, 1] in the values of `value_range`, float32."""
    if value_range == UNIT:
        return images
    low, high = value_range
    return images * (high - low) + low
