"""Errors of too little memory, of a GPU or of the machine, by what torch, its libraries and Python raise."""

import re

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
