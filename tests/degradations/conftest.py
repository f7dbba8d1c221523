"""Golden vectors made by upstream's unmodified functions: a small set lies here, the full one is used where it is."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"  # read when triton is imported

HERE = Path(__file__).parent
FULL = HERE.parents[1].parent / "shared" / "data" / "vectors" / "ref_vectors.npz"


@pytest.fixture(scope="session")
def vectors() -> dict[str, Tensor]:
    """Name -> tensor; images that were stored as 8-bit levels come back as float32 k / 255."""
    loaded: dict[str, Tensor] = {}
    for file in (HERE / "vectors.npz", FULL):
        if file.exists():
            with np.load(file) as archive:
                loaded |= {name: torch.from_numpy(archive[name]) for name in archive.files}
    return {name: value.float() / 255 if value.dtype == torch.uint8 else value for name, value in loaded.items()}


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Small tensors: threads only cost."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def picture() -> Tensor:
    """A photograph-like image, float32 [3, 120, 160], k / 255: gradients, texture, hard edges and colour."""
    y, x = torch.meshgrid(torch.linspace(0, 1, 120), torch.linspace(0, 1, 160), indexing="ij")
    waves = torch.sin(40 * x * x + 9 * y) * torch.cos(23 * y)
    disc = ((x - 0.6) ** 2 + (y - 0.5) ** 2 < 0.06).float()
    bands = torch.stack([0.5 + 0.3 * waves, 0.2 + 0.6 * y, 0.8 - 0.5 * x])
    bands = bands + disc * torch.tensor([0.3, -0.2, 0.1])[:, None, None]
    return (bands.clamp(0, 1) * 255).round() / 255


@pytest.fixture(scope="session")
def fused_device() -> torch.device:
    """The device of the fused kernels: a GPU, or the CPU under Triton's interpreter."""
    pytest.importorskip("triton")
    if torch.cuda.is_available():
        return torch.device("cuda")
    from triton.runtime import interpreter

    original = interpreter._patch_lang_tensor

    def patched(tensor: type, scope: object) -> None:
        original(tensor, scope)
        # Triton 3.6 makes an int of an array with one element, which NumPy 2.4 refuses
        tensor.__index__ = lambda self: int(self.handle.data.item())  # type: ignore[attr-defined]

    interpreter._patch_lang_tensor = patched
    # checks of every integer sum for overflow: they triple the time
    builder = interpreter.interpreter_builder
    builder.options = replace(builder.options, sanitize_overflow=False)
    return torch.device("cpu")
