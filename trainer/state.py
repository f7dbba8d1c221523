"""What a run cannot derive: the one object whose parts go into a checkpoint, by name."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from ema_pytorch import EMA

from trainer.player import Player

VERSION = 1


@dataclass(slots=True)
class Stream:
    """Which stream the run reads, and how far it has come."""

    pictures: int
    """How many pictures there are, or shards of a streamed dataset: with another number every position shows another
    one."""
    names: str
    """A checksum of what they are called, in their order."""
    position: int = 0
    """The next sample to make: all before it were trained on, or lie in the pool."""
    lengths: dict[int, int] = field(default_factory=dict)
    """How many pictures the shards of a streamed dataset hold, as far as they were read: a resumed run passes over."""


@dataclass(slots=True)
class Best:
    """The best validation so far."""

    metric: str
    value: float
    step: int


@dataclass(slots=True)
class TrainState:
    """Weights, moments, the average, and a few numbers. Data order, draws and rates are functions of these."""

    generator: Player
    ema: EMA
    stream: Stream
    step: int = 0
    best: Best | None = None
    unreadable: set[int] = field(default_factory=set)

    def advance(self, positions: int) -> None:
        """Count one optimizer step, made of `positions` fresh pairs, and let the average follow."""
        self.ema.update()
        self.stream.position += positions
        self.step += 1

    def parts(self) -> dict[str, dict[str, Any]]:
        """Everything to save, as named state dicts; the two generators are tensors under upstream's keys."""
        progress = {
            "version": VERSION,
            "step": self.step,
            "best": self.best and asdict(self.best),
            "ema_updates": int(self.ema.step),
            "skipped": self.generator.skipped.item(),
            "skipped_in_a_row": self.generator.skipped_in_a_row.item(),
            "unreadable": sorted(self.unreadable),
            "stream": asdict(self.stream),
        }
        return {
            "generator": self.generator.module.state_dict(),
            "generator_ema": self.ema.ema_model.state_dict(),
            "generator_optimizer": self.generator.optimizer.state_dict(),
            "progress": progress,
        }

    def load(self, parts: dict[str, dict[str, Any]]) -> None:
        """Take over what `parts` returned once; ValueError, KeyError or RuntimeError where it does not fit."""
        progress = parts["progress"]
        if progress["version"] != VERSION:
            raise ValueError(f"its format is version {progress['version']}, this program reads {VERSION}")
        self.generator.module.load_state_dict(parts["generator"])
        self.ema.ema_model.load_state_dict(parts["generator_ema"])
        self.generator.load_moments(parts["generator_optimizer"])
        self.ema.step.fill_(progress["ema_updates"])
        self.ema.initted.copy_(torch.tensor(progress["ema_updates"] > 0))
        self.generator.skipped.fill_(progress["skipped"])
        self.generator.skipped_in_a_row.fill_(progress["skipped_in_a_row"])
        self.unreadable |= set(progress["unreadable"])
        self.stream.position = progress["stream"]["position"]
        if progress["stream"]["names"] == self.stream.names:
            self.stream.lengths |= progress["stream"]["lengths"]
        self.step = progress["step"]
        self.best = progress["best"] and Best(**progress["best"])
