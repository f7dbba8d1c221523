"""Check of the sizes in the networks' configurations."""


def check_sizes(config: object, **least: int) -> None:
    """ValueError, naming the key, for a field of `config` that is below its `least`."""
    for key, bound in least.items():
        if (size := getattr(config, key)) < bound:
            raise ValueError(f"{key}: got {size}; must be at least {bound}")
