"""`trainer.upscaler.Upscaler`, for model cards of versions before 0.2; now it is `from trainer import Upscaler`."""

from trainer.upscale.upscaler import Upscaler

__all__ = ["Upscaler"]
