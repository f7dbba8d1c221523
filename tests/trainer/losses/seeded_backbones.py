"""Weights for the networks of the learned distances, by a formula: the packages' own figures are known for them."""

from pathlib import Path

import torch
from torch import Tensor, nn

from trainer.losses.backbones import ARCHITECTURES, Backbone


def seeded(kind: Backbone) -> dict[str, Tensor]:
    """He-initialised weights and small biases, under torchvision's names."""
    generator = torch.Generator().manual_seed(0)
    tensors = {}
    with torch.device("meta"):
        wanted = nn.Sequential(*ARCHITECTURES[kind].layers()).state_dict()
    for name, value in wanted.items():
        noise = torch.randn(value.shape, generator=generator)
        tensors[f"features.{name}"] = noise * (2 / value[0].numel()) ** 0.5 if value.ndim > 1 else noise / 20
    return tensors


def saved(kind: Backbone, folder: Path, name: str = "") -> str:
    """The path of a file that holds them, with a classifier as torchvision's file has one."""
    path = folder / (name or f"{kind}.pth")
    torch.save({**seeded(kind), "classifier.1.weight": torch.zeros(2, 2)}, path)
    return str(path)
