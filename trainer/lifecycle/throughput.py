"""Throughput of a run's steps: TFLOP/s, and the share of the peak of a known GPU (model FLOPs utilisation)."""

import torch

from trainer.base_model import BaseModel
from trainer.console import say
from trainer.flops import StepFlops, Uncountable
from trainer.telemetry.peaks import peak_of

WORTH = 10.0
"""Seconds of training before which nothing is counted, which for a deep network takes a second or two."""


class Throughput:
    """The figures `speed/tflops` and `speed/mfu` of one process, which is one GPU where there are any.

    For networks whose operations cannot be counted there are none, and one sentence says why.
    """

    def __init__(self, model: BaseModel) -> None:
        self.flops, config, device = StepFlops(model), model.config, model.accelerator.device
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else ""
        self.peak = peak_of(name, config.mixed_precision, config.allow_tf32)
        self.is_known, self.trained = True, 0.0

    def __call__(self, steps: range, seconds: float) -> dict[str, float]:
        """The figures of a run's next steps, which took `seconds` each, by name; none in its first seconds."""
        self.trained += len(steps) * seconds
        return self.figures(steps, seconds) if self.trained >= WORTH else {}

    def figures(self, steps: range, seconds: float) -> dict[str, float]:
        """The figures of optimizer steps that took `seconds` each, by name."""
        if not self.is_known:
            return {}
        try:
            tflops = self.flops.per_second(steps, seconds) / 1e12
        except Uncountable as error:
            self.is_known = False
            say(f"speed/tflops is not reported, for the operations of a step cannot be counted: {error}.")
            return {}
        return {"speed/tflops": tflops} | ({"speed/mfu": tflops / self.peak} if self.peak else {})
