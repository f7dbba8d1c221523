"""Metrics of plateau schedules: means since the last validation, independent of reports in between."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor

from trainer.building.accelerator import make_accelerator
from trainer.config.schema import RunConfig
from trainer.distributed.agreement import Decision, StopConsensus
from trainer.experiment import Experiment
from trainer.lifecycle.assemble import assemble
from trainer.loop import fit
from trainer.mistakes import Mistake
from trainer.optim.plateau_metrics import PlateauMeans

LOSS, GRADIENT = "training/loss", "discriminator/grad_norm"


def fed(plateau_means: PlateauMeans, *losses: float, objective: float = 1.0) -> PlateauMeans:
    for loss in losses:
        plateau_means.add({LOSS: torch.tensor(loss), "training/other": torch.tensor(9.0)}, objective)
    return plateau_means


def test_a_mean_is_since_it_was_asked_for_last(accelerator: Accelerator) -> None:
    plateau_means = fed(PlateauMeans(accelerator, [LOSS, GRADIENT, LOSS]), 1.0, 2.0, 6.0)
    assert plateau_means.means() == {LOSS: 3.0}  # no discriminator had a part
    assert plateau_means.means() == {}
    assert fed(plateau_means, 5.0).means() == {LOSS: 5.0}


def test_a_step_that_is_not_finite_does_not_count(accelerator: Accelerator) -> None:
    assert fed(PlateauMeans(accelerator, [LOSS]), 1.0, float("nan"), float("inf"), 2.0).means() == {LOSS: 1.5}
    assert fed(PlateauMeans(accelerator, [LOSS]), float("nan")).means() == {}


def test_another_objective_begins_the_generators_means_anew(accelerator: Accelerator) -> None:
    plateau_means = PlateauMeans(accelerator, [LOSS, GRADIENT])
    for loss, objective in ((1.0, -1.0), (5.0, 0.5), (7.0, 0.5)):
        plateau_means.add({LOSS: torch.tensor(loss), GRADIENT: torch.tensor(loss)}, objective)
    plateau_means.add({GRADIENT: torch.tensor(7.0)}, 1.0)  # a step without the generator
    assert plateau_means.means() == {LOSS: 6.0, GRADIENT: 5.0}


def test_a_checkpoint_between_validations_keeps_the_mean(accelerator: Accelerator) -> None:
    saved = fed(PlateauMeans(accelerator, [LOSS, GRADIENT]), 1.0, 3.0).counters()
    other = PlateauMeans(accelerator, ["training/new", LOSS])  # a resumed run may watch another figure
    other.load(saved)
    assert fed(other, 8.0).means() == {LOSS: 4.0}


SHORT = (
    "max_train_steps=8",
    "validation.validation_steps=4",
    "validation.draws=1",
    "validation.max_side=24",
    "gt_size=16",
    "images.crop_size=24",
    "degradation={type: pipeline, steps: [{type: fit}]}",
    "queue_size=4",
    "checkpoints.checkpointing_steps=100",
    "adversarial.discriminator={type: UNetDiscriminatorSN, num_feat: 4}",
    "lr_scheduler={type: plateau, metric: training/loss, patience: 0, threshold: 0.9, min_lr: 1e-9}",
    "adversarial.lr_scheduler={type: plateau, metric: discriminator/loss, patience: 0, threshold: 0.9, min_lr: 1e-9}",
)
QUIET = ("telemetry.report_steps=4", "telemetry.digest=false", "telemetry.report_to=none", "validation.num_samples=0")


class Stopped(StopConsensus):
    """A control that stops the run after a step."""

    def __init__(self, x: Experiment, stop: int) -> None:
        super().__init__(x.folder.path, None)
        self.x, self.stop = x, stop

    def agree(self, skipped: int) -> Decision:
        verdict = super().agree(skipped)
        return replace(verdict, stop="signal") if self.x.state.step == self.stop else verdict


def trained(config: RunConfig, *stops: int) -> Experiment:
    for stop in (*stops, 100):  # the last does not stop
        x = assemble(config, make_accelerator(config))
        fit(replace(x, control=Stopped(x, stop)))
    return x


def weights(x: Experiment) -> list[Tensor]:
    return [
        value for name in ("generator", "generator_ema", "discriminator") for value in x.state.parts()[name].values()
    ]


@pytest.mark.usefixtures("fresh_accelerate")
def test_what_is_reported_does_not_change_what_is_trained(tiny: Callable[..., RunConfig], tmp_path: Path) -> None:
    """The same for a stop between two validations, which reports by itself."""
    loud = trained(tiny(*SHORT, "name=loud", "telemetry.report_steps=1"))
    assert loud.state.generator.plateau.multiple == 0.5  # one best, one fall
    for name, stops in (("quiet", ()), ("stopped", (3, 6))):
        other = trained(tiny(*SHORT, *QUIET, f"name={name}"), *stops)
        assert other.state.rates() == loud.state.rates()
        for learner, one in other.state.learners.items():
            assert one.plateau == loud.state.learners[learner].plateau
        for one_value, other_value in zip(weights(loud), weights(other), strict=True):
            assert torch.equal(one_value, other_value)
    assert (tmp_path / "loud" / "tensorboard").is_dir()
    assert not (tmp_path / "quiet" / "tensorboard").exists()


@pytest.mark.parametrize("metric", ["generator/update_ratio", "training/digest", "speed/eta_seconds"])
def test_what_only_a_report_measures_cannot_be_watched(tiny: Callable[..., RunConfig], metric: str) -> None:
    with pytest.raises(Mistake, match=f"lr_scheduler.metric: got {metric}; the training reports training/loss, "):
        tiny(f"lr_scheduler={{type: plateau, metric: {metric}}}", "telemetry.digest=true")


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_discriminator_that_was_held_at_every_step_is_not_observed(tiny: Callable[..., RunConfig]) -> None:
    config = tiny(*SHORT, "adversarial.adaptive_d={}", "telemetry.report_to=none")
    x = assemble(config, make_accelerator(config))
    assert x.model.discriminator is not None
    assert x.state.plateau_means is not None
    for paused, best in ((1.0, None), (0.0, 3.0)):  # at every step; at one of two
        x.state.step = 4
        for held in (1.0, paused):
            report = {"discriminator/paused": torch.tensor(held), "discriminator/loss": torch.tensor(3.0)}
            x.state.plateau_means.add(report, x.model.phase(4).objective)
        x.model.step_plateaus({})
        assert x.model.discriminator.plateau.best == best
