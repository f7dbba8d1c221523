"""Validation: metrics that can be recomputed by hand, the same draws at every step, and no effect on the weights."""

import json
import math
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from PIL import Image
from torch import nn

from degradations.keyed_random import Keys
from degradations.second_order import SecondOrder
from trainer.building.accelerator import make_accelerator
from trainer.config.hub import HubConfig
from trainer.config.schema import RunConfig
from trainer.hub.model_card import Facts, card
from trainer.images.pairs import PairFolders
from trainer.images.radiometry import Radiometry
from trainer.images.sources import Folder
from trainer.images.validation import LowQuality, ValidationSource, open_validation
from trainer.lifecycle.assemble import assemble
from trainer.lifecycle.banner import banner
from trainer.loop import fit
from trainer.mistakes import Mistake
from trainer.networks import SRVGGNetCompactConfig, StochasticSRResNetConfig
from trainer.networks.layers.noise import standard_noise
from trainer.optim.ema import EMAConfig, smoothed
from trainer.pairs.synthesis import Synthesis
from trainer.runs import summarize
from trainer.telemetry.quality import QUALITY, better
from trainer.validation.config import ValidationConfig
from trainer.validation.metrics import Metrics
from trainer.validation.validator import Validated, Validator, bicubic, colour_drift

SCALE, SIZE = 2, (48, 40)


@pytest.fixture
def pairs(tmp_path: Path) -> PairFolders:
    """Three good pictures, and Pillow's half-size versions of them."""
    for name in ("gt", "lq"):
        (tmp_path / name).mkdir()
    for number in range(3):
        gt = Image.effect_mandelbrot(SIZE, (-2 + number / 5, -1, 1, 1), 50).convert("RGB")
        gt.save(tmp_path / "gt" / f"{number}.png")
        gt.resize((SIZE[0] // SCALE, SIZE[1] // SCALE), Image.Resampling.BOX).save(tmp_path / "lq" / f"{number}.png")
    return PairFolders(gt=str(tmp_path / "gt"), lq=str(tmp_path / "lq"))


def network() -> nn.Module:
    torch.manual_seed(0)
    return SRVGGNetCompactConfig(init="torch", num_feat=4, num_conv=1).build(SCALE, bands=3)


def validator(accelerator: Accelerator, source: ValidationSource, **settings: Any) -> Validator:
    images = open_validation(source, SCALE, settings.get("max_side"))
    synthesis = Synthesis(SecondOrder(), seed=9, scale=SCALE, gt_size=16, gt_usm=True)
    config = ValidationConfig(source=source, **settings)
    return Validator(accelerator, images, synthesis, config, metrics_of(config))


def metrics_of(config: ValidationConfig) -> Metrics:
    built = [metric.build("validation.metrics") for metric in config.chosen]
    return config.metrics_for(SCALE, tuple(metric for metric in built if metric))


def by_hand(net: nn.Module, source: PairFolders, border: int) -> tuple[float, float]:
    """Mean RGB PSNR of the network and of bicubic, from the files, with numpy."""
    means = []
    for upscale in (
        lambda x: net(x).clamp(0, 1),
        lambda x: nn.functional.interpolate(x, scale_factor=2, mode="bicubic"),
    ):
        decibels = []
        for file in sorted(Path(source.gt).iterdir()):
            gt = np.asarray(Image.open(file)).astype(np.float64)
            lq = np.asarray(Image.open(Path(source.lq, file.name)))
            with torch.no_grad():
                result = upscale(torch.from_numpy(lq.copy()).permute(2, 0, 1)[None].float() / 255)[0]
            shown = (result.clamp(0, 1) * 255).round().permute(1, 2, 0).double().numpy()
            error = (shown - gt)[border:-border, border:-border]
            decibels.append(10 * math.log10(255**2 / (error**2).mean()))
        means.append(sum(decibels) / len(decibels))
    return means[0], means[1]


@pytest.mark.parametrize("border", [None, 4])
def test_figures_are_those_computed_by_hand(accelerator: Accelerator, pairs: PairFolders, border: int | None) -> None:
    net = network()
    figures = validator(accelerator, pairs, channel="rgb", crop_border=border)(net, step=1).metrics
    assert list(figures) == ValidationConfig(source=pairs).metric_names(SCALE)
    wanted = by_hand(net, pairs, border or SCALE)
    assert figures["validation/psnr"] == pytest.approx(wanted[0], abs=1e-6)
    assert figures["validation/psnr_bicubic"] == pytest.approx(wanted[1], abs=1e-6)
    assert 0 < figures["validation/ssim"] < 1
    assert 0 < figures["validation/ssim_bicubic"] < 1


def test_the_network_that_knows_the_answer_has_the_best_figures(accelerator: Accelerator, pairs: PairFolders) -> None:
    answers = {}
    for number in range(3):
        pair = open_validation(pairs, SCALE, None)[number]
        assert pair.lq is not None
        answers[pair.lq.sum().item()] = pair.gt

    class Oracle(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return answers[int((x * 255).round().sum())][None].float() / 255

    figures = validator(accelerator, pairs)(Oracle(), step=1).metrics
    assert figures["validation/psnr"] == 100.0
    assert figures["validation/ssim"] == pytest.approx(1.0)


def test_colours_that_left_those_of_the_input_are_told_by_band(accelerator: Accelerator, pairs: PairFolders) -> None:
    """Against numpy, for a generator that repeats pixels, adds 20/255 of red and subtracts 10/255 of blue."""

    class Tinting(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            tint = torch.tensor([20, 0, -10]) / 255
            return nn.functional.interpolate(x, scale_factor=2, mode="nearest") + tint[:, None, None]

    figures = validator(accelerator, pairs)(Tinting(), step=1).metrics
    shifts, truths = [], []
    for file in sorted(Path(pairs.gt).iterdir()):
        lq = np.asarray(Image.open(Path(pairs.lq, file.name))).astype(np.float64)
        shown = (lq + np.array([20, 0, -10])).clip(0, 255)
        shifts.append((shown - lq).mean((0, 1)) / 255)
        truths.append((np.asarray(Image.open(file)).astype(np.float64).mean((0, 1)) - lq.mean((0, 1))) / 255)
    bands = [figures[f"validation/colour_drift_band{number}"] for number in (1, 2, 3)]
    assert bands == pytest.approx(np.mean(shifts, 0).tolist(), abs=1e-12)
    for name, rows in (("", shifts), ("_gt", truths)):
        wanted = np.mean([np.sqrt((row**2).mean()) for row in rows])
        assert figures[f"validation/colour_drift{name}"] == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("bands", [1, 4])
def test_drift_has_a_meaning_for_any_number_of_bands(bands: int) -> None:
    figures = colour_drift([(0, [0.3] * bands, [0.0] * bands), (1, [-0.1] * bands, [0.1] * bands)])
    assert figures.pop("validation/colour_drift") == pytest.approx(0.2)  # opposite pictures do not cancel
    assert figures.pop("validation/colour_drift_gt") == pytest.approx(0.05)
    assert figures == pytest.approx({f"validation/colour_drift_band{n}": 0.1 for n in range(1, bands + 1)})


def clean(pairs: PairFolders, accelerator: Accelerator, **settings: Any) -> Validator:
    return validator(accelerator, Folder(path=pairs.gt), **settings)


def test_clean_pictures_meet_the_same_degradations_at_every_step(accelerator: Accelerator, pairs: PairFolders) -> None:
    net = network()
    assert clean(pairs, accelerator)(net, 1).metrics == clean(pairs, accelerator)(net, 2).metrics
    assert clean(pairs, accelerator, seed=1)(net, 1).metrics != clean(pairs, accelerator)(net, 1).metrics


def test_each_draw_is_another_degradation(accelerator: Accelerator, pairs: PairFolders) -> None:
    thrice = clean(pairs, accelerator, draws=3)
    assert len(thrice) == 9
    lqs = [thrice._pair(number)[0] for number in range(9)]
    assert not any(torch.equal(lqs[a], lqs[b]) for a in range(9) for b in range(a))
    gts = [thrice._pair(number)[1] for number in range(9)]
    assert torch.equal(gts[0], gts[3])  # every picture once before any comes again
    assert not torch.equal(gts[0], gts[1])
    assert len(validator(accelerator, pairs, draws=3)) == 3  # given pairs are not degraded


def test_only_a_middle_piece_is_measured_if_wished(accelerator: Accelerator, pairs: PairFolders) -> None:
    _, gt, caption = clean(pairs, accelerator, max_side=20)._pair(0)
    assert gt.shape == (3, 20, 20)
    assert caption  # the degradation in words
    whole = np.asarray(Image.open(Path(pairs.gt, "0.png")))
    assert torch.equal(gt, torch.from_numpy(whole[10:30, 14:34].copy()).permute(2, 0, 1))


@pytest.mark.parametrize("strips", [0, 2])
def test_there_are_as_many_strips_as_wished(accelerator: Accelerator, pairs: PairFolders, strips: int) -> None:
    outcome: Validated = validator(accelerator, pairs, num_samples=strips)(network(), 1)
    if strips == 0:
        assert outcome.sheet is None
    else:
        assert outcome.sheet is not None
        assert outcome.sheet.dtype == torch.uint8
        assert outcome.sheet.shape[0] == 3


def test_low_quality_pictures_alone_are_shown_and_not_measured(accelerator: Accelerator, pairs: PairFolders) -> None:
    alone = LowQuality(path=pairs.lq)
    there = validator(accelerator, alone, num_samples=3)
    outcome = there(network(), 1)
    assert (
        list(outcome.metrics)
        == there.config.metric_names(SCALE)
        == [f"validation/colour_drift{which}" for which in ("", "_band1", "_band2", "_band3")]
    )
    measured = validator(accelerator, pairs, num_samples=3)(network(), 1)
    assert all(outcome.metrics[name] == measured.metrics[name] for name in outcome.metrics)
    assert outcome.sheet is not None
    assert measured.sheet is not None
    assert outcome.sheet.shape[2] < 0.75 * measured.sheet.shape[2], "bicubic and the result, two columns of three"
    assert there.config.best_by() is None
    assert ValidationConfig(source=pairs).best_by() == "psnr"


def test_of_large_pictures_without_truth_the_middle_is_taken(accelerator: Accelerator, pairs: PairFolders) -> None:
    lq, gt, _ = validator(accelerator, LowQuality(path=pairs.lq), max_side=20)._pair(0)
    whole = np.asarray(Image.open(Path(pairs.lq, "0.png")))
    assert torch.equal(lq, torch.from_numpy(whole[5:15, 7:17].copy()).permute(2, 0, 1))
    assert gt is None


@pytest.mark.parametrize("of", ["lq", "pairs", "clean"])
def test_every_result_is_kept_whole_under_a_name_of_its_own(
    accelerator: Accelerator, pairs: PairFolders, of: str
) -> None:
    sources = {"lq": LowQuality(path=pairs.lq), "pairs": pairs, "clean": Folder(path=pairs.gt)}
    (Path(pairs.lq) / "2.png").rename(Path(pairs.lq) / "2.bmp")
    kept: dict[str, torch.Tensor] = {}
    draws = 2 if of == "clean" else 1
    there = validator(accelerator, sources[of], num_samples=0, save_images=True, draws=draws)
    there(network(), 1, save_result=kept.__setitem__)
    wanted = [str(number) for number in range(3)]
    assert list(kept) == (wanted if draws == 1 else [f"{name}-draw{draw}" for draw in range(2) for name in wanted])
    lq = there._pair(1)[0]
    assert torch.equal(kept["1-draw0" if draws == 2 else "1"], there._upscaled(network(), lq, 1))
    there(network(), 1, pairs=1, save_result=(only := {}).__setitem__)
    assert len(only) == 1
    kept.clear()
    validator(accelerator, sources[of])(network(), 1, save_result=kept.__setitem__)
    assert not kept, "unless asked for"


def test_results_of_pictures_with_one_name_are_apart(pairs: PairFolders) -> None:
    (Path(pairs.lq) / "sub").mkdir()
    for name in ("0.bmp", "sub/0.png"):
        (Path(pairs.lq) / name).write_bytes((Path(pairs.lq) / "0.png").read_bytes())
    names = open_validation(LowQuality(path=pairs.lq), SCALE, None).result_names()
    assert names == ["0-00000000", "0-00000001", "1", "2", "sub/0"]


def test_what_does_not_go_without_ground_truth_is_told(pairs: PairFolders) -> None:
    alone = LowQuality(path=pairs.lq)
    assert list(ValidationConfig(source=alone, save_images=True).problems(None)) == []
    assert list(ValidationConfig(source=alone, best_metric="psnr").problems(None)) == [
        "best_metric: got 'psnr'; must be null without ground truth: nothing is measured"
    ]
    bands = Radiometry(bands=(1,), white=255)
    assert list(ValidationConfig(source=replace(alone, radiometry=bands), save_images=True).problems(bands)) == [
        "save_images: must be false for multi-band pictures, which `python -m trainer.upscale` writes"
    ]


def test_a_picture_without_truth_that_cannot_serve_is_named(pairs: PairFolders) -> None:
    alone = LowQuality(path=pairs.lq)
    Image.new("RGB", (2, 1)).save(Path(pairs.lq) / "0.png")
    with pytest.raises(Mistake, match=r"^path: .*0.png has a side below 2, too small to validate on"):
        open_validation(alone, SCALE, None, lq_multiple=2)
    (Path(pairs.lq) / "0.png").write_bytes(b"torn")
    with pytest.raises(Mistake, match=r"^path: a picture to validate on cannot be used, .*0\.png: "):
        open_validation(alone, SCALE, None)


ALONE = ("images.crop_size=64", "gt_size=32", "telemetry.report_to=none", "queue_size=0", "max_train_steps=2")


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_run_on_pictures_without_truth_shows_and_saves_every_result(
    tiny: Callable[..., RunConfig], tmp_path: Path, pairs: PairFolders
) -> None:
    alone = f"validation={{source: {{type: lq, path: '{pairs.lq}'}}, save_images: true, validation_steps: 1}}"
    config = tiny(*ALONE, alone)
    x = assemble(config, make_accelerator(config))
    assert "; 3 pictures without ground truth to validate on" in banner(x)
    fit(x)
    lines = [json.loads(line) for line in x.folder.metrics.read_text().splitlines()]
    assert [{key for key in line if key.startswith("validation/")} for line in lines] == [
        {*config.validation.metric_names(config.scale)}  # type: ignore[union-attr]
    ] * 2
    files = [str(path.relative_to(x.folder.samples)) for path in sorted(x.folder.samples.rglob("*.png"))]
    wanted = [f"step-{step:08d}{name}.png" for step in (1, 2) for name in ("", "/0", "/1", "/2")]
    shown = [f"0{number}-0/{view}" for number in range(3) for view in ("lq", "bicubic", "result")]
    wanted += [f"views/step-00000002/{view}.png" for view in shown]  # of the newest validation: none is best
    assert sorted(files) == sorted(wanted)
    with Image.open(x.folder.samples / "step-00000002" / "1.png") as image:
        assert image.size == tuple(config.scale * side // SCALE for side in SIZE)
    assert x.state.best is None
    assert summarize(x.folder.path, tmp_path).best is None
    hub = replace(config, hub=HubConfig(repo_id="a/b"))
    assert hub.hub is not None
    told = card(hub, hub.hub, Facts(step=2, pictures=2, parameters=9, figures=lines[-1], sheet=True))
    assert "How well it does" not in told
    assert "Tried on a private folder of low-quality pictures" in told
    assert "*Held-out pictures: bicubic upsampling, this network.*" in told
    assert pairs.lq not in told


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("lr_scheduler={type: plateau, metric: validation/psnr}", "lr_scheduler.metric: got validation/psnr; a valid"),
        ("validation.best_metric=ssim", "validation.best_metric: got 'ssim'; must be null without ground truth"),
        ("hub={repo_id: a/b, strategy: best}", "hub.strategy: got 'best'; it needs a validation section with ground"),
    ],
)
def test_nothing_waits_for_figures_that_never_come(
    tiny: Callable[..., RunConfig], override: str, sentence: str
) -> None:
    with pytest.raises(Mistake) as caught:
        tiny("validation={source: {type: lq, path: photographs}}", override)
    assert sentence in str(caught.value)


def test_live_weights_the_average_and_torchs_generator_stay_as_they_are(
    accelerator: Accelerator, pairs: PairFolders
) -> None:
    net = network()
    ema = smoothed(net, EMAConfig())
    ema.update()
    both = (net, ema.ema_model)
    before = [{name: value.clone() for name, value in module.state_dict().items()} for module in both]
    numbers, training = torch.get_rng_state(), net.training
    validator(accelerator, pairs)(ema.ema_model, 1)
    for module, values in zip(both, before, strict=True):
        assert all(torch.equal(value, values[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.get_rng_state(), numbers)
    assert net.training == training
    assert all(p.grad is None for p in net.parameters())


def test_a_stochastic_generator_is_measured_with_noise_that_never_changes(
    accelerator: Accelerator, pairs: PairFolders
) -> None:
    torch.manual_seed(0)
    net = StochasticSRResNetConfig(n_channels=4, n_blocks=1, noise_dim=3, large_kernel_size=3).build(SCALE, bands=3)
    drawn, asked = standard_noise(Keys(5, torch.arange(3)), 3), []
    net.register_forward_pre_hook(lambda _, inputs: asked.append(inputs[1]))
    first, second = (validator(accelerator, pairs, seed=5)(net, step).metrics for step in (1, 2))
    assert first == second
    assert torch.equal(torch.cat(asked), torch.cat([drawn, drawn]))  # by the number of the pair: any rank may take it


def test_a_higher_figure_is_better_and_nan_never() -> None:
    psnr = QUALITY["psnr"]
    assert better(1.0, None, psnr)
    assert better(2.0, 1.0, psnr)
    assert not better(1.0, 1.0, psnr)
    assert not better(math.nan, None, psnr)
    assert not better(math.nan, 1.0, psnr)


def test_bicubic_keeps_a_flat_picture_flat() -> None:
    flat = torch.full((3, 4, 6), 77, dtype=torch.uint8)
    assert torch.equal(bicubic(flat, 4), torch.full((3, 16, 24), 77, dtype=torch.uint8))


@pytest.mark.parametrize("wrong", [{"validation_steps": 0}, {"draws": 0}, {"num_samples": -1}])
def test_settings_that_validate_nothing_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must be at least"):
        ValidationConfig(source=Folder(path="x"), **wrong)  # type: ignore[arg-type]


def test_each_rank_measures_its_own_pairs_to_the_last(
    accelerator: Accelerator, pairs: PairFolders, tmp_path: Path
) -> None:
    for folder in ("gt", "lq"):
        shutil.copy(tmp_path / folder / "0.png", tmp_path / folder / "3.png")  # an even number
    whole = validator(accelerator, pairs, num_samples=0)
    measured: list[torch.Tensor] = []
    for rank in (0, 1):
        one = SimpleNamespace(
            process_index=rank,
            num_processes=2,
            is_main_process=rank == 0,
            device=accelerator.device,
            autocast=accelerator.autocast,
            reduce=lambda table: measured.append(table) or table,
        )
        replace(whole, accelerator=one)(network(), 1)
    rows = [(table != 0).any(1).nonzero().flatten().tolist() for table in measured]
    assert rows == [[0, 2], [1, 3]]
    together = (measured[0] + measured[1]).mean(0)
    assert whole(network(), 1).metrics["validation/psnr"] == pytest.approx(together[0].item(), rel=1e-9)
