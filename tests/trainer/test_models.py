"""Real-ESRGAN's models in Python: the document's example as it stands, and that the loop trains by the same."""

import os
import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from degradations.keyed_random import Keys
from trainer import Mistake, RealESRGANModel, RealESRNetModel, Upscaler, train
from trainer.building.accelerator import make_accelerator
from trainer.config.python_options import config_of
from trainer.config.schema import RunConfig
from trainer.images.levels import quantised, unit
from trainer.images.opened import Unreadable
from trainer.images.program import ProgramSource
from trainer.lifecycle.assemble import assemble
from trainer.loop import fit
from trainer.run import main
from trainer.validation.psnr_ssim import psnr, ssim

pytestmark = pytest.mark.usefixtures("fresh_accelerate")
GAME = ("adversarial.discriminator={type: UNetDiscriminatorSN, num_feat: 4}", "telemetry.report_to=none")
SMALL = {
    "scale": 2,
    "gt_size": 32,
    "queue_size": 0,
    "network_g": {"type": "RRDBNet", "num_feat": 4, "num_block": 1, "num_grow_ch": 2},
}


def pictures(count: int = 2, side: int = 48, seed: int = 0) -> Tensor:
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(seed))


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


class Doubling(nn.Module):
    """A generator of a program's own."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 3, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.conv(x), 2)


class Uncopied(Doubling):
    def __deepcopy__(self, _: Any) -> Any:
        raise TypeError("it holds a file")


class Judge(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.conv(x)
        return logits


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


@pytest.mark.parametrize(
    ("opt", "said"),
    [
        (3, "opt: got int; must be a dict of options, a RunConfig, or the path of a YAML"),
        ({**SMALL, "scale": "4"}, "scale: got '4'; must be a whole number"),
        ({**SMALL, "resize_range": "wide"}, "resize_range"),
        ({"name": "a", "scale": 2}, "gt_size: must be given"),
        ({**SMALL, "network_g": {"type": "EDSR"}}, "network_g.type: got EDSR; wanted RRDBNet or SRVGGNetCompact"),
        ({"name": "a", "max_train_steps": 1, "adversarial": {}}, "has no discriminator, and there is an adversarial"),
        ("absent.yaml", "absent.yaml"),
        ({**SMALL, "datasets": "x"}, "datasets: got str; must be a dict of options"),
        ({**SMALL, "datasets": {"train": 3}}, "datasets.train: got int; must be a dict of options"),
    ],
)
def test_options_that_are_wrong_are_one_sentence(opt: Any, said: str) -> None:
    with pytest.raises(Mistake) as caught:
        RealESRNetModel(opt)
    assert said in str(caught.value)


def test_a_model_with_a_discriminator_needs_a_section_for_it(tiny: Callable[..., RunConfig]) -> None:
    with pytest.raises(Mistake, match="RealESRGANModel: there is no adversarial section for it"):
        RealESRGANModel(tiny())
    with pytest.raises(Mistake, match="net_d: there is no adversarial section for it"):
        RealESRNetModel(tiny(), net_d=Judge())
    with pytest.raises(Mistake, match=r"net_g cannot be copied, as its average needs: TypeError: it holds a file"):
        RealESRNetModel(SMALL, net_g=Uncopied())
    with pytest.raises(Mistake, match=r"net_g: got str; must be a torch.nn.Module"):
        RealESRNetModel(tiny(), net_g="RRDBNet")  # type: ignore[arg-type]
    with pytest.raises(Mistake, match=r"generator: net_g makes \[1, 1, 14, 14\] of an input of \[1, 3, 16, 16\]"):
        RealESRNetModel(SMALL, net_g=Judge())


def test_an_own_module_must_be_one_that_learns_and_is_tried_at_the_size_of_training() -> None:
    for wrapped in (nn.DataParallel(Doubling()), torch.compile(Doubling(), backend="eager")):
        with pytest.raises(Mistake, match=r"net_g: got .*; give the module inside"):
            RealESRNetModel(SMALL, net_g=wrapped)
    with pytest.raises(Mistake, match="net_g: got Upsample without a parameter that learns"):
        RealESRNetModel(SMALL, net_g=nn.Upsample(scale_factor=2))
    assert RealESRNetModel({**SMALL, "gt_size": 64}, net_g=Whole()).net_g(pictures(1, 32)).shape[-1] == 64
    with pytest.raises(Mistake, match=r"fails on an input of \[1, 3, 16, 16\]: RuntimeError: 16"):
        RealESRNetModel(SMALL, net_g=Whole())


class Whole(Doubling):
    """One that takes sides that are multiples of 32."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] % 32:
            raise RuntimeError(str(x.shape[-1]))
        return super().forward(x)


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


KERNEL = torch.full((2, 5, 5), 1 / 25)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (torch.zeros(2, 3, 48, 48), "data: got Tensor; must be a dict with `gt`, `lq` or both"),
        ({}, "data: must have `gt`, `lq` or both"),
        ({"hq": pictures()}, "data: got hq; known are gt, lq, kernel1, kernel2, sinc_kernel, gt_path, lq_path"),
        ({"gt": "photo.png"}, r"data\['gt'\]: got str; must be a tensor \[b, 3, H, W\], float in \[0, 1\] or uint8"),
        ({"gt": pictures()[0]}, r"data\['gt'\]: got a tensor \[3, 48, 48\]"),
        ({"gt": pictures() * 255}, r"data\['gt'\]: got values from .* to 25"),
        ({"gt": pictures().half() * float("nan")}, r"data\['gt'\]: got values from nan to nan"),
        ({"gt": pictures().int()}, r"data\['gt'\]: got int32"),
        ({"gt": pictures(2, 30)}, r"data\['gt'\]: got 30x30; the sides must be at least gt_size, 32"),
        ({"gt": pictures(2, 49)}, r"data\['gt'\]: got 49x49; .* multiples of the scale, 2"),
        ({"gt": pictures(2, 32), "lq": pictures(2, 32)}, r"data\['lq'\]: got a tensor .*32, 32\]; .* \[2, 3, 16, 16\]"),
        ({"gt": pictures(2, 48), "lq": pictures(2, 24)}, r"data\['gt'\]: got 48x48; given pairs must be of gt_size"),
        ({"gt": pictures(), "kernel1": KERNEL[0]}, r"data\['kernel1'\]: got \[5, 5\]; must be a float tensor \[2"),
        ({"gt": pictures(), "kernel2": KERNEL[:, :4, :4]}, r"data\['kernel2'\]: got \[2, 4, 4\]; kernels must be"),
        ({"gt": pictures(), "gt_path": 3}, r"data\['gt_path'\]: got int; must be a list of paths"),
        ({"gt": pictures().to_sparse()}, r"data\['gt'\]: got a tensor of layout sparse_coo"),
        ({"lq": pictures(), "sinc_kernel": KERNEL}, r"data\['sinc_kernel'\]: there is no `gt` to blur"),
    ],
)  # fmt: skip
def test_data_that_are_wrong_are_one_sentence_and_nothing_is_fed(data: Any, said: str) -> None:
    net = RealESRNetModel(SMALL)
    with pytest.raises(Mistake, match=said):
        net.feed_data(data)
    assert net.fed == []
    net.feed_data({"gt": pictures()})
    net.optimize_parameters(1)


def test_other_mistakes_of_a_program_are_one_sentence(tiny: Callable[..., RunConfig]) -> None:
    net = RealESRNetModel(SMALL)
    for number in (0, 1.0, "1", True):
        with pytest.raises(Mistake, match=r"current_iter: got .*; must be a whole number from 1 on"):
            net.optimize_parameters(number)  # type: ignore[arg-type]
    with pytest.raises(Mistake, match="test: feed_data was given no pictures yet"):
        net.test()
    with pytest.raises(Mistake, match="load_network: got 'net_d'; RealESRNetModel has net_g"):
        net.load_network(Judge(), "net_d")
    for origin in ({}, 3, None):
        with pytest.raises(Mistake, match=r"load_network: got \w+; must be a module, a path, or a name on the hub"):
            net.load_network(origin)  # type: ignore[arg-type]
    net.load_network(torch.compile(net.net_g, backend="eager"))
    with pytest.raises(Mistake, match="accelerator: got str; must be Accelerate's"):
        RealESRNetModel(SMALL, accelerator="cpu")  # type: ignore[arg-type]
    with pytest.raises(Mistake, match="accelerator: its mixed_precision is no, that of the options bf16"):
        RealESRNetModel(replace(net.config, mixed_precision="bf16"), accelerator=net.accelerator)
    with pytest.raises(
        Mistake, match=r"load_network\(net_g\): the module's tensors are not those of the network; they differ in "
    ):
        net.load_network(Judge())
    pipeline = RealESRNetModel(
        tiny("degradation={type: pipeline, steps: [{type: fit}]}", "queue_size=0", "validation=null")
    )
    with pytest.raises(Mistake, match=r"data\['kernel1'\]: degradation.type pipeline draws its own blur"):
        pipeline.feed_data({"gt": pictures(), "kernel1": KERNEL})
    with pytest.raises(Mistake, match="queue_size: the pool takes 4 pairs, and there were only 2 to fill it with"):
        RealESRNetModel({**SMALL, "queue_size": 4}).fill_pool([{"gt": pictures()}])


def test_nothing_that_a_model_does_warns() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        net = RealESRNetModel(SMALL)
        net.feed_data({"gt": pictures()})
        net.optimize_parameters(1)


class Noise(torch.utils.data.Dataset[Any]):
    """A program's dataset: float pictures in dicts, of several sizes; one cannot be read."""

    def __init__(self, bad: int = -1) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if index == self.bad:
            raise RuntimeError("no such file")
        return {"gt": pictures(1, 60 + index, seed=index)[0]}


OWN = ("validation=null", "telemetry.report_to=none", "queue_size=6", "max_train_steps=4", "images.source.given=noise")


@pytest.fixture
def own(tiny: Callable[..., RunConfig]) -> Callable[..., RunConfig]:
    return lambda *overrides: tiny("images.source={type: python}", *OWN, *overrides)


def test_a_run_on_an_own_dataset_and_module_resumes_to_the_last_bit(
    own: Callable[..., RunConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`train` is the whole program: folder, checkpoints, export; config.yaml says in words what was given."""

    def trained(folder: str, *steps: int) -> Tensor:
        for last in steps:
            torch.manual_seed(0)  # of the module's own weights
            config = own(f"output_dir={tmp_path / folder}", f"max_train_steps={last}", "scale=2")
            model = train(config, images=Noise(), net_g=Doubling())
        assert model is not None
        weight: Tensor = model.net_g_ema.state_dict()["conv.weight"]
        return weight

    assert torch.equal(trained("whole", 4), trained("pieces", 2, 4))
    written = (tmp_path / "whole" / "tiny" / "config.yaml").read_text()
    assert "given: Noise of 5 pictures" in written
    assert "test_models.Doubling of 336 parameters" in written
    assert (tmp_path / "whole" / "tiny" / "export" / "diffusion_pytorch_model.safetensors").is_file()
    assert train(own(f"output_dir={tmp_path / 'whole'}", "scale=2"), images=Noise(), net_g=Doubling()) is None
    assert "is done at step 4" in capsys.readouterr().out
    folder = tmp_path / "whole" / "tiny"
    assert main([str(folder / "config.yaml"), "max_train_steps=6"]) == 2
    assert "images.source.type: python, Noise of 5 pictures: give them again, as `images`" in capsys.readouterr().err
    with pytest.raises(Mistake, match=r"holds weights of .*Doubling of 336 parameters, a module that a Python program"):
        Upscaler.from_pretrained(folder)


def test_pictures_of_an_own_dataset_are_taken_in_every_form() -> None:
    gray = Image.new("L", (4, 3), 7)
    array = np.full((3, 4, 3), 7, np.uint8)
    tensor = torch.full((3, 3, 4), 7, dtype=torch.uint8)
    turned = np.ascontiguousarray(array[..., ::-1])[..., ::-1]  # as of OpenCV
    source = ProgramSource(
        [gray, {"image": gray}, array, turned, np.asarray(gray.convert("RGB")), tensor, {"gt": tensor.float() / 255}]
    )
    assert all(torch.equal(source.read(index), tensor) for index in range(len(source)))
    odd = ProgramSource(["a.png", tensor[0], tensor.int(), np.zeros((3, 4), np.uint8), {"label": 3}, tensor.float()])
    for index, said in enumerate(
        ("it is str; must be a picture, or a dict with one under `gt` or `image`",
         r"it is a tensor \[3, 4\]; must be \[3, H, W\]", "it is int32; must be uint8",
         "it is ndarray", "it is dict", r"values from 7 to 7; floats must be in \[0, 1\]")
    ):  # fmt: skip
        with pytest.raises(Unreadable, match=said):
            odd.read(index)
    with pytest.raises(Unreadable, match="picture 2 of Noise: RuntimeError: no such file"):
        ProgramSource(Noise(bad=2)).read(2)


def test_a_dataset_of_hugging_face_is_one(own: Callable[..., RunConfig], tmp_path: Path) -> None:
    rows = [
        {"image": Image.fromarray((pictures(1, 64, seed=i)[0] * 255).byte().permute(1, 2, 0).numpy())} for i in range(3)
    ]
    dataset = datasets.Dataset.from_list(rows, features=datasets.Features({"image": datasets.Image()}))
    model = train(own(f"output_dir={tmp_path}"), images=dataset)
    assert model is not None
    assert model.state.step == 4
    assert ProgramSource(dataset).identity != ProgramSource(dataset.select([0, 2, 1])).identity


@pytest.mark.parametrize("images", [iter([1]), [], 3, "photos", {"train": [1]}])
def test_what_is_no_dataset_is_refused(own: Callable[..., RunConfig], images: Any) -> None:
    with pytest.raises(Mistake, match=r"images: got .*; must be a dataset with a length and items, and not empty"):
        train(own(), images=images)


def test_given_pairs_alone_cannot_be_replaced_by_a_dataset() -> None:
    with pytest.raises(Mistake, match="images: a dataset gives clean pictures to degrade, and the options train on"):
        train({**SMALL, "high_order_degradation": False}, images=Noise())


SCRIPT = """
import torch
from torch.utils.data import Subset
from trainer import train
class Own:
    def __len__(self): return 3
    def __getitem__(self, index): return torch.full((3, 64, 64), index, dtype=torch.uint8)
print("begun")
for name, images in ("plain", [Own()[i] for i in range(3)]), ("inside", Subset(Own(), [0, 1])):
    model = train({"name": name, "output_dir": "out", "scale": 2, "gt_size": 32, "queue_size": 0, "max_train_steps": 1,
        "generator": {"type": "RRDBNet", "num_feat": 4, "num_block": 1, "num_grow_ch": 2},
        "batch": {"global_size": 1, "per_device": 1}, "telemetry": {"report_to": "none"},
        "images": {"source": {"type": "python"}, "crop_size": 48, "dataloader_num_workers": 1}}, images=images)
    print("trained", model.state.step)
"""


def test_a_script_without_a_guard_is_not_run_again_by_workers(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout.count("begun"), done.stdout.count("trained 1")) == (1, 2)
    assert "was killed" not in done.stderr
