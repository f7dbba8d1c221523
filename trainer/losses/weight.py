"""What the weights of all terms have in common."""


def check_weight(weight: float) -> None:
    """ValueError for a term that would be driven away from its target."""
    if weight < 0:
        raise ValueError(f"weight: got {weight}; must be at least 0")
