"""Files of other programs, known by the names of their sections."""

from collections.abc import Mapping
from typing import Any

SECTIONS = {
    "Real-ESRGAN": ("model_type", "network_g", "network_d", "datasets", "train", "logger", "dist_params"),
    "opensr-srgan": ("Data", "Model", "Training", "Generator", "Discriminator", "Optimizers", "Schedulers", "Logging"),
}
"""The program, and names at the top of its configurations that ours do not have."""


def program_of(tree: Mapping[str, Any]) -> str | None:
    """Which other program's configuration this is, by two or more of its names; None where it is neither's."""
    return next((program for program, names in SECTIONS.items() if sum(name in tree for name in names) > 1), None)
