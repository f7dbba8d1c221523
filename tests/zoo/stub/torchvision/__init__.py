"""As much of torchvision as spandrel imports, where none imports beside the CPU build of torch. Nothing computes."""

from torchvision import models, ops, transforms

__version__ = "0"
__all__ = ["models", "ops", "transforms"]
