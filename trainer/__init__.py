"""wildsr: distributed training of blind super-resolution networks.

`from trainer import Upscaler` is imported when it is asked for: the command line needs no torch to say how it is used.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainer.upscale.upscaler import Upscaler

__all__ = ["Upscaler"]


def __getattr__(name: str) -> Any:
    if name == "Upscaler":
        from trainer.upscale.upscaler import Upscaler

        return Upscaler
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
