"""Dynamic loss scaling for float16 (Micikevicius et al. 2018, arXiv 1710.03740, section 3.2), on the device."""

import torch
from accelerate import Accelerator
from torch import Tensor

FIRST, PATIENCE = 2.0**16, 2000
"""torch.amp.GradScaler's: the scale at the start, and good steps in a row until it is doubled."""
LOWEST, HIGHEST = 1.0, 2.0**64
"""Powers of two, so that to scale and to unscale rounds nothing; a run without gradients would grow to infinity."""


def autocast_alone(accelerator: Accelerator) -> None:
    """Let an accelerator of fp16 autocast as it does for bf16, and scale nothing.

    Its own scaler would be one for both networks, and waits for the device; and on a CPU it would not even autocast.
    """
    accelerator.scaler, accelerator.native_amp = None, True


class LossScale:
    """The factor of a network's loss before its backward pass, so that small gradients do not vanish in float16.

    A step whose gradient overflows is skipped and halves the scale; 2000 good ones in a row double it. A step skipped
    while the scale can still fall is no sign of divergence: it is counted as one at the lowest scale alone. All numbers
    stay on the device; every rank sees the same averaged gradients and so has the same scale.
    """

    def __init__(self, device: torch.device) -> None:
        self.value = torch.full((), FIRST, device=device)
        self.good = torch.zeros((), device=device)
        """Steps since the scale moved last."""
        self.diverging = torch.zeros((), device=device)
        """Steps in a row that were skipped at the lowest scale."""

    def unscale(self, gradients: list[Tensor]) -> None:
        """Divide gradients by the scale, in place; what is not finite stays so."""
        torch._foreach_mul_(gradients, self.value.reciprocal())

    def update(self, bad: Tensor, pause: Tensor | None = None) -> None:
        """Move the scale after a step; scalars on the device.

        Args:
            bad: 1 where the gradient was not finite, else 0.
            pause: 1 where the step was thrown away for another reason, from which the scale learns nothing, else 0.
        """
        self.diverging = (self.diverging + 1) * bad * (self.value <= LOWEST)
        good = (self.good + 1) * (1 - bad)
        grown = (good >= PATIENCE).float()
        good = good * (1 - grown)
        value = (self.value * (1 + grown - bad / 2)).clamp(LOWEST, HIGHEST)
        if pause is not None:
            good, value = torch.where(pause > 0, self.good, good), torch.where(pause > 0, self.value, value)
        self.good, self.value = good, value

    def counters(self) -> dict[str, float]:
        """Its numbers for a checkpoint."""
        return {"value": self.value.item(), "good": self.good.item(), "diverging": self.diverging.item()}

    def load(self, progress: dict[str, float]) -> None:
        """Take over what `counters` returned once."""
        self.value.fill_(progress["value"])
        self.good.fill_(progress["good"])
        self.diverging.fill_(progress["diverging"])
