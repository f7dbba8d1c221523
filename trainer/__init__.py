"""wildsr: distributed training of blind super-resolution networks.

`from trainer import RealESRGANModel` and the like are imported when they are asked for: the command line needs no torch
to print its help.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.mistakes import Mistake
    from trainer.models import RealESRGANModel, RealESRNetModel
    from trainer.training import train
    from trainer.upscale.upscaler import Upscaler

__all__ = ["Mistake", "RealESRGANModel", "RealESRNetModel", "Upscaler", "train"]

_PLACES = {
    "Mistake": "trainer.mistakes",
    "RealESRGANModel": "trainer.models",
    "RealESRNetModel": "trainer.models",
    "Upscaler": "trainer.upscale.upscaler",
    "train": "trainer.training",
}


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        return getattr(import_module(_PLACES[name]), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
