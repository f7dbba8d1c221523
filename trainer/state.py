"""The state of a training: what a checkpoint holds, by name; everything else follows from the configuration."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from ema_pytorch import EMA
from torch import Tensor

from trainer.adversarial.adaptive_d import AdaptiveD
from trainer.checkpoints.names import GENERATOR_EMA
from trainer.optim.learner import Learner
from trainer.optim.plateau_metrics import PlateauMeans
from trainer.pairs.stream import Stream

VERSION = 1


IN_PRETRAINING = " in pretraining"
"""Behind `Best.measured`: values that adversarial training, which trades them for texture, would never reach."""


@dataclass(slots=True)
class Best:
    """The best validation so far."""

    metric: str
    value: float
    step: int
    measured: str
    """A checksum of how it was measured: values measured otherwise do not compare."""


@dataclass(slots=True)
class TrainState:
    """Weights, moments, the average, and a few numbers. Data order, draws and rates are functions of these."""

    generator: Learner
    discriminator: Learner | None
    ema: EMA
    stream: Stream
    adaptive_d: AdaptiveD | None = None
    plateau_means: PlateauMeans | None = None
    step: int = 0
    best: Best | None = None
    """By `validation.best_metric`."""
    other_bests: dict[str, Best] = field(default_factory=dict)
    """By the other figures of `checkpoints.keep_best`."""
    unreadable: set[int] = field(default_factory=set)

    @property
    def learners(self) -> dict[str, Learner]:
        """Generator and discriminator by name, as in checkpoints."""
        others = {"discriminator": self.discriminator} if self.discriminator else {}
        return {"generator": self.generator, **others}

    @property
    def bests(self) -> list[Best]:
        """Every best so far, that by `validation.best_metric` first."""
        return [*([self.best] if self.best else []), *self.other_bests.values()]

    def rates(self) -> dict[str, float]:
        """Every network's learning rate, and the average's decay (0 while it is a copy), for a report."""
        rates = {f"{name}/learning_rate": learner.learning_rate for name, learner in self.learners.items()}
        return {**rates, "ema/decay": float(self.ema.get_current_decay())}

    def skipped_in_a_row(self) -> Tensor:
        """Steps in a row without a finite gradient, of the network that has had more, a scalar on the device."""
        return torch.stack([learner.skipped_in_a_row for learner in self.learners.values()]).max()

    def diverging(self) -> Tensor:
        """The same, of those that count towards `max_skipped`: in fp16 only at the lowest loss scale."""
        return torch.stack([learner.diverging for learner in self.learners.values()]).max()

    def parts(self) -> dict[str, dict[str, Any]]:
        """Everything to save, as named state dicts; the two generators are tensors under upstream's keys."""
        progress = {
            "version": VERSION,
            "step": self.step,
            "best": self.best and asdict(self.best),
            "other_bests": {name: asdict(best) for name, best in self.other_bests.items()},
            "ema_updates": int(self.ema.step),
            "players": {name: learner.counters() for name, learner in self.learners.items()},
            "lead": self.adaptive_d.margin.item() if self.adaptive_d else None,
            "watched": self.plateau_means and self.plateau_means.counters(),
            "unreadable": sorted(self.unreadable),
            "stream": asdict(self.stream),
        }
        parts = {GENERATOR_EMA: self.ema.ema_model.state_dict(), "progress": progress}
        for name, learner in self.learners.items():
            parts |= learner.state_dicts(name)
        return parts

    def load(self, parts: dict[str, dict[str, Any]]) -> None:
        """Load what `parts` returned once; ValueError, KeyError or RuntimeError if it does not fit."""
        progress = parts["progress"]
        if progress["version"] != VERSION:
            raise ValueError(f"its format is version {progress['version']}, this program reads {VERSION}")
        for name, learner in self.learners.items():
            learner.load(name, parts, progress["players"][name])
        if self.adaptive_d and progress.get("lead") is not None:  # it was not kept while nothing was restrained
            self.adaptive_d.margin.fill_(progress["lead"])
        if self.plateau_means and progress.get("watched"):  # which a run without a plateau has none of
            self.plateau_means.load(progress["watched"])
        self.ema.ema_model.load_state_dict(parts[GENERATOR_EMA])
        self.ema.step.fill_(progress["ema_updates"])
        self.ema.initted.copy_(torch.tensor(progress["ema_updates"] > 0))
        self.unreadable |= set(progress["unreadable"])
        self.stream.position = progress["stream"]["position"]
        if progress["stream"].get("content") == self.stream.content:
            self.stream.lengths |= progress["stream"]["lengths"]
        self.step = progress["step"]
        self.best = progress["best"] and Best(**progress["best"])
        self.other_bests = {name: Best(**best) for name, best in progress.get("other_bests", {}).items()}
