"""Configuration files of other programs, recognised by their sections."""

from collections.abc import Mapping
from typing import Any

SECTIONS = {
    "Real-ESRGAN": ("model_type", "network_g", "network_d", "datasets", "train", "logger", "dist_params"),
    "opensr-srgan": ("Data", "Model", "Training", "Generator", "Discriminator", "Optimizers", "Schedulers", "Logging"),
}
"""Top-level keys of each program's configurations that this program's do not have."""


def program_of(tree: Mapping[str, Any]) -> str | None:
    """The other program that a configuration belongs to, by two or more of its top-level keys; None for no other."""
    return next((program for program, names in SECTIONS.items() if sum(name in tree for name in names) > 1), None)
