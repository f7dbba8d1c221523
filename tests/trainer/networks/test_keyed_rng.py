"""Networks with randomness: their draws follow from the seed and the place in the run."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.driving import Driver
from trainer.building.accelerator import make_accelerator
from trainer.config.schema import RunConfig
from trainer.distributed.agreement import Decision, StopConsensus
from trainer.experiment import Experiment
from trainer.lifecycle.assemble import assemble
from trainer.loop import fit
from trainer.networks.keyed_masks import other_randomness
from trainer.networks.keyed_rng import seed_generators

CPU = torch.device("cpu")


class DropPath(nn.Module):
    """Stochastic depth as in timm and in spandrel's architectures."""

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x
        keep = 1 - self.drop_prob
        mask = x.new_empty((len(x), *[1] * (x.ndim - 1))).bernoulli_(keep)
        return x * mask.div_(keep)


class Upscaler(nn.Module):
    """An imported generator with Dropout and DropPath."""

    def __init__(self, p: float = 0.3) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.Dropout2d(p), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), DropPath(p))
        self.tail = nn.Sequential(nn.Conv2d(8, 48, 3, 1, 1), nn.PixelShuffle(4))

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x)
        result: Tensor = self.tail(x + torch.utils.checkpoint.checkpoint(self.block, x, use_reentrant=False))
        return result


class Judge(nn.Module):
    """An imported discriminator with Dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.LeakyReLU(0.2), nn.Dropout(0.5), nn.Conv2d(8, 1, 3))

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.layers(x)
        return logits


DRAWING = (
    f"generator={{type: module, path: {__name__}.Upscaler, scales: [4]}}",
    f"adversarial.discriminator={{type: module, path: {__name__}.Judge}}",
    "adversarial.r1={interval: 2}",
    "max_train_steps=6",
    "validation.validation_steps=2",
    "validation.draws=1",
    "validation.max_side=24",
    "validation.num_samples=0",
    "gt_size=16",
    "images.crop_size=24",
    "degradation={type: pipeline, steps: [{type: fit}]}",
    "queue_size=4",
    "checkpoints.checkpointing_steps=100",
    "telemetry.report_to=none",
)


class Stopped(StopConsensus):
    """A control that stops the run after a step, and draws from torch's generator in between."""

    def __init__(self, x: Experiment, stop: int) -> None:
        super().__init__(x.folder.path, None)
        self.x, self.stop = x, stop

    def agree(self, skipped: int) -> Decision:
        torch.rand(7)
        verdict = super().agree(skipped)
        return replace(verdict, stop="signal") if self.x.state.step == self.stop else verdict


def trained(config: RunConfig, *stops: int) -> dict[str, Any]:
    """The parts of the state at the end of a run, trained in pieces."""
    for stop in (*stops, 100):  # the last piece runs to the end
        x = assemble(config, make_accelerator(config))
        torch.manual_seed(stop)  # for any earlier state
        fit(replace(x, control=Stopped(x, stop)))
    return x.state.parts()


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_resumed_run_draws_what_the_uninterrupted_one_did(tiny: Callable[..., RunConfig]) -> None:
    whole, pieces = (trained(tiny(*DRAWING, f"name={name}"), *stops) for name, stops in (("a", ()), ("b", (1, 3))))
    for part in ("generator", "generator_ema", "discriminator"):
        for name, value in whole[part].items():
            assert torch.equal(value, pieces[part][name]), name


@pytest.mark.usefixtures("fresh_accelerate")
def test_ranks_draw_by_place_and_validation_not_at_all(
    tiny: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed: list[tuple[int, int, str]] = []
    monkeypatch.setattr(
        "trainer.base_model.seed_generators", lambda _device, seed, place, player: keyed.append((seed, place, player))
    )
    config = tiny(*DRAWING)
    x = assemble(config, make_accelerator(config))
    assert not [note for note in x.notes if "draws once for each micro-batch" in note]
    ours = replace(x.model.batch, processes=2, accumulation=1)
    for number in range(2):  # micro-batches of one rank
        x.model.seed_generators(number, "generator")
        assert keyed[-1] == (config.seed, ours.positions(0, number, 0)[0], "generator")  # the places of two ranks
    state = torch.get_rng_state()
    assert x.validator is not None
    x.validator(x.state.ema.ema_model, 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_draws_differ_by_seed_place_and_player() -> None:
    drawn = set()
    for seed, place, player in ((1, 0, "generator"), (2, 0, "generator"), (1, 4, "generator"), (1, 0, "discriminator")):
        for _ in range(2):
            seed_generators(CPU, seed, place, player)
            drawn.add(torch.rand(1).item())
    assert len(drawn) == 4


def test_what_has_no_mask_of_its_own_is_named() -> None:
    assert list(other_randomness(nn.ModuleDict({"attention": nn.MultiheadAttention(4, 1, dropout=0.1)}))) == [
        "attention"
    ]
    for net in (Upscaler(), nn.MultiheadAttention(4, 1), nn.Sequential(nn.Conv2d(3, 3, 1), DropPath(0.1))):
        assert list(other_randomness(net)) == []


@pytest.mark.usefixtures("fresh_accelerate")
def test_each_micro_batch_of_each_player_has_its_key(
    tiny: Callable[..., RunConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    keyed: list[tuple[int, str]] = []
    monkeypatch.setattr(
        "trainer.base_model.seed_generators", lambda _device, _seed, place, player: keyed.append((place, player))
    )
    config = tiny(*DRAWING)
    x = assemble(config, make_accelerator(config))
    x.state.step = 3
    Driver(x).step()
    assert keyed == [(place, player) for player in ("generator", "discriminator") for place in (12, 14)]
