"""What a run cannot derive: the one object whose parts go into a checkpoint, by name."""

from dataclasses import dataclass
from typing import Any

import torch
from ema_pytorch import EMA

from trainer.player import Player

VERSION = 1


@dataclass(slots=True)
class Best:
    """The best validation so far."""

    metric: str
    value: float
    step: int


@dataclass(slots=True)
class TrainState:
    """Weights, moments, the average, and two numbers. Data order, draws and rates are functions of `step`."""

    generator: Player
    ema: EMA
    step: int = 0
    best: Best | None = None

    def advance(self) -> None:
        """Count one optimizer step and let the average follow."""
        self.ema.update()
        self.step += 1

    def parts(self) -> dict[str, dict[str, Any]]:
        """Everything to save, as named state dicts; the two generators are tensors under upstream's keys."""
        best = self.best and {"metric": self.best.metric, "value": self.best.value, "step": self.best.step}
        return {
            "generator": self.generator.module.state_dict(),
            "generator_ema": self.ema.ema_model.state_dict(),
            "generator_optimizer": self.generator.optimizer.state_dict(),
            "progress": {"version": VERSION, "step": self.step, "best": best, "ema_updates": int(self.ema.step)},
        }

    def load(self, parts: dict[str, dict[str, Any]]) -> None:
        """Take over what `parts` returned once; ValueError, KeyError or RuntimeError where it does not fit."""
        progress = parts["progress"]
        if progress["version"] != VERSION:
            raise ValueError(f"its format is version {progress['version']}, this program reads {VERSION}")
        self.generator.module.load_state_dict(parts["generator"])
        self.ema.ema_model.load_state_dict(parts["generator_ema"])
        self.generator.optimizer.load_state_dict(parts["generator_optimizer"])
        self.ema.step.fill_(progress["ema_updates"])
        self.ema.initted.copy_(torch.tensor(progress["ema_updates"] > 0))
        self.step = progress["step"]
        self.best = progress["best"] and Best(**progress["best"])
