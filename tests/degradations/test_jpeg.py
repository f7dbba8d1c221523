"""JPEG: byte for byte Pillow's, and upstream's simulation on its own vectors."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from degradations.keyed_random import Keys, Purpose, uniforms
from degradations.operations.diffjpeg import diffjpeg, quality_factor
from degradations.operations.jpeg import Jpeg, by_pillow, libjpeg, pillow_is_exact
from degradations.operations.jpeg_arithmetic import _quantised, decoded_levels
from degradations.operations.sharpen import usm_sharpen


def pillow(levels: Tensor, quality: int, **options: int) -> Tensor:
    """uint8 [C, H, W] through Pillow's encoder and decoder."""
    file = io.BytesIO()
    array = levels[0].numpy() if len(levels) == 1 else levels.permute(1, 2, 0).contiguous().numpy()
    Image.fromarray(array).save(file, "JPEG", quality=quality, **options)
    decoded = torch.from_numpy(np.array(Image.open(file)))
    return decoded[None] if len(levels) == 1 else decoded.permute(2, 0, 1)


def ours(levels: Tensor, quality: int, subsampling: str = "4:2:0") -> Tensor:
    """By the arithmetic; the way through Pillow must give the same."""
    arguments = levels[None].float(), torch.tensor([quality]), subsampling
    coded = decoded_levels(*arguments)
    assert torch.equal(coded, by_pillow(*arguments))
    return coded[0].to(torch.uint8)


@pytest.fixture
def untried() -> Iterator[None]:
    """Pillow's trial is taken anew, and forgotten."""
    pillow_is_exact.cache_clear()
    yield
    pillow_is_exact.cache_clear()


def noise(height: int, width: int, seed: int) -> Tensor:
    """Half random walks, half white noise: every coefficient is exercised."""
    generator = torch.Generator().manual_seed(seed)
    white = torch.randint(0, 256, (3, height, width), generator=generator)
    walk = (torch.randint(-9, 10, (3, height, width), generator=generator).cumsum(2) + 128).clamp(0, 255)
    return (walk if seed % 2 else white).to(torch.uint8)


@pytest.mark.parametrize("quality", range(1, 101))
def test_equal_to_pillow_at_every_quality(quality: int) -> None:
    levels = noise(39, 53, quality)
    assert torch.equal(ours(levels, quality), pillow(levels, quality))


@pytest.mark.parametrize(
    "size", [(1, 1), (1, 40), (40, 1), (2, 3), (3, 2), (4, 4), (5, 5), (8, 6), (16, 16), (17, 33), (121, 86), (30, 30)]
)
def test_equal_to_pillow_at_every_size(size: tuple[int, int], picture: Tensor) -> None:
    for quality in (7, 50, 96):
        for levels in (noise(*size, seed=quality), (picture[:, : size[0], : size[1]] * 255).to(torch.uint8)):
            assert torch.equal(ours(levels, quality), pillow(levels, quality)), quality
            assert torch.equal(ours(levels, quality, subsampling="4:4:4"), pillow(levels, quality, subsampling=0))
            assert torch.equal(ours(levels[:1], quality), pillow(levels[:1], quality)), "gray"


def test_a_batch_is_the_same_by_both_ways(picture: Tensor) -> None:
    images = torch.stack([picture, picture.flip(2), picture.flip(1)])[..., :63, :81]
    quality = torch.tensor([0, 55, 130])  # the ends are clamped
    assert pillow_is_exact(), "this Pillow's libjpeg is another one"
    expected = decoded_levels((images * 255).round(), quality.clamp(1, 100), "4:2:0") / 255
    assert torch.equal(libjpeg(images, quality), expected)


@pytest.mark.usefixtures("untried")
def test_without_pillow_the_arithmetic_is_taken(picture: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = libjpeg(picture[None], 40)
    pillow_is_exact.cache_clear()
    monkeypatch.setitem(sys.modules, "PIL", None)
    assert torch.equal(libjpeg(picture[None], 40), expected)
    assert not pillow_is_exact()


@pytest.mark.usefixtures("untried")
def test_a_library_with_other_bytes_is_not_used(picture: Tensor, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = libjpeg(picture[None], 40)
    pillow_is_exact.cache_clear()
    save = Image.Image.save

    def save_finer(image: Image.Image, file: io.BytesIO, codec: str, quality: int, **options: object) -> None:
        save(image, file, codec, quality=min(100, quality + 1), **options)

    monkeypatch.setattr(Image.Image, "save", save_finer)
    assert torch.equal(libjpeg(picture[None], 40), expected)
    assert not pillow_is_exact()


def test_other_band_counts_are_coded_band_by_band(picture: Tensor) -> None:
    image = torch.cat([picture, picture.mean(0, keepdim=True)])[None]
    coded = libjpeg(image, 40)
    for band in range(4):
        assert torch.equal(coded[:, band : band + 1], libjpeg(image[:, band : band + 1], 40))


def test_quantisation_is_integer_division() -> None:
    """For every coefficient and step that there can be."""
    coefficients = torch.arange(-(1 << 14), 1 << 14)
    for step in range(1, 256):
        expected = coefficients.sign() * ((coefficients.abs() + 4 * step) // (8 * step)) * (8 * step)
        assert torch.equal(_quantised(coefficients.float(), torch.tensor(8.0 * step)), expected.float())


def test_a_batch_has_a_quality_for_each(picture: Tensor) -> None:
    images = torch.stack([picture, picture.flip(2), picture.flip(1)])
    coded = libjpeg(images, torch.tensor([10, 55, 100]))
    for i, quality in enumerate((10, 55, 100)):
        assert torch.equal(coded[i : i + 1], libjpeg(images[i : i + 1], quality))


def test_fidelity_grows_with_quality(picture: Tensor) -> None:
    errors = [
        (libjpeg(picture[None], quality) - picture).square().mean().item() for quality in (10, 30, 50, 75, 90, 98)
    ]
    assert errors == sorted(errors, reverse=True)


def test_straight_through_gradient(picture: Tensor) -> None:
    image = picture[None].clone().requires_grad_()
    coded = libjpeg(image, 60, straight_through=True)
    assert torch.allclose(coded, libjpeg(picture[None], 60), atol=1e-6)
    coded.sum().backward()
    assert torch.equal(image.grad, torch.ones_like(image))


def test_autocast_of_a_training_does_not_reach_in(picture: Tensor) -> None:
    expected, sharp = libjpeg(picture[None], 60), usm_sharpen(picture[None])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(libjpeg(picture[None], 60), expected)
        assert torch.equal(usm_sharpen(picture[None]), sharp)


def test_simulation_equals_upstream(vectors: dict[str, Tensor]) -> None:
    names = [name for name in vectors if name.startswith("diffjpeg__out_")]
    assert names
    for name in names:
        size, quality = re.match(r"diffjpeg__out_(\w+)_q(\d+)$", name).groups()
        coded = diffjpeg(vectors[f"diffjpeg__in_{size}"][0], float(quality))
        assert (coded - vectors[name][0]).abs().max() < 1e-6, name


def test_differentiable_simulation_equals_upstream(vectors: dict[str, Tensor]) -> None:
    names = [name for name in vectors if name.startswith("diffjpeg_diff__out_")]
    assert names
    for name in names:
        size = re.match(r"diffjpeg_diff__out_(\w+)_q50", name).group(1)
        image = vectors[f"diffjpeg__in_{size}"][0].clone().requires_grad_()
        coded = diffjpeg(image, 50.0, differentiable=True)
        assert (coded - vectors[name][0]).abs().max() < 2e-6
        coded.square().sum().backward()
        gradient = vectors[f"diffjpeg_diff__gradin_{size}_q50"][0]
        assert (image.grad - gradient).abs().max() < 1e-3 * gradient.abs().max()


def test_quality_factor_equals_upstream(vectors: dict[str, Tensor]) -> None:
    for quality, factor in zip(vectors["diffjpeg__factor_q"], vectors["diffjpeg__factor"], strict=True):
        assert quality_factor(float(quality)) == pytest.approx(float(factor))


def test_qualities_are_whole_and_include_both_ends() -> None:
    drawn = Jpeg(jpeg_range=(30, 33)).draw(uniforms(Keys(0, torch.arange(4000)), Purpose.JPEG_1, 12)).quality
    assert drawn.dtype == torch.int64
    shares = torch.bincount(drawn)[30:] / 4000
    assert torch.allclose(shares, torch.full((4,), 0.25), atol=0.03)


def test_mistakes_are_named(picture: Tensor) -> None:
    with pytest.raises(ValueError, match="quality"):
        diffjpeg(picture, 100.0)
    with pytest.raises(ValueError, match="4:2:0"):
        Jpeg(arithmetic="realesrgan", subsampling="4:4:4")
    with pytest.raises(ValueError, match="jpeg_range"):
        Jpeg(jpeg_range=(0, 95))
    with pytest.raises(ValueError, match="3 bands"):
        diffjpeg(picture[:1], 50.0)
