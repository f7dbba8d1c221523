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
    """Bytes of this machine's memory that are free or can be freed, within the limit of a container or job (cgroup v2).

    None off Linux.
    """
    facts = Path("/proc/meminfo")
    if not facts.exists():
        return None
    free = 1024 * figures(facts)["MemAvailable:"]
    root = Path("/sys/fs/cgroup")
    lines = text_of(Path("/proc/self/cgroup")).splitlines()
    own = [root / line.removeprefix("0::/") for line in lines if line.startswith("0::/")]
    groups = {above for one in own for above in (one, *one.parents) if above.is_relative_to(root)}
    for group in {root, *groups}:
        limit = text_of(group / "memory.max").strip()
        if limit.isdecimal():
            cached = figures(group / "memory.stat").get("inactive_file", 0)
            free = min(free, max(0, int(limit) - int(text_of(group / "memory.current") or 0) + cached))
    return free


def figures(file: Path) -> dict[str, int]:
    """Names and numbers of a file with one pair on each line, whatever follows them."""
    words = [line.split() for line in text_of(file).splitlines()]
    return {word[0]: int(word[1]) for word in words if len(word) > 1 and word[1].isdecimal()}


def text_of(file: Path) -> str:
    """The text of a system's file; empty if there is none, or it may not be read."""
    try:
        return file.read_text(encoding="utf-8")
    except OSError:
        return ""
