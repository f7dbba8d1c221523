"""Errors of too little memory, of a GPU or of the machine, by what torch, its libraries and Python raise."""

import re
from pathlib import Path

import torch

PHRASES = ("out of memory", "DefaultCPUAllocator", "can't allocate memory", "_STATUS_ALLOC_FAILED")
"""Of CUDA's driver and of NCCL; of torch's allocator on the host, twice; of cuDNN, cuBLAS and others."""


def is_shortage(error: BaseException) -> bool:
    """True if memory was too short. torch has a class for that on a GPU; elsewhere only the text shows it."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in str(error) for phrase in PHRASES)


def amount(error: BaseException) -> str:
    """The piece of memory that could not be had, such as "2.00 GiB"; empty if the error does not name it."""
    text = str(error)
    if found := re.search(r"[Tt]ried to allocate ([\d.]+ [KMGT]iB)", text):
        return found[1]
    found = re.search(r"tried to allocate (\d+) bytes", text)
    return f"{int(found[1]) / 2**30:.2f} GiB" if found else ""


def available() -> int | None:
    """Bytes of this machine's memory that are free or can be freed, within the limit of a container; None off Linux."""
    facts = Path("/proc/meminfo")
    if not facts.exists():
        return None
    lines = facts.read_text(encoding="utf-8").splitlines()
    free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    most, now = (Path("/sys/fs/cgroup") / name for name in ("memory.max", "memory.current"))
    if most.exists() and now.exists() and (limit := most.read_text(encoding="utf-8").strip()).isdecimal():
        free = min(free, max(0, int(limit) - int(now.read_text(encoding="utf-8"))))
    return free
