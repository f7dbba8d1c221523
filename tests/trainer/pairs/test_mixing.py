"""MixUp, CutMix and CutBlur: closed forms, one grid for both pictures, and draws by the place in the run."""

import statistics
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from degradations.keyed_random import Keys
from tests.program import SMALL, pictures
from trainer import Mistake, RealESRNetModel
from trainer.distributed.batch import BatchConfig, BatchPlan, plan_batch
from trainer.pairs.mixing import (
    CutBlurConfig,
    CutMixConfig,
    MixingConfig,
    MixUpConfig,
    draw,
    mixed,
    symmetric_beta,
)
from trainer.pairs.synthesis import PairBatch

MIXUP = MixingConfig(mixup=MixUpConfig(prob=1))
CUTMIX = MixingConfig(cutmix=CutMixConfig(prob=1))
CUTBLUR = MixingConfig(cutblur=CutBlurConfig(prob=1))
ALL = MixingConfig(mixup=MixUpConfig(prob=0.3), cutmix=CutMixConfig(prob=0.2), cutblur=CutBlurConfig(prob=0.4))


def random_pairs(count: int = 8, bands: int = 3, scale: int = 4, dtype: torch.dtype = torch.uint8) -> PairBatch:
    generator = torch.Generator().manual_seed(count)
    top = 256 if dtype == torch.uint8 else 65536
    lq, gt = (torch.randint(top, (count, bands, s * 9, s * 12), generator=generator) for s in (1, scale))
    return PairBatch(lq.to(dtype), gt.to(dtype), torch.arange(count) + 1000)


def keys(count: int = 8, first: int = 0) -> Keys:
    return Keys(3, torch.arange(first, first + count))


FORMS = pytest.mark.parametrize(
    ("bands", "scale", "dtype"), [(3, 4, torch.uint8), (4, 3, torch.uint8), (1, 1, torch.uint8), (4, 2, torch.uint16)]
)


@FORMS
def test_mixup_blends_both_pictures_by_one_share(bands: int, scale: int, dtype: torch.dtype) -> None:
    pairs = random_pairs(8, bands, scale, dtype)
    result = mixed(pairs, MIXUP, keys())
    shares = [mix.share for mix in draw(MIXUP, keys(), 9, 12)]
    for number, share in enumerate(shares):
        for old, new in ((pairs.lq, result.lq), (pairs.gt, result.gt)):
            wanted = share * old[number].double() + (1 - share) * old[number ^ 1].double()
            assert torch.equal(new[number].double(), wanted.round())
    assert len(set(shares)) > 4
    assert (result.lq.dtype, result.gt.dtype) == (dtype, dtype)
    assert torch.equal(result.positions, pairs.positions)


@FORMS
def test_cutmix_puts_one_box_into_both_pictures(bands: int, scale: int, dtype: torch.dtype) -> None:
    pairs = random_pairs(8, bands, scale, dtype)
    result = mixed(pairs, CUTMIX, keys())
    for number, mix in enumerate(draw(CUTMIX, keys(), 9, 12)):
        for old, new, s in ((pairs.lq, result.lq, 1), (pairs.gt, result.gt, scale)):
            top, bottom, left, right = (s * edge for edge in mix.box)
            wanted = old[number].clone()
            wanted[:, top:bottom, left:right] = old[number ^ 1][:, top:bottom, left:right]
            assert torch.equal(new[number], wanted)


@FORMS
def test_cutblur_cleans_a_box_or_all_but_it(bands: int, scale: int, dtype: torch.dtype) -> None:
    pairs = random_pairs(8, bands, scale, dtype)
    result = mixed(pairs, CUTBLUR, keys())
    assert torch.equal(result.gt, pairs.gt)
    area = torch.nn.functional.avg_pool2d(pairs.gt.double(), scale).round().to(dtype)
    draws = draw(CUTBLUR, keys(), 9, 12)
    assert {mix.inside for mix in draws} == {True, False}
    for number, mix in enumerate(draws):
        top, bottom, left, right = mix.box
        within, around = (area, pairs.lq) if mix.inside else (pairs.lq, area)
        wanted = around[number].clone()
        wanted[:, top:bottom, left:right] = within[number][:, top:bottom, left:right]
        assert torch.equal(result.lq[number], wanted)


def test_boxes_have_the_side_of_alpha_and_lie_anywhere_within() -> None:
    boxes = [mix.box for mix in draw(CUTMIX, keys(400), 100, 60)]
    heights, widths = [b[1] - b[0] for b in boxes], [b[3] - b[2] for b in boxes]
    assert statistics.mean(heights) == pytest.approx(70, abs=1)
    assert statistics.mean(widths) == pytest.approx(42, abs=1)
    assert min(b[0] for b in boxes) == min(b[2] for b in boxes) == 0
    assert (max(b[1] for b in boxes), max(b[3] for b in boxes)) == (100, 60)


@pytest.mark.parametrize("alpha", [0.2, 0.5, 1.0, 1.2, 4.0])
def test_shares_follow_the_beta_law(alpha: float) -> None:
    uniform = torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64).tolist()
    drawn = torch.tensor([symmetric_beta(alpha, *pair) for pair in uniform])
    variance = 1 / (4 * (2 * alpha + 1))
    assert drawn.min() >= 0
    assert drawn.max() <= 1
    assert drawn.mean().item() == pytest.approx(0.5, abs=0.02)
    assert drawn.var().item() == pytest.approx(variance, rel=0.05)
    fourth = 3 * variance**2 * (2 * alpha + 1) / (2 * alpha + 3)
    assert ((drawn - 0.5) ** 4).mean().item() == pytest.approx(fourth, rel=0.08)


def test_each_augmentation_has_its_probability() -> None:
    kinds = [mix.kind for mix in draw(ALL, keys(4000), 8, 8)]
    shares = {kind: kinds.count(kind) / 4000 for kind in ("mixup", "cutmix", "cutblur", "none")}
    assert shares == pytest.approx({"mixup": 0.3, "cutmix": 0.2, "cutblur": 0.4, "none": 0.1}, abs=0.03)


def test_what_is_not_drawn_stays_and_what_was_given_too() -> None:
    pairs = random_pairs(40)
    before = replace(pairs, lq=pairs.lq.clone(), gt=pairs.gt.clone())
    result = mixed(pairs, ALL, keys(40))
    for number, mix in enumerate(draw(ALL, keys(40), 9, 12)):
        assert torch.equal(result.lq[number], pairs.lq[number]) == (mix.kind == "none")
        assert torch.equal(result.gt[number], pairs.gt[number]) == (mix.kind in ("none", "cutblur"))
    assert torch.equal(pairs.lq, before.lq)
    assert torch.equal(pairs.gt, before.gt)


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize("per_device", [2, 4, 8])
def test_a_place_is_mixed_alike_on_any_processes_and_micro_batches(processes: int, per_device: int) -> None:
    """8 places of step 5 as 1x8, 1x4x2, 1x2x4, 2x4 and 2x2x2."""
    pairs = random_pairs(8)
    whole = mixed(pairs, ALL, keys(8, first=40))
    plan = plan_batch(BatchConfig(global_size=8, per_device=per_device), processes)
    for rank in range(processes):
        for number in range(plan.accumulation):
            places = plan.positions(5, rank, number)
            rows = slice(places[0] - 40, places[-1] + 1 - 40)
            part = PairBatch(pairs.lq[rows], pairs.gt[rows], pairs.positions[rows])
            result = mixed(part, ALL, Keys(3, torch.tensor(places)))
            assert torch.equal(result.lq, whole.lq[rows])
            assert torch.equal(result.gt, whole.gt[rows])


@pytest.mark.parametrize(
    ("plan", "advice"),
    [
        (BatchPlan(12, 3, 2, 2), "batch.per_device: 2, 6 would do"),
        (BatchPlan(6, 3, 2, 1), "4 must divide batch.global_size"),
    ],
)
def test_an_odd_micro_batch_is_refused(plan: BatchPlan, advice: str) -> None:
    with pytest.raises(Mistake, match=f"a micro-batch has 3 .*; {advice}"):
        MIXUP.check(plan)
    CUTBLUR.check(plan)  # needs no partner
    with pytest.raises(Mistake, match=r"got 3 pairs at a time; .* must be even"):
        mixed(random_pairs(3), CUTMIX, keys(3))
    mixed(random_pairs(3), CUTBLUR, keys(3))


@pytest.mark.parametrize(
    ("section", "message"),
    [
        (lambda: MixUpConfig(prob=1.2), "prob must be in"),
        (lambda: MixUpConfig(prob=0.2, alpha=0), "alpha must be positive"),
        (lambda: CutMixConfig(prob=0.2, alpha=1.5), r"alpha must be in \(0, 1\]"),
        (lambda: CutBlurConfig(prob=-1), "prob must be in"),
        (lambda: MixingConfig(mixup=MixUpConfig(prob=0.6), cutblur=CutBlurConfig(prob=0.5)), "add up to 1 at most"),
    ],
)
def test_values_out_of_range_are_refused(section: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        section()


def fed_model(**options: Any) -> RealESRNetModel:
    network = SMALL["network_g"]
    tree = {"name": "mixing", "scale": 2, "gt_size": 32, "max_train_steps": 1, "queue_size": 0, "generator": network}
    images = {"source": "never_opened", "crop_size": 48}
    return RealESRNetModel(tree | {"images": images, "batch": {"global_size": 4, "per_device": 4}} | options)


def fed(model: RealESRNetModel, gt: Tensor, number: int = 4) -> PairBatch:
    model.feed_data({"gt": gt[:number]})
    assert model.last is not None
    return model.last


@pytest.mark.usefixtures("fresh_accelerate")
def test_a_model_trains_on_mixed_pairs() -> None:
    gt = pictures(4)
    mixing = {"mixup": {"prob": 0.5}, "cutmix": {"prob": 0.5}}
    plain, model = fed_model(), fed_model(mixing=mixing)
    clean, result = fed(plain, gt), fed(model, gt)
    config = model.config.mixing
    assert config is not None
    wanted = mixed(clean, config, model.keys(0, 4))
    assert torch.equal(result.lq, wanted.lq)
    assert torch.equal(result.gt, wanted.gt)
    assert not torch.equal(result.gt, clean.gt)
    assert model.fed[0] is result
    assert torch.isfinite(model.optimize_parameters(1)["training/loss"])
    with pytest.raises(Mistake, match="got 3 pairs at a time"):
        fed(model, gt, 3)
    with pytest.raises(Mistake, match=r"global_size: got 3; mixup and cutmix .* must be even"):
        fed_model(mixing=mixing, batch={"global_size": 3, "per_device": 3})
