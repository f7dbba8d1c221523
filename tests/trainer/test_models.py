"""Real-ESRGAN's models in Python: the document's example as it stands, and that the loop trains by the same."""

import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from degradations.keyed_random import Keys
from tests.program import SMALL, Doubling, Judge, pictures
from trainer import Mistake, RealESRGANModel, RealESRNetModel
from trainer.building.accelerator import make_accelerator
from trainer.config.python_options import config_of
from trainer.config.schema import RunConfig
from trainer.images.levels import quantised, unit
from trainer.lifecycle.assemble import assemble
from trainer.loop import fit
from trainer.validation.psnr_ssim import psnr, ssim

pytestmark = pytest.mark.usefixtures("fresh_accelerate")
GAME = ("adversarial.discriminator={type: UNetDiscriminatorSN, num_feat: 4}", "telemetry.report_to=none")


def test_the_documents_example_runs_as_it_stands() -> None:
    """The example of the first founding document; but for the import, whose place is this trainer's."""
    # fmt: off
    # Define training options
    opt = {
        'name': 'RealESRGAN_x4plus',
        'scale': 4,
        'queue_size': 180,
        'high_order_degradation': True,
        'gt_size': 256,

        # First degradation
        'resize_prob': [0.2, 0.7, 0.1],
        'resize_range': [0.15, 1.5],
        'gaussian_noise_prob': 0.5,
        'noise_range': [1, 30],
        'poisson_scale_range': [0.05, 3],
        'gray_noise_prob': 0.4,
        'jpeg_range': [30, 95],

        # Second degradation
        'second_blur_prob': 0.8,
        'resize_prob2': [0.3, 0.4, 0.3],
        'resize_range2': [0.3, 1.2],
        'gaussian_noise_prob2': 0.5,
        'noise_range2': [1, 25],
        'poisson_scale_range2': [0.05, 2.5],
        'gray_noise_prob2': 0.4,
        'jpeg_range2': [30, 95],

        # Loss options
        'l1_gt_usm': False,
        'percep_gt_usm': False,
        'gan_gt_usm': False,

        # Network and training
        'network_g': {...},
        'network_d': {...},
        'train': {...}
    }

    # Initialize model
    model = RealESRGANModel(opt)

    # First stage: Train without GAN
    opt_psnr = opt.copy()
    opt_psnr['name'] = 'RealESRNet_x4plus'
    model_psnr = RealESRNetModel(opt_psnr)

    # Train for 200k iterations...
    # Then switch to GAN training

    model_gan = RealESRGANModel(opt)
    model_gan.load_network(model_psnr.net_g, 'net_g')
    # fmt: on

    assert sum(p.numel() for p in model.net_g.parameters()) == 16_697_987  # RRDBNet 64 x 23, as published
    for ours, theirs in zip(model_gan.net_g.parameters(), model_psnr.net_g.parameters(), strict=True):
        assert torch.equal(ours, theirs)
    assert model.config.degradation.resize_range2 == (0.3, 1.2)
    assert model.notes == []
    assert model_psnr.config.adversarial is None


class Looped:
    """What the loop's model was given, and what became of it."""

    def __init__(self, config: RunConfig) -> None:
        self.filling: list[dict[str, Tensor]] = []
        self.steps: list[dict[str, Tensor]] = []
        run = assemble(config, make_accelerator(config))
        feed, fill = run.model.feed_data, run.model.fill_pool

        def feed_data(batch: Any) -> None:
            self.steps.append({"gt": batch.pixels.clone()})
            feed(batch)

        def fill_pool(batches: Iterator[Any]) -> None:
            fill(batch for batch in batches if self.filling.append({"gt": batch.pixels.clone()}) is None)

        run.model.feed_data, run.model.fill_pool = feed_data, fill_pool  # type: ignore[method-assign,assignment]
        fit(run)
        self.state = run.state.parts()


@pytest.mark.parametrize("queue_size", [0, 10])
def test_the_loop_and_a_hand_written_one_give_the_same_weights_to_the_last_bit(
    tiny: Callable[..., RunConfig], queue_size: int
) -> None:
    """Two networks, two micro-batches a step, with and without a pool."""
    config = tiny("validation=null", f"queue_size={queue_size}", *GAME)
    looped = Looped(config)
    model = RealESRGANModel(config)
    model.fill_pool(looped.filling)
    data = iter(looped.steps)
    for step in range(1, config.max_train_steps + 1):
        model.feed_data(next(data))
        model.feed_data(next(data))
        log = model.optimize_parameters(step)
    assert next(data, None) is None
    assert {"training/loss_pixel", "training/loss_adversarial", "discriminator/loss"} <= log.keys()
    ours = model.state.parts()
    for part in ("generator", "discriminator", "generator_ema"):
        for name, value in looped.state[part].items():
            assert torch.equal(ours[part][name], value), (part, name)
    assert ours["progress"]["stream"]["position"] == looped.state["progress"]["stream"]["position"]


def test_a_pool_that_nobody_filled_fills_with_what_is_fed_first() -> None:
    """As upstream's: until it is full, fresh pairs are trained on as they are."""
    net = RealESRNetModel({**SMALL, "queue_size": 4})
    seen = []
    for step in range(1, 6):
        net.feed_data({"gt": pictures(2, seed=step)})
        assert net.last is not None
        seen += net.last.positions.tolist()
        net.optimize_parameters(step)
    assert seen[:4] == [0, 1, 2, 3]
    assert set(seen[4:]) < set(range(10))
    assert seen[4:] != [4, 5, 6, 7, 8, 9]
    with pytest.raises(Mistake, match="feed_data: got 1 pictures; with a pool every batch has 2: give the DataLoader"):
        net.feed_data({"gt": pictures(1)})


def test_kernels_that_are_given_take_the_place_of_drawn_ones() -> None:
    net = RealESRNetModel({**SMALL, "second_blur_prob": 1.0})
    clean = pictures()
    box = torch.full((2, 5, 5), 1 / 25)
    delta = torch.zeros(2, 21, 21)
    delta[:, 10, 10] = 1
    net.feed_data({"gt": clean, "kernel1": box, "kernel2": delta, "sinc_kernel": delta})
    assert net.lq is not None
    stored = quantised(clean, torch.uint8)
    recipe: Any = net.synthesis.recipe(Keys(0, torch.tensor([0, 1])), clean)
    recipe = recipe.with_kernels({"kernel1": box, "kernel2": delta, "sinc_kernel": delta})
    assert torch.equal(recipe.blur1.kernel, box)
    assert recipe.caption(0).startswith("blur 5 given")
    degraded = net.config.degradation.apply(unit(stored), recipe)
    got = quantised(net.lq, torch.uint8).int()
    wanted = quantised(degraded, torch.uint8).int()
    found = [
        (top, left)
        for top in range(wanted.shape[2] - 15)
        for left in range(wanted.shape[3] - 15)
        if torch.equal(wanted[0, :, top : top + 16, left : left + 16], got[0])
    ]
    assert len(found) == 1  # a crop of just that
    drawn = RealESRNetModel({**SMALL, "second_blur_prob": 1.0})
    drawn.feed_data({"gt": clean})
    assert drawn.lq is not None
    assert not torch.equal(drawn.lq, net.lq)


def test_a_second_blur_that_is_not_drawn_is_not_made_by_a_given_kernel_either() -> None:
    """As upstream, where `second_blur_prob` is drawn apart from the kernel."""
    net = RealESRNetModel({**SMALL, "second_blur_prob": 0.0})
    recipe: Any = net.synthesis.recipe(Keys(0, torch.tensor([0])), pictures(1))
    assert "given" not in recipe.with_kernels({"kernel2": torch.full((1, 5, 5), 1 / 25)}).caption(0)


def test_given_pairs_are_trained_on_as_they_are() -> None:
    net = RealESRNetModel({**SMALL, "high_order_degradation": False})
    lq, gt = pictures(2, 16), pictures(2, 32)
    net.feed_data({"lq": lq, "gt": gt})
    assert net.lq is not None
    torch.testing.assert_close(net.lq, lq, rtol=0, atol=0.5 / 255 + 1e-6)
    before = [p.clone() for p in net.net_g.parameters()]
    net.optimize_parameters(1)
    assert not all(torch.equal(a, b) for a, b in zip(before, net.net_g.parameters(), strict=True))


def test_pictures_that_are_fed_have_the_documents_names() -> None:
    net = RealESRNetModel({**SMALL, "gt_usm": True})
    net.feed_data({"gt": pictures(), "gt_path": ["a.png", "b.png"]})
    net.optimize_parameters(1)
    shapes = [None if part is None else tuple(part.shape) for part in (net.lq, net.gt, net.gt_usm, net.output)]
    assert shapes == [(2, 3, 16, 16), (2, 3, 32, 32), (2, 3, 32, 32), (2, 3, 32, 32)]
    net.feed_data({"lq": pictures(1, 20)})  # alone it is for validation
    assert net.lq is not None
    assert net.lq.shape == (1, 3, 20, 20)
    assert net.gt is None
    assert net.gt_usm is None
    net.test()
    assert net.output is not None
    assert net.output.shape == (1, 3, 40, 40)
    with pytest.raises(Mistake, match="feed_data was given 0 micro-batches with `gt`; a step has 1"):
        net.optimize_parameters(2)


class Logger:
    """TensorBoard's writer, as far as a validation uses it."""

    def __init__(self) -> None:
        self.scalars: dict[str, tuple[float, int]] = {}

    def add_scalar(self, name: str, value: float, step: int) -> None:
        self.scalars[name] = value, step


def test_nondist_validation_measures_the_average_on_pairs_as_they_are(tmp_path: Path) -> None:
    net, logger = RealESRNetModel(SMALL), Logger()
    lq, gt = pictures(3, 20), pictures(3, 40, seed=1)
    loader = [
        {"lq": lq[:2], "gt": gt[:2], "lq_path": ["set/a.png", "set/b.png"]},
        {"lq": lq[2:], "gt": gt[2:], "lq_path": ["c.png"]},
    ]
    figures = net.nondist_validation(loader, 7, logger, tmp_path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.png", "b.png", "c.png"]
    stored = quantised(lq, torch.uint8)
    with torch.no_grad():
        results = quantised(net.net_g_ema(unit(stored)), torch.uint8)
    for name, measure in (("psnr", psnr), ("ssim", ssim)):
        each = [measure(a, quantised(b, torch.uint8), 2, "y") for a, b in zip(results, gt, strict=True)]
        assert figures[f"validation/{name}"] == pytest.approx(sum(each) / 3)
    assert logger.scalars["validation/psnr"] == (figures["validation/psnr"], 7)
    assert "validation/psnr_bicubic" in figures
    assert net.nondist_validation([{"lq": lq}], 8) == {}  # nothing to measure by
    with pytest.raises(Mistake, match="dataloader: gave no batch to validate on"):
        net.nondist_validation([], 8)
    for given, said in (
        ((3, 8), "dataloader: got int"),
        ((loader, "8"), "current_iter: got '8'"),
        ((loader, 8, None, 3), "save_img: got int; must be true, false, or the path of a folder"),
        ((loader, 8, None, tmp_path / "a.png"), r"save_img: .* cannot be written"),
        (([{"lq": lq[..., 1:]}], 8), r"data\['lq'\]: got 20x19; the sides must be multiples of 2"),
    ):
        with pytest.raises(Mistake, match=said):
            net.nondist_validation(*given)  # type: ignore[arg-type]
    with pytest.raises(Mistake, match="data: must have `lq` to validate on"):
        net.nondist_validation([{"gt": gt}], 8)


def test_several_models_of_other_precisions_live_in_one_process() -> None:
    plain, half = RealESRNetModel(SMALL), RealESRNetModel({**SMALL, "name": "half"})
    config = half.config
    half = RealESRNetModel(replace(config, mixed_precision="bf16"))
    losses = []
    for model in (plain, half, plain):
        model.feed_data({"gt": pictures()})
        losses.append(model.optimize_parameters(model.state.step + 1)["training/loss"].item())
    assert [model.accelerator.mixed_precision for model in (plain, half)] == ["no", "bf16"]
    assert losses[0] == pytest.approx(losses[1], rel=0.05)
    assert losses[0] != losses[1]


def test_own_modules_train_and_keep_the_names_of_their_tensors() -> None:
    mine, judge = Doubling(), Judge()
    adam = {"type": "Adam", "lr": 1e-3}
    game = {"optim_d": adam, "gan_opt": {"type": "GANLoss", "gan_type": "vanilla"}}
    gan = {**SMALL, "train": {"total_iter": 10, "optim_g": adam, "pixel_opt": {}, **game}}
    model = RealESRGANModel(gan, net_g=mine, net_d=judge)
    assert model.net_g is mine
    assert model.net_d is judge
    before = [p.detach().clone() for p in (mine.conv.weight, judge.conv.weight)]
    model.feed_data({"gt": pictures()})
    model.optimize_parameters(1)
    assert not any(torch.equal(a, b) for a, b in zip(before, (mine.conv.weight, judge.conv.weight), strict=True))
    assert set(model.state.parts()["generator"]) == {"conv.weight", "conv.bias"}
    other = RealESRNetModel(SMALL, net_g=Doubling())
    other.load_network(mine)
    assert torch.equal(other.net_g.conv.weight, mine.conv.weight)
    assert torch.equal(other.net_g_ema.state_dict()["conv.weight"], mine.conv.weight)


def test_options_without_a_number_of_gpus_are_those_of_each_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    config, _ = config_of({**SMALL, "queue_size": 4})
    assert (config.batch.global_size, config.batch.per_device, config.queue_size) == (24, 12, 8)


def test_batches_of_other_lengths_take_places_of_their_own() -> None:
    net, first = RealESRNetModel(SMALL), []
    for step, size in enumerate((2, 1, 3, 2), 1):
        net.feed_data({"gt": pictures(size)})
        assert net.last is not None
        first.append(net.last.positions.tolist())
        net.optimize_parameters(step)
    assert first == [[0, 1], [2], [4, 5, 6], [7, 8]]


def test_nothing_that_a_model_does_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = RealESRNetModel(SMALL)
        net.feed_data({"gt": pictures()})
        net.optimize_parameters(1)
