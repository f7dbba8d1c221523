"""Where model cards of versions before 0.2 import `Upscaler` from; it is `from trainer import Upscaler` now."""

from trainer.upscale.upscaler import Upscaler

__all__ = ["Upscaler"]
