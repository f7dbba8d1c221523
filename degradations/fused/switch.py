"""The switch between the fused kernels and the reference, and the errors that are raised if the kernels fail."""

from __future__ import annotations

import os
from importlib.util import find_spec

SWITCH = "WILDSR_FUSED"
"""Environment variable; 0 makes the reference do everything, for devices or drivers on which the kernels fail."""

_off: list[str] = []
"""At most one reason why the kernels are off in this process although the environment leaves them on."""


class KernelsUnusable(RuntimeError):
    """The kernels do not compile, or broke the device: the user must choose the reference by the switch."""


class DeviceBroken(KernelsUnusable):
    """The device computes nothing more for this process."""


def allowed() -> bool:
    """False if the switch turns the kernels off."""
    value = os.environ.get(SWITCH, "1")
    if value not in ("0", "1"):
        raise ValueError(f"{SWITCH} must be 0 or 1, got {value!r}")
    return value == "1"


def turn_off(reason: str) -> None:
    """Use the reference for everything in this process from now on."""
    _off[:] = [reason]


def unavailable_reason() -> str:
    """Reason why no kernel can be used at all, in words; empty if they can."""
    if not allowed():
        return f"{SWITCH}=0"
    if _off:
        return _off[0]
    return "Triton is not installed" if find_spec("triton") is None else ""
