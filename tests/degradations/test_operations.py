"""Blur, resize, noise, sharpening and crops, each against upstream's vectors and its own formulas."""

from __future__ import annotations

import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from degradations.keyed_random import Keys, Purpose, normals, uniforms
from degradations.operations.blur import fast_length, filter2d, reflect_pad
from degradations.operations.crops import draw_crops, paired_crop
from degradations.operations.noise import (
    GAUSSIAN,
    NONE,
    POISSON,
    Noise,
    NoiseRecipe,
    add_gaussian,
    add_poisson,
    poisson_peak,
    poisson_quantile,
    quantise,
    to_gray,
)
from degradations.operations.resize import MODES, Resize, resize
from degradations.operations.sharpen import _band, _sharpen_one, usm_sharpen

# ---------------------------------------------------------------- blur


def test_blur_equals_upstream(vectors: dict[str, Tensor]) -> None:
    for kernel, out in (("kernel_b3", "out_b3"), ("kernel_asym7", "out_b3_asym7")):
        name = f"filter2d__{out}"
        kernels = vectors[f"filter2d__{kernel}"].expand(3, -1, -1)
        blurred = torch.stack([filter2d(x, k) for x, k in zip(vectors["filter2d__in_b3"], kernels, strict=True)])
        if name in vectors:
            assert (blurred - vectors[name]).abs().max() < 2e-6, name


@pytest.mark.parametrize("size", [(8, 8), (1, 5), (3, 40), (24, 31)])
def test_blur_of_canvases_smaller_than_the_kernel(size: tuple[int, int]) -> None:
    image, kernel = torch.rand(2, *size), torch.rand(21, 21)
    kernel /= kernel.sum()
    padded = reflect_pad(image, 10)
    direct = F.conv2d(padded[:, None], kernel[None, None])[:, 0]
    assert torch.allclose(filter2d(image, kernel), direct, atol=2e-6)
    assert torch.allclose(filter2d(torch.ones_like(image), kernel), torch.ones_like(image), atol=2e-6)


def test_reflection_agrees_with_torch_and_repeats() -> None:
    image = torch.arange(12.0).view(1, 3, 4)
    assert torch.equal(reflect_pad(image, 2), F.pad(image[None], (2,) * 4, mode="reflect")[0])
    line = reflect_pad(torch.arange(3.0).view(1, 1, 3), 5)[0, 5]
    assert line.tolist() == [1, 0, 1, 2, 1, 0, 1, 2, 1, 0, 1, 2, 1]


def test_fast_lengths() -> None:
    assert [fast_length(n) for n in (1, 97, 101, 420, 421)] == [2, 100, 108, 432, 432]


# ---------------------------------------------------------------- resize


def test_resize_equals_upstream(vectors: dict[str, Tensor]) -> None:
    names = [name for name in vectors if re.match(r"resize__\w+_scale", name)]
    assert names
    for name in names:
        mode, scale = re.match(r"resize__(\w+)_scale([\d.]+)", name).groups()
        size = tuple(vectors[name].shape[-2:])
        out = resize(vectors["resize__in"][0], size, mode, scale=float(scale))
        assert (out - vectors[name][0]).abs().max() < 1e-6, name


@pytest.mark.parametrize("mode", MODES)
def test_resize_of_any_size_is_torchs(mode: str, picture: Tensor) -> None:
    for size in ((1, 1), (31, 47), (120, 160), (121, 200), (300, 90)):
        expected = F.interpolate(picture[None], size=size, mode=mode)[0]
        assert torch.allclose(resize(picture, size, mode), expected, atol=2e-6), size


def test_scales_follow_the_options() -> None:
    config = Resize()
    drawn = config.draw(uniforms(Keys(2, torch.arange(20_000)), Purpose.RESIZE_1, 12), 400, 200)
    up, down, keep = drawn.scale > 1, drawn.scale < 1, drawn.scale == 1
    for part, share in ((up, 0.2), (down, 0.7), (keep, 0.1)):
        assert part.float().mean().item() == pytest.approx(share, abs=0.012)
    assert drawn.scale[up].mean().item() == pytest.approx(1.25, abs=0.01)
    assert drawn.scale[down].mean().item() == pytest.approx(0.575, abs=0.01)
    assert torch.equal(drawn.size[:, 0], (drawn.scale.double() * 400).floor().long())
    assert drawn.size.min() >= 30
    assert torch.bincount(drawn.mode).min() > 6300


# ---------------------------------------------------------------- noise


def test_gaussian_equals_upstream(vectors: dict[str, Tensor]) -> None:
    clean = vectors["noise__in"]
    torch.manual_seed(7)
    colour_field = torch.randn(2, 3, 32, 36)
    torch.manual_seed(7)
    gray_field = torch.randn(32, 36)  # upstream draws one gray field for the whole batch, and first
    for name, fields in (("color", colour_field), ("gray", gray_field.expand(2, 1, 32, 36))):
        target = vectors.get(f"noise__gauss_{name}_sigma10_seed7_cpu")
        if target is not None:
            noisy = torch.stack([add_gaussian(x, s, f) for x, s, f in zip(clean, (10, 25), fields, strict=True)])
            assert (noisy - target).abs().max() < 1e-6, name


def test_poisson_peak_equals_upstream(vectors: dict[str, Tensor]) -> None:
    peaks = [float(poisson_peak(quantise(image))) for image in vectors["noise__in"]]
    assert peaks == vectors["noise__poisson_vals"].tolist()


def test_poisson_peak_counts_distinct_levels() -> None:
    for levels in (1, 2, 3, 17, 128, 129, 256):
        image = (torch.arange(3 * 20 * 20) % levels).view(3, 20, 20) / 255
        assert float(poisson_peak(image)) == 2 ** (levels - 1).bit_length()


def test_gaussian_noise_has_the_variance(picture: Tensor) -> None:
    gray = torch.full((3, 200, 200), 0.5)
    field = normals(Keys(0, torch.tensor([4])), Purpose.NOISE_1_FIELD, gray.numel()).view_as(gray)
    residual = (add_gaussian(gray, 12.0, field) - gray) * 255
    assert residual.std().item() == pytest.approx(12, rel=0.01)
    assert residual.mean().item() == pytest.approx(0, abs=0.15)
    assert add_gaussian(picture, 30.0, field[:, :120, :160]).min() >= 0


@pytest.mark.parametrize("rate", [1.0, 4.0, 30.0, 200.0])
def test_poisson_numbers_have_mean_and_variance(rate: float) -> None:
    normal = normals(Keys(0, torch.tensor([4])), Purpose.NOISE_1_FIELD, 400_000)
    counts = poisson_quantile(torch.tensor(rate), normal).double()
    assert counts.mean().item() == pytest.approx(rate, rel=0.015)
    assert counts.var().item() == pytest.approx(rate, rel=0.03)
    zero = (counts == 0).double().mean().item()
    assert zero == pytest.approx(2.718281828**-rate, abs=6e-3)


def test_poisson_noise_has_the_variance() -> None:
    """Var = scale^2 * level / peak, as derived from upstream's formula."""
    ramp = (torch.arange(256).repeat(256, 1) / 255).expand(3, -1, -1).contiguous()
    field = normals(Keys(0, torch.tensor([4])), Purpose.NOISE_1_FIELD, ramp.numel()).view_as(ramp)
    noise = (add_poisson(ramp, 0.5, field) - ramp)[:, :, 64:192]
    variance = noise.square().mean((0, 1))
    expected = 0.25 * ramp[0, 0, 64:192] / 256
    assert (variance / expected).mean().item() == pytest.approx(1, abs=0.02)


@pytest.mark.parametrize("bands", [3, 1])
def test_poisson_noise_in_parts_is_that_of_the_whole(bands: int) -> None:
    image, field = torch.rand(3, 150, 230), torch.randn(bands, 150, 230)
    levels = quantise(image if bands == 3 else to_gray(image))
    peak = poisson_peak(levels)
    noise = poisson_quantile(levels * peak, field) / peak - levels
    assert torch.equal(add_poisson(image, 0.7, field), torch.add(image, noise, alpha=0.7).clamp(0, 1))


def test_gray_noise_is_equal_in_all_channels(picture: Tensor) -> None:
    image = picture * 0.5 + 0.25
    field = torch.randn(1, 120, 160, generator=torch.Generator().manual_seed(0))
    for add, strength in ((add_gaussian, 5.0), (add_poisson, 0.5)):
        noise = add(image, strength, field) - image
        assert (noise - noise[:1]).abs().max() < 1e-6
        assert noise.std() > 0.01


def test_noise_is_per_sample_and_may_be_absent() -> None:
    images = [torch.full((3, 40, 40), 0.5)] * 3
    recipe = NoiseRecipe(
        torch.tensor([GAUSSIAN, GAUSSIAN, NONE]), torch.tensor([10.0, 10, 10]), torch.tensor([True, True, True])
    )
    first, second, clean = Noise().apply(images, recipe, Keys(0, torch.arange(3)), Purpose.NOISE_1_FIELD)
    assert torch.equal(clean, images[2])
    correlation = torch.corrcoef(torch.stack([first[0].flatten(), second[0].flatten()]))[0, 1]
    assert abs(correlation) < 0.1


def test_noise_draws_follow_the_options() -> None:
    config = Noise(noise_prob=0.5)
    drawn = config.draw(uniforms(Keys(2, torch.arange(20_000)), Purpose.NOISE_1, 12))
    shares = torch.bincount(drawn.kind, minlength=3) / 20_000
    assert torch.allclose(shares, torch.tensor([0.25, 0.25, 0.5]), atol=0.012)
    assert drawn.gray.float().mean().item() == pytest.approx(0.4, abs=0.012)
    gaussian, poisson = drawn.strength[drawn.kind == GAUSSIAN], drawn.strength[drawn.kind == POISSON]
    assert gaussian.mean().item() == pytest.approx(15.5, abs=0.5)
    assert poisson.mean().item() == pytest.approx(1.525, abs=0.05)


def test_gray_of_any_band_count(picture: Tensor) -> None:
    assert to_gray(picture).shape == (1, 120, 160)
    assert torch.allclose(to_gray(torch.full((5, 2, 2), 0.3)), torch.full((1, 2, 2), 0.3))


# ---------------------------------------------------------------- sharpening


def test_sharpening_equals_upstream(vectors: dict[str, Tensor]) -> None:
    names = [name for name in vectors if re.match(r"usm__in_\d+x\d+$", name)]
    assert names
    for name in names:
        difference = usm_sharpen(vectors[name]) - vectors[name.replace("in", "out")]
        assert difference.abs().max() < 5e-6, name


@pytest.mark.parametrize("size", [(8, 8), (24, 100), (41, 39), (80, 120)])
def test_sharpening_of_any_size_is_the_dense_filter(size: tuple[int, int]) -> None:
    images = (torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 255).round() / 255
    taps = torch.exp(-((torch.arange(51) - 25.0) ** 2) / 128)
    kernel = torch.outer(taps, taps) / taps.sum() ** 2

    def blur(x: Tensor) -> Tensor:
        return torch.stack([F.conv2d(reflect_pad(i, 25)[:, None], kernel[None, None])[:, 0] for i in x])

    residual = images - blur(images)
    soft = blur((residual.abs() * 255 > 10).float())
    expected = soft * (images + 0.5 * residual).clamp(0, 1) + (1 - soft) * images
    assert (usm_sharpen(images) - expected).abs().max() < 1e-3  # a mask bit on the threshold may differ
    assert (usm_sharpen(images) - expected).abs().median() < 1e-6


@pytest.mark.parametrize(
    ("shape", "radius"), [((3, 32, 32), 50), ((3, 65, 35), 50), ((2, 90, 200), 7), ((4, 33, 64), 1)]
)
def test_sharpening_in_a_workspace_has_the_bits_of_sharpening_alone(shape: tuple[int, int, int], radius: int) -> None:
    images = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0)).round(decimals=2)
    band = _band(radius, images.device)
    alone = torch.stack([_sharpen_one(image, 0.5, 10, band) for image in images])
    assert torch.equal(usm_sharpen(images, radius=radius), alone)
    assert torch.equal(usm_sharpen(images.requires_grad_(), radius=radius), alone)


def test_sharpening_leaves_flat_images() -> None:
    flat = torch.full((1, 4, 60, 60), 0.4)
    assert torch.equal(usm_sharpen(flat), flat)


# ---------------------------------------------------------------- crops


def test_crops_are_paired_keyed_and_uniform() -> None:
    keys = Keys(0, torch.arange(4000))
    top, left = draw_crops(keys, 10, 12, 8)
    assert torch.allclose(torch.bincount(top) / 4000, torch.full((3,), 1 / 3), atol=0.03)
    assert torch.allclose(torch.bincount(left) / 4000, torch.full((5,), 1 / 5), atol=0.03)
    gt = torch.rand(3, 2, 40, 48)
    lq = gt[..., ::4, ::4]
    cut_lq, cut_gt = paired_crop(lq, gt, top[:3], left[:3], 8, 4)
    assert cut_lq.shape == (3, 2, 8, 8)
    assert torch.equal(cut_gt[..., ::4, ::4], cut_lq)
    with pytest.raises(ValueError, match="lq_size"):
        draw_crops(keys, 10, 12, 11)
    with pytest.raises(ValueError, match="4 times"):
        paired_crop(lq, gt[..., 4:], top[:3], left[:3], 8, 4)
