"""Checks of configuration values, shared by the operations; a ValueError names key, value and what is allowed."""

from __future__ import annotations

from collections.abc import Sequence


def check_probability(name: str, value: float) -> None:
    """Raise unless `value` lies in [0, 1]."""
    if not 0 <= value <= 1:
        raise ValueError(f"{name} must be a probability in [0, 1], got {value!r}")


def check_weights(name: str, weights: Sequence[float], count: int) -> None:
    """Raise unless there are `count` non-negative weights with a positive sum."""
    if len(weights) != count:
        raise ValueError(f"{name} must have {count} entries, got {len(weights)}: {weights!r}")
    if min(weights) < 0 or sum(weights) <= 0:
        raise ValueError(f"{name} must be non-negative with a positive sum, got {weights!r}")


def check_range(name: str, value: Sequence[float], low: float, high: float) -> None:
    """Raise unless `value` is a pair with low <= value[0] <= value[1] <= high."""
    if len(value) != 2 or not low <= value[0] <= value[1] <= high:
        raise ValueError(f"{name} must be (a, b) with {low:g} <= a <= b <= {high:g}, got {value!r}")


def check_scale(height: int, width: int, scale: int) -> None:
    """Raise unless the sides are multiples of a positive scale."""
    if scale < 1 or height % scale or width % scale:
        raise ValueError(f"height and width must be multiples of the scale {scale}, got {height}x{width}")
