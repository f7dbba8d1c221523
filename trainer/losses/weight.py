"""Checks of the losses' settings: weights, and sides of patches."""


def check_weight(weight: float) -> None:
    """ValueError for a negative weight, which would drive results away from the target."""
    if weight < 0:
        raise ValueError(f"weight: got {weight}; must be at least 0")


def side_problem(gt_size: int, smallest: int) -> str | None:
    """Reason why patches of `gt_size` are too small, to stand behind the name of a section, or None."""
    return None if gt_size >= smallest else f"must be null for a gt_size of {gt_size}; it needs {smallest} pixels"
