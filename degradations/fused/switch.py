"""The switch between the fused kernels and the reference, and what is raised where the kernels are a fault."""

from __future__ import annotations

import os
from importlib.util import find_spec

SWITCH = "WILDSR_FUSED"
"""Of the environment: 0 has the reference do everything, for a device or a driver that the kernels break."""

_off: list[str] = []
"""Why they are off in this process, though the environment leaves them on."""


class KernelsUnusable(RuntimeError):
    """The kernels do not compile here, or they broke the device: a person must say that the reference is to be used."""


class DeviceBroken(KernelsUnusable):
    """The device computes nothing more for this process."""


def allowed() -> bool:
    """Whether the switch leaves the kernels on, as it does where it is not set."""
    value = os.environ.get(SWITCH, "1")
    if value not in ("0", "1"):
        raise ValueError(f"{SWITCH} must be 0 or 1, got {value!r}")
    return value == "1"


def turn_off(reason: str) -> None:
    """Have the reference do everything in this process from now on."""
    _off[:] = [reason]


def unavailable() -> str:
    """Why there are no kernels at all, in words; empty where there are."""
    if not allowed():
        return f"{SWITCH}=0"
    if _off:
        return _off[0]
    return "Triton is not installed" if find_spec("triton") is None else ""
