"""`validation.metrics` and `best_metric`: names, values, directions, and what is chosen by them."""

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from PIL import Image
from torch import nn

from degradations.second_order import SecondOrder
from tests.trainer.losses.seeded_backbones import saved, seeded
from trainer.config.schema import RunConfig
from trainer.images.levels import quantised, unit
from trainer.images.pairs import PairFolders
from trainer.images.validation import LowQuality, open_validation
from trainer.lifecycle.assemble import assemble
from trainer.lifecycle.start import check_best
from trainer.loop import is_best
from trainer.losses.learned import LPIPS
from trainer.mistakes import Failure, Mistake
from trainer.pairs.synthesis import Synthesis
from trainer.state import IN_PRETRAINING, Best
from trainer.telemetry.quality import (
    HIGHER,
    QUALITY,
    best_metric,
    best_validation,
    better,
    figure_name,
    figures_of,
    score,
)
from trainer.validation.config import ValidationConfig
from trainer.validation.displacement import displacement
from trainer.validation.metric_configs import (
    DisplacementMetric,
    LPIPSMetric,
    Metric,
    ModuleMetricConfig,
    NIQEMetric,
    PSNRMetric,
    SharpnessMetric,
)
from trainer.validation.niqe import niqe
from trainer.validation.psnr_ssim import luma
from trainer.validation.validator import Validated, Validator, bicubic

OWN = "tests.trainer.validation.own_metrics"
Tiny = Callable[..., RunConfig]


@pytest.mark.parametrize(
    ("metric", "name"),
    [
        ("psnr", "psnr"),
        ({"type": "lpips"}, "lpips"),
        ({"type": "lpips", "net": "squeeze", "weights": None}, "lpips_squeeze"),
        ({"type": "lpips", "net": "alex", "weights": "/data/alexnet-owt-7be5be79.pth"}, "lpips"),
        ({"type": "lpips", "net": "alex", "weights": "/data/alexnet.pth"}, "lpips_custom"),
        ({"type": "lpips", "net": "squeeze", "weights": "mine.pth"}, "lpips_squeeze_custom"),
        ({"type": "dists", "weights": "timm/vgg16.tv_in1k"}, "dists_custom"),
        ({"type": "dists", "weights": "vgg16-397923af.pth"}, "dists"),
        ({"type": "module", "name": "musiq"}, "musiq"),
    ],
)
def test_official_names_are_for_official_weights(metric: Any, name: str) -> None:
    assert figure_name(metric) == name
    assert name in QUALITY or name == "musiq"


@pytest.fixture
def pairs(tmp_path: Path) -> PairFolders:
    """Two good pictures of 192 x 208, and Pillow's half-size versions of them."""
    for name in ("gt", "lq"):
        (tmp_path / name).mkdir()
    for number in range(2):
        gt = Image.effect_mandelbrot((208, 192), (-2 + number / 5, -1, 1, 1), 50).convert("RGB")
        noise = torch.randint(0, 256, (192, 208, 3), generator=torch.Generator().manual_seed(number))
        gt = Image.blend(gt, Image.fromarray(noise.to(torch.uint8).numpy()), 0.3)
        gt.save(tmp_path / "gt" / f"{number}.png")
        gt.resize((104, 96), Image.Resampling.BOX).save(tmp_path / "lq" / f"{number}.png")
    return PairFolders(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"))


def validator(accelerator: Accelerator, source: Any, *metrics: Metric, **settings: Any) -> Validator:
    config = ValidationConfig(source=source, metrics=metrics, **settings)  # type: ignore[arg-type]
    built = [metric.build("validation.metrics") for metric in metrics]
    measure = config.metrics_for(2, tuple(one for one in built if one))
    synthesis = Synthesis(SecondOrder(), seed=9, scale=2, gt_size=16, gt_usm=False)
    return Validator(accelerator, open_validation(source, 2, None), synthesis, config, measure)


class Doubling(nn.Module):
    """Enlarges by repeating pixels."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.interpolate(x, scale_factor=2, mode="nearest")


def every_metric(tmp_path: Path) -> list[Metric]:
    module = {"path": f"{OWN}.MeanDifference", "arguments": {"factor": 2}, "name": "twice", "lower_is_better": True}
    squeeze = LPIPSMetric(net="squeeze", weights=saved("squeeze", tmp_path))
    return [squeeze, NIQEMetric(), DisplacementMetric(), SharpnessMetric(), ModuleMetricConfig(**module)]


def test_values_are_those_of_each_metric_inside_the_border(
    accelerator: Accelerator, pairs: PairFolders, tmp_path: Path
) -> None:
    there = validator(accelerator, pairs, *every_metric(tmp_path), best_metric={"twice": 10, "niqe": 0.5})
    outcome = there(Doubling(), 1)
    found = {name.removeprefix("validation/"): value for name, value in outcome.metrics.items()}
    assert sorted(outcome.metrics) == sorted(there.config.metric_names(2))
    for ending, make in (("", lambda lq: quantised(Doubling()(unit(lq[None])), lq.dtype)[0]), ("_bicubic", bicubic)):
        rows = []
        for number in range(2):
            lq, gt, _ = there._pair(number)
            assert gt is not None
            made = make(lq, 2) if ending else make(lq)
            result, truth = (picture[None, :, 2:-2, 2:-2] for picture in (made, gt))
            place = 100 * displacement(luma(result[0]), luma(truth[0]))[0]
            lpips = LPIPS("squeeze", seeded("squeeze"))(unit(result), unit(truth)).item()
            twice = 2 * (unit(result) - unit(truth)).abs().mean().item()
            rows.append([lpips, niqe(result).item(), place.norm().item(), *place.tolist(), twice])
        wanted = torch.tensor(rows, dtype=torch.float64).mean(0).tolist()
        names = ("lpips_squeeze_custom", "niqe", "displacement", "displacement_x", "displacement_y", "twice")
        assert [found[name + ending] for name in names] == pytest.approx(wanted, rel=1e-5)
    assert found["score"] == pytest.approx(-10 * found["twice"] - 0.5 * found["niqe"])
    assert found["sharpness"] > found["sharpness_bicubic"] > 0
    assert outcome.notes == []
    assert outcome.sheet is not None


def test_values_are_the_same_for_any_number_of_ranks(
    accelerator: Accelerator, pairs: PairFolders, tmp_path: Path
) -> None:
    whole = validator(accelerator, pairs, *every_metric(tmp_path), num_samples=0)
    tables: list[torch.Tensor] = []
    for rank, ranks in ((0, 1), (0, 2), (1, 2)):
        one = SimpleNamespace(
            process_index=rank,
            num_processes=ranks,
            is_main_process=rank == 0,
            device=accelerator.device,
            autocast=accelerator.autocast,
            reduce=lambda table: tables.append(table) or table,
        )
        replace(whole, accelerator=one)(Doubling(), 1)
    assert torch.equal(tables[0], tables[1] + tables[2])


def test_pictures_that_have_no_niqe_are_left_out_and_told(accelerator: Accelerator, pairs: PairFolders) -> None:
    alone = LowQuality(path=pairs.lq)
    whole = validator(accelerator, alone, NIQEMetric(), crop_border=0)(Doubling(), 1)
    assert whole.metrics["validation/niqe"] > 0
    assert "validation/niqe_bicubic" in whole.metrics
    with Image.open(Path(pairs.lq) / "1.png") as image:
        image.crop((0, 0, 60, 60)).save(Path(pairs.lq) / "1.png")
    fewer = validator(accelerator, alone, NIQEMetric(), crop_border=0)(Doubling(), 1)
    assert math.isfinite(fewer.metrics["validation/niqe"])
    assert fewer.notes == [
        "validation: 1 of 2 pictures have no niqe and do not count in it: it needs two blocks of 96 x 96 inside the "
        "border that are not flat"
    ]


def test_without_ground_truth_niqe_chooses_the_best(pairs: PairFolders) -> None:
    alone = LowQuality(path=pairs.lq)
    config = ValidationConfig(source=alone, metrics=(NIQEMetric(),))
    assert list(config.problems(None)) == []
    assert config.best_by() == config.best_by(adversarial=True) == "niqe"
    brightness = {"path": f"{OWN}.brightness_metric", "arguments": {"wanted": 0.5}, "name": "dim"}
    both = ValidationConfig(
        source=alone, metrics=(ModuleMetricConfig(**brightness, lower_is_better=True, with_gt=False), NIQEMetric())
    )
    assert list(both.problems(None)) == []
    assert both.best_by() == "dim"
    assert list(replace(config, metrics=(PSNRMetric(),)).problems(None)) == [
        "metrics.0: got psnr, which needs ground truth; without it there is niqe"
    ]


def test_a_metric_that_fails_ends_the_run_in_one_sentence(accelerator: Accelerator, pairs: PairFolders) -> None:
    failing = ModuleMetricConfig(path=f"{OWN}.Failing", name="worse", lower_is_better=True)
    with pytest.raises(
        Failure, match=r"^validation\.metrics: the metric worse failed: RuntimeError: no such operator$"
    ):
        validator(accelerator, pairs, failing)(Doubling(), 1)


@pytest.mark.parametrize(
    ("path", "arguments", "sentence"),
    [
        ("nowhere", {}, r"path: got 'nowhere'; must be package\.module\.Class"),
        ("no.such.thing", {}, r"path: no\.such cannot be imported: ModuleNotFoundError"),
        (f"{OWN}.Nothing", {}, r"path: the module .* has no Nothing"),
        (f"{OWN}.MeanDifference", {"size": 1}, r"arguments: .*MeanDifference refuses .*: TypeError"),
        (f"{OWN}.no_metric", {}, r"path: .*no_metric makes dtype, which cannot be called"),
    ],
)
def test_a_metric_that_cannot_be_made_is_one_sentence(path: str, arguments: dict[str, Any], sentence: str) -> None:
    config = ModuleMetricConfig(path=path, arguments=arguments, name="x", lower_is_better=True)
    with pytest.raises(Mistake, match=r"^validation\.metrics\.0\." + sentence):
        config.fetch("validation.metrics.0")


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("validation.metrics=[psnr, lpisp]", "metrics.1: got 'lpisp'; did you mean 'lpips'? allowed: psnr, ssim"),
        ("validation.metrics=[psnr, {type: psnr}]", "metrics.1: got psnr a second time"),
        (
            "validation.best_metric=lpips",
            "best_metric: got lpips; validation.metrics measures psnr, ssim, colour_drift",
        ),
        ("validation.best_metric={psnr: 1, niqe: 2}", "best_metric: got niqe; validation.metrics measures"),
        (
            "validation.best_metric={psnr: -1}",
            "best_metric: got {'psnr': -1.0}; wanted a figure, or figures with posit",
        ),
        ("validation.best_metric={}", "best_metric: got {}; wanted a figure, or figures with positive weights"),
        ("checkpoints.keep_best=[psnr, dists]", "keep_best: got dists; a validation measures psnr, ssim, colour_drift"),
        ("checkpoints.keep_best=[]", "keep_best: got an empty list; false keeps no best"),
        (
            "validation.metrics=[{type: module, path: a.B, name: lpips, lower_is_better: true}]",
            "name: got 'lpips'; must be small letters, digits and _, and no other figure's name",
        ),
        (
            "lr_scheduler={type: plateau, metric: validation/psnr}",
            "mode: got 'min'; of validation/psnr higher is better",
        ),
    ],
)
def test_choices_that_cannot_be_are_one_sentence(tiny: Tiny, override: str, sentence: str) -> None:
    with pytest.raises(Mistake) as caught:
        tiny(override)
    assert sentence in str(caught.value)


def test_names_alone_stand_for_sections(tiny: Tiny) -> None:
    config = tiny("validation.metrics=[psnr, {type: lpips, net: vgg}, niqe, displacement]").validation
    assert config is not None
    assert config.metrics == (PSNRMetric(), LPIPSMetric(net="vgg"), NIQEMetric(), DisplacementMetric())
    assert list(config.figures) == ["psnr", "lpips_vgg", "niqe", "displacement", "colour_drift"]
    assert config.least_side(4) == 16 + 8


def test_by_default_psnr_chooses_and_in_adversarial_training_a_perceptual_figure(pairs: PairFolders) -> None:
    def chosen(*metrics: Any, best: Any = None) -> tuple[str | None, str | None]:
        tree = {"metrics": list(metrics) or None, "best_metric": best, "source": {"type": "pairs"}}
        return best_metric(tree, False), best_metric(tree, True)

    assert chosen() == ("psnr", "psnr")
    assert chosen("psnr", "niqe", "dists", {"type": "lpips", "net": "squeeze"}) == ("psnr", "lpips_squeeze")
    assert chosen("ssim", "niqe", "dists") == ("ssim", "dists")
    assert chosen("psnr", "niqe") == ("psnr", "niqe")
    assert chosen("psnr", "displacement", "sharpness") == ("psnr", "psnr")
    assert chosen("psnr", "lpips", best="psnr") == ("psnr", "psnr")
    assert chosen("psnr", "lpips", best={"psnr": 1, "lpips": 9}) == ("score", "score")
    assert best_metric({"source": {"type": "lq"}}, True) is None
    assert ValidationConfig(source=pairs).best_by(adversarial=True) == "psnr"


def test_directions_count_and_nan_is_never_best() -> None:
    lpips, sharpness = QUALITY["lpips"], QUALITY["sharpness"]
    assert better(0.2, 0.3, lpips)
    assert not better(0.3, 0.2, lpips)
    assert better(1.1, 0.8, sharpness)
    assert not better(1.3, 0.8, sharpness)
    assert not better(math.nan, None, lpips)
    figures = figures_of({"metrics": ["psnr", "lpips", "niqe"]})
    assert score({"psnr": 0.1, "lpips": 2}, {"psnr": 30, "lpips": 0.25}, figures) == pytest.approx(2.5)
    assert math.isnan(score({"niqe": 1, "psnr": 1}, {"psnr": 30, "niqe": math.nan}, figures))


def test_files_know_the_best_by_direction_and_by_phase() -> None:
    def report(step: int, psnr: float, lpips: float | None) -> dict[str, Any]:
        return {"step": step, "validation/psnr": psnr, "validation/lpips": lpips}

    reports = [report(10, 30, 0.5), report(20, 28, 0.3), report(30, 27, 0.2), report(40, 26, None)]
    config = {"validation": {"metrics": ["psnr", "lpips"]}, "adversarial": {"g_pretrain_steps": 10}}
    assert best_validation(reports, config) == ("lpips", 0.2, reports[2])
    assert best_validation(reports, config, "psnr") == ("psnr", 28, reports[1])
    assert best_validation(reports[:1], config) == ("psnr", 30, reports[0])
    assert best_validation(reports, {**config, "adversarial": None}) == ("psnr", 30, reports[0])
    assert best_validation(reports, {"validation": None}) is None
    own = {"metrics": [{"type": "module", "name": "musiq", "lower_is_better": False}]}
    assert figures_of(own)["musiq"].direction == HIGHER


def outcome(**values: float) -> Validated:
    return Validated({f"validation/{name}": value for name, value in values.items()}, None)


METRICS = "validation.metrics=[psnr, niqe, sharpness]"


def test_the_best_by_each_figure_that_is_asked_for_is_noted(tiny: Tiny, accelerator: Accelerator) -> None:
    x = assemble(tiny(METRICS, "checkpoints.keep_best=[niqe, sharpness]"), accelerator)

    def validated(step: int, **values: float) -> bool:
        x.state.step = step
        return is_best(x, outcome(**values))

    assert validated(1, psnr=20, niqe=9, sharpness=math.nan)
    assert validated(2, psnr=25, niqe=9.5, sharpness=0.7)
    assert validated(3, psnr=24, niqe=7, sharpness=1.9)
    assert not validated(4, psnr=25, niqe=7, sharpness=1.4)
    assert [(best.metric, best.value, best.step) for best in x.state.bests] == [
        ("psnr", 25, 2),
        ("niqe", 7, 3),
        ("sharpness", 0.7, 2),
    ]
    x.saver.config = replace(x.saver.config, checkpoints_total_limit=1)
    for x.state.step in (2, 3, 4, 5):
        x.saver.save()
    assert x.saver.checkpoints.steps() == [2, 3, 5]


def test_adversarial_training_begins_new_bests_by_a_perceptual_figure(tiny: Tiny, accelerator: Accelerator) -> None:
    game = "adversarial={pretrain_g_only: true, g_pretrain_steps: 2}"
    x = assemble(tiny(METRICS, game, "checkpoints.keep_best=[psnr, niqe]"), accelerator)
    for x.state.step, psnr, niqe_value in ((1, 30, 4.0), (2, 31, 5.0)):
        is_best(x, outcome(psnr=psnr, niqe=niqe_value))
    assert [(best.metric, best.step) for best in x.state.bests] == [("psnr", 2), ("niqe", 1)]
    x.state.step = 3
    assert is_best(x, outcome(psnr=25, niqe=6.0))
    assert [(best.metric, best.step) for best in x.state.bests] == [("niqe", 3), ("psnr", 3)]
    x.state.step = 4
    assert is_best(x, outcome(psnr=26, niqe=6.5))
    assert [(best.metric, best.step) for best in x.state.bests] == [("niqe", 3), ("psnr", 4)]


def test_another_best_metric_on_resume_begins_anew_or_takes_the_one_that_was_kept(
    tiny: Tiny, accelerator: Accelerator, capsys: pytest.CaptureFixture[str]
) -> None:
    x = assemble(tiny(METRICS, "validation.best_metric=niqe", "checkpoints.keep_best=[psnr]"), accelerator)
    assert x.validator is not None

    def best(metric: str, value: float, step: int) -> Best:
        assert x.validator is not None
        return Best(metric, value, step, x.validator.fingerprint(metric))

    x.state.best, x.state.other_bests = best("psnr", 30, 3), {"niqe": best("niqe", 5, 2)}
    check_best(x)
    assert [(one.metric, one.step) for one in x.state.bests] == [("niqe", 2), ("psnr", 3)]
    assert "the best is chosen by niqe, not as before (psnr 30.0000 at step 3): that so far is of step 2" in (
        capsys.readouterr().out
    )
    x.state.best, x.state.other_bests = best("sharpness", 0.9, 3), {}
    check_best(x)
    assert x.state.bests == []
    assert "not as before (sharpness 0.9000 at step 3): a new best begins" in capsys.readouterr().out
    x.state.best = replace(best("niqe", 5, 2), measured=best("niqe", 5, 2).measured + IN_PRETRAINING)
    check_best(x)
    assert x.state.best is not None
    assert capsys.readouterr().out == ""


def test_another_network_or_other_weights_of_a_score_are_another_measure(tiny: Tiny, accelerator: Accelerator) -> None:
    one = assemble(tiny(METRICS, "validation.best_metric={psnr: 1, niqe: 1}"), accelerator).validator
    assert one is not None
    other = replace(one, config=replace(one.config, best_metric={"psnr": 1, "niqe": 2}))
    assert one.fingerprint("score") != other.fingerprint("score")
    assert one.fingerprint("niqe") == other.fingerprint("niqe")
