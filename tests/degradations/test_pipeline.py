"""The general pipeline: order, choices, probabilities, every operation, and BSRGAN's config."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
import yaml
from PIL import Image, features
from torch import Tensor

from degradations import Keys, SecondOrder
from degradations.keyed_random import uniforms
from degradations.operations import jpeg, noise
from degradations.operations.camera import Camera
from degradations.operations.correlated_noise import CorrelatedNoise, Speckle
from degradations.operations.kernels import BlurKernels
from degradations.operations.operation import NUMBERS_PER_OPERATION, Operation, OperationContext
from degradations.operations.pipeline_steps import (
    BlurStep,
    DownsampleNearestStep,
    FitStep,
    JpegStep,
    NoiseStep,
    ResizeStep,
)
from degradations.operations.real_codecs import Codec, CodecRecipe
from degradations.parse import parse_degradation
from degradations.pipeline import OneOf, Pipeline, Shuffle, Step

BSRGAN = Path(__file__).parents[2] / "configs" / "degradations" / "bsrgan.yaml"


def keys(count: int, seed: int = 0) -> Keys:
    return Keys(seed, torch.arange(count))


def run(step: Operation, images: Tensor, seed: int = 0) -> list[Tensor]:
    """One operation alone."""
    recipe = step.draw(uniforms(keys(len(images), seed), 16, NUMBERS_PER_OPERATION))
    return step.apply(list(images), recipe, OperationContext(keys(len(images), seed), 17, (8, 8)))


def test_every_operation_is_per_sample_and_replayable(picture: Tensor) -> None:
    images = torch.stack([picture[:, :32, :40], picture[:, 40:72, 60:100], picture[:, 80:112, 100:140]])
    for kind in get_args(Step):
        step = kind()
        first, again = run(step, images), run(step, images)
        for a, b in zip(first, again, strict=True):
            assert torch.equal(a, b), kind
            assert a.shape[0] == 3
        alone = step.apply(
            [images[1]],
            step.draw(uniforms(keys(3), 16, NUMBERS_PER_OPERATION)).select(1),
            OperationContext(Keys(0, torch.tensor([1])), 17, (8, 8)),
        )
        assert torch.equal(alone[0], first[1]), kind
        assert step.draw(uniforms(keys(3), 16, NUMBERS_PER_OPERATION)).describe(0), kind
        with pytest.raises(ValueError, match="prob"):
            kind(prob=1.5)


@pytest.mark.parametrize("bands", [1, 4, 16])
def test_every_operation_takes_any_number_of_bands(bands: int, picture: Tensor) -> None:
    images = picture[:1, :32, :40].repeat(bands, 1, 1)[None] * torch.linspace(1, 0.5, bands)[:, None, None]
    for kind in get_args(Step):
        assert run(kind(), images)[0].shape[0] == bands, kind


def test_bsrgan_config(picture: Tensor) -> None:
    config = parse_degradation(yaml.safe_load(BSRGAN.read_text()))
    assert isinstance(config, Pipeline)
    images = picture[None, :, :96, :128].expand(40, -1, -1, -1)
    recipe = config.draw(keys(40), 96, 128, 4)
    out = config.apply(images, recipe)
    assert out.shape == (40, 3, 24, 32)
    assert torch.equal(out, (out * 255).round() / 255)
    assert len(out.unique(dim=0)) == 40
    assert torch.equal(config.apply(images[7:8], recipe.select(7))[0], out[7])
    captions = [recipe.caption(i) for i in range(40)]
    assert len(set(captions)) == 40
    stored = config.draw(keys(40, seed=9), 96, 128, 4).load(recipe.as_dict())
    assert torch.equal(config.apply(images, stored), out)


def test_shuffled_groups_stay_in_their_place_and_keep_order() -> None:
    inner = (BlurStep(), NoiseStep(), FitStep(), JpegStep())
    config = Pipeline(steps=(Camera(), Shuffle(steps=inner, keep=(0, 2)), JpegStep()))
    order = config.draw(keys(3000), 64, 64, 4).order
    assert (order[:, 0] == 0).all()
    assert (order[:, 5] == 5).all()
    place = order.argsort(dim=1)
    assert (place[:, 1] < place[:, 3]).all()
    second = torch.bincount(order[:, 1], minlength=6) / 3000
    # blur 0 precedes fit 2: of the 12 orders of four that allow it, blur is first in 6, fit never, the others in 3
    assert torch.allclose(second, torch.tensor([0, 0.5, 0.25, 0, 0.25, 0]), atol=0.04)


def test_probabilities_and_choices() -> None:
    config = Pipeline(
        steps=(BlurStep(prob=0.3), OneOf(steps=(JpegStep(), NoiseStep()), weights=(1, 3), prob=0.5), FitStep())
    )
    applied = config.draw(keys(8000), 64, 64, 4).applied
    assert torch.allclose(applied.float().mean(0), torch.tensor([0.3, 0.125, 0.375, 1.0]), atol=0.02)
    assert not (applied[:, 1] & applied[:, 2]).any()


def test_an_alternative_has_a_probability_of_its_own() -> None:
    config = Pipeline(steps=(OneOf(steps=(JpegStep(prob=0.5), NoiseStep()), weights=(1, 3), prob=0.5), FitStep()))
    applied = config.draw(keys(8000), 64, 64, 4).applied
    assert torch.allclose(applied.float().mean(0), torch.tensor([0.0625, 0.375, 1.0]), atol=0.015)


def test_each_operation_has_keys_of_its_own(picture: Tensor) -> None:
    """Operation s draws with purpose 16 + 2 s, its noise field with the one behind it."""
    images, grain = (
        picture[None, :, :32, :40].repeat(4, 1, 1, 1),
        NoiseStep(noise_range=(20, 20), gaussian_noise_prob=1.0),
    )
    config = Pipeline(steps=(grain, grain, FitStep()))
    recipe = config.draw(keys(4), 32, 40, 1)
    out = list(images)
    for s in (0, 1):
        drawn = grain.draw(uniforms(keys(4), 16 + 2 * s, NUMBERS_PER_OPERATION))
        assert torch.equal(recipe.steps[s].gray, drawn.gray)
        assert torch.equal(recipe.steps[s].strength, drawn.strength)
        out = grain.apply(out, drawn, OperationContext(keys(4), 17 + 2 * s, (32, 40)))
    assert torch.equal(config.apply(images, recipe), (torch.stack(out) * 255).round() / 255)


def test_two_groups_keep_their_orders() -> None:
    inner = (BlurStep(), NoiseStep(), JpegStep())
    config = Pipeline(steps=(Shuffle(steps=inner, keep=(0, 1)), Shuffle(steps=inner, keep=(1, 2)), FitStep()))
    place = config.draw(keys(400), 64, 64, 4).order.argsort(dim=1)
    assert (place[:, 0] < place[:, 1]).all()
    assert (place[:, 4] < place[:, 5]).all()
    assert 0.2 < (place[:, 3] < place[:, 4]).float().mean() < 0.8  # the first of the second group is free


BLURS = {
    "blur_kernel_size": 9,
    "kernel_list": ("plateau_iso", "generalized_aniso"),
    "kernel_prob": (1.0, 3.0),
    "sinc_prob": 0.3,
    "blur_sigma": (0.4, 0.9),
    "betag_range": (0.7, 1.1),
    "betap_range": (0.9, 5.0),
}
NOISES = {
    "gaussian_noise_prob": 0.2,
    "noise_range": (3.0, 7.0),
    "poisson_scale_range": (1.0, 1.5),
    "gray_noise_prob": 0.8,
}


@pytest.mark.parametrize(
    ("step", "operation"),
    [
        (BlurStep(**BLURS), BlurKernels(**BLURS)),
        (NoiseStep(**NOISES), noise.Noise(**NOISES)),
        (JpegStep(jpeg_range=(7, 9)), jpeg.Jpeg(jpeg_range=(7, 9))),
    ],
)
def test_options_of_a_step_are_those_of_its_operation(step: Operation, operation: noise.Noise) -> None:
    u = uniforms(keys(60), 16, NUMBERS_PER_OPERATION)
    drawn, wanted = step.draw(u), operation.draw(u)
    for name, value in wanted.as_dict().items():
        assert torch.equal(drawn.as_dict()[name], value), name


def test_a_resize_leaves_eight_pixels_a_side() -> None:
    images = [torch.zeros(3, 40, 12), torch.zeros(3, 5, 200)]
    step, context = ResizeStep(), OperationContext(keys(2), 17, (1, 1))
    recipe = replace(
        step.draw(torch.full((2, NUMBERS_PER_OPERATION), 0.5)), scale=torch.tensor([0.1, 0.1], dtype=torch.float64)
    )
    assert step.sizes(images, recipe, context) == [(8, 8), (5, 20)]


def test_sampling_by_nearest_keeps_content_in_place() -> None:
    y, x = torch.meshgrid(torch.arange(96) + 0.5, torch.arange(96) + 0.5, indexing="ij")
    dot = torch.exp(-((y - 60) ** 2 + (x - 36) ** 2) / (2 * 8**2))[None]
    for factor, sigma in ((4, 2.0), (3, 1.0), (2, 0.1), (4, 0.1)):
        small = run(DownsampleNearestStep(factor=factor, sigma_range=(sigma, sigma)), dot[None])[0][0]
        row, column = (torch.arange(n) + 0.5 for n in small.shape)
        centre = torch.stack([(small.sum(1) * row).sum(), (small.sum(0) * column).sum()]) / small.sum()
        assert torch.allclose(centre * factor, torch.tensor([60.0, 36.0]), atol=0.02 + (sigma < 0.5) * 0.5)


def test_bsrgan_keeps_content_in_place() -> None:
    """By less than half an LQ pixel; without noise, and with little blur, which would mix a dot with the border."""
    tree = yaml.safe_load(BSRGAN.read_text())
    shuffled = tree["steps"][1]["steps"]
    for place in (4, 6):
        shuffled[place] = {"type": "blur", "prob": 0.0}
    for place in (0, 1):
        shuffled[place]["blur_sigma"] = [0.1, 0.8]
    config = parse_degradation(tree)
    y, x = torch.meshgrid(torch.arange(200) + 0.5, torch.arange(200) + 0.5, indexing="ij")
    dot = 0.25 + 0.6 * torch.exp(-((y - 165) ** 2 + (x - 160) ** 2) / (2 * 12**2))
    images = dot.expand(60, 3, -1, -1).contiguous()
    out = config.apply(images, config.draw(keys(60), 200, 200, 4))
    weight = (out.mean(1) - 0.3).clamp_min(0)
    axis = torch.arange(50) + 0.5
    total = weight.sum((1, 2))
    row, column = (weight.sum(2) * axis).sum(1) / total, (weight.sum(1) * axis).sum(1) / total
    assert (row - 165 / 4).abs().max() < 0.5
    assert (column - 160 / 4).abs().max() < 0.5


def test_correlated_noise_has_its_correlation_and_sigma() -> None:
    flat = torch.full((1, 4, 150, 150), 0.5)
    noise = (run(CorrelatedNoise(noise_range=(10, 10), correlation_range=(0.6, 0.6)), flat)[0] - 0.5) * 255
    assert noise.std().item() == pytest.approx(10, rel=0.02)
    correlation = torch.corrcoef(noise.flatten(1))
    assert torch.allclose(correlation, torch.full((4, 4), 0.6) + 0.4 * torch.eye(4), atol=0.02)


def test_speckle_grows_with_the_level() -> None:
    flat = torch.stack([torch.full((3, 100, 100), level) for level in (0.0, 0.2, 0.6)])
    dark, low, high = (image.std().item() * 255 for image in run(Speckle(noise_range=(20, 20)), flat))
    assert dark == 0
    assert low == pytest.approx(4, rel=0.05)
    assert high == pytest.approx(12, rel=0.05)


def test_camera_of_ones_changes_nothing(picture: Tensor) -> None:
    one = (1.0, 1.0)
    same = Camera(gamma_range=one, brightness_range=one, contrast_range=one, saturation_range=one)
    assert torch.allclose(run(same, picture[None])[0], picture, atol=1e-6)
    dark = Camera(gamma_range=(2, 2), brightness_range=one, contrast_range=one, saturation_range=one)
    assert torch.allclose(run(dark, picture[None])[0], picture**2, atol=1e-6)


def test_a_camera_draws_each_of_its_numbers(picture: Tensor) -> None:
    camera = Camera(
        gamma_range=(2, 2), brightness_range=(0.9, 0.9), contrast_range=(0.5, 0.5), saturation_range=(0.01, 0.01)
    )
    recipe = camera.draw(torch.full((1, NUMBERS_PER_OPERATION), 0.5))
    drawn = (recipe.gamma, recipe.brightness, recipe.contrast, recipe.saturation)
    assert torch.allclose(torch.cat(drawn), torch.tensor([2, 0.9, 0.5, 0.01]))
    bright = picture * 0.9
    gray = noise.to_gray(0.5 * bright + 0.5 * bright.mean())
    (out,) = camera.apply([picture], recipe, OperationContext(keys(1), 17, (8, 8)))
    assert torch.allclose(out, gray**2, atol=0.01)


@pytest.mark.parametrize("codec", ["jpeg", "webp"])
def test_codecs_are_pillows(codec: str, picture: Tensor) -> None:
    if not features.check("webp") and codec == "webp":
        pytest.skip("this Pillow has no WebP")
    levels = (picture * 255).to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
    file = io.BytesIO()
    Image.fromarray(levels).save(file, codec, quality=60)
    expected = torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1) / 255
    step = Codec(format=codec, quality_range=(60, 60))
    assert torch.equal(run(step, picture[None])[0], expected)
    if codec == "jpeg":
        exact = run(JpegStep(jpeg_range=(60, 60)), picture[None])[0]
        assert torch.equal(exact, expected)
        assert not torch.equal(run(JpegStep(jpeg_range=(60, 60), subsampling="4:4:4"), picture[None])[0], expected)
        again = run(replace(step, saves=(3, 3)), picture[None])[0]
        assert not torch.equal(again, expected)


def test_a_codec_draws_whole_ranges_and_steps_through_them(picture: Tensor) -> None:
    codec, context = Codec(format="jpeg", quality_range=(30, 32), saves=(1, 3)), OperationContext(keys(1), 17, (8, 8))
    drawn = codec.draw(uniforms(keys(200), 16, NUMBERS_PER_OPERATION))
    assert drawn.quality.unique().tolist() == [30, 31, 32]
    assert drawn.step.unique().tolist() == [0, 1, 2]
    assert drawn.saves.unique().tolist() == [1, 2, 3]
    recipe = CodecRecipe(torch.tensor([31]), torch.tensor([1]), torch.tensor([3]), "jpeg")
    wanted = picture
    for quality in (31, 32, 30):  # from the end of the range it begins anew
        once = CodecRecipe(torch.tensor([quality]), torch.tensor([0]), torch.tensor([1]), "jpeg")
        (wanted,) = codec.apply([wanted], once, context)
    assert torch.equal(codec.apply([picture], recipe, context)[0], wanted)


def test_mistakes_are_named(picture: Tensor) -> None:
    with pytest.raises(ValueError, match="`fit` of prob 1"):
        Pipeline(steps=(BlurStep(),))
    with pytest.raises(ValueError, match="keep"):
        Shuffle(steps=(BlurStep(), FitStep()), keep=(0, 2))
    config = Pipeline(steps=(FitStep(), ResizeStep(resize_prob=(0, 1, 0))))
    with pytest.raises(ValueError, match="put `fit` after"):
        config.apply(picture[None], config.draw(keys(1), 120, 160, 4))
    with pytest.raises(ValueError, match="multiples"):
        config.draw(keys(1), 121, 160, 4)


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({"type": "third_order"}, r"degradation\.type must be one of second_order, pipeline; got 'third_order'"),
        ({"type": "second_order", "resize_rang": [1, 2]}, r"degradation\.resize_rang is not an option of second_order"),
        ({"type": "second_order", "resize_range": [1, 2, 3]}, r"degradation\.resize_range must have 2 entries"),
        ({"type": "second_order", "jpeg": "turbo"}, r"degradation\.jpeg must be one of libjpeg, realesrgan"),
        ({"type": "second_order", "antialias": "no"}, r"degradation\.antialias must be of type bool"),
        ({"type": "pipeline", "steps": [{"type": "blot"}]}, r"degradation\.steps\.0\.type must be one of blur"),
        (
            {"type": "pipeline", "steps": [{"type": "blur", "sigma": 1}]},
            r"degradation\.steps\.0\.sigma is not an option",
        ),
        (
            {"type": "pipeline", "steps": [{"type": "fit"}, {"type": "jpeg", "jpeg_range": [0, 5]}]},
            r"degradation\.steps\.1: jpeg_range must be",
        ),
    ],
)
def test_config_mistakes_have_a_path(mapping: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_degradation(mapping)


def test_config_of_the_second_order() -> None:
    parsed = parse_degradation({"type": "second_order", "jpeg_range": [40, 60], "blur_sigma": [0.1, 1]})
    assert parsed == SecondOrder(jpeg_range=(40, 60), blur_sigma=(0.1, 1))
