"""The place of `Upscaler` that model cards of versions before 0.2 import it from; it is `trainer.Upscaler` now."""

from trainer.upscale.upscaler import Upscaler

__all__ = ["Upscaler"]
