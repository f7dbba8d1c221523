"""Names of operations that architectures for other tasks use."""

from typing import Any, NoReturn


class DeformConv2d:
    """Base of a layer that no super-resolution architecture has."""


def deform_conv2d(*_: Any, **__: Any) -> NoReturn:
    """Not here."""
    raise NotImplementedError
