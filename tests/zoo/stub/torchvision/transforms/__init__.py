"""Transforms of pictures."""

from torchvision.transforms import functional

__all__ = ["functional"]
