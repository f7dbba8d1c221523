"""No network: those that want one are not used here."""

from typing import Any


def __getattr__(name: str) -> Any:
    raise AttributeError(f"the stub of torchvision has no models.{name}")
