"""Check of the losses' weights."""


def check_weight(weight: float) -> None:
    """ValueError for a negative weight, which would drive results away from the target."""
    if weight < 0:
        raise ValueError(f"weight: got {weight}; must be at least 0")
