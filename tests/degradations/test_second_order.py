"""The two-order pipeline: laws, and Real-ESRGAN's own results under its compatibility modes."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from degradations import Keys, SecondOrder
from degradations.keyed_random import normals, uniforms
from degradations.operations.jpeg import Jpeg
from degradations.operations.kernels import BlurKernels, BlurOptions
from degradations.operations.noise import Noise
from degradations.operations.pipeline_steps import BlurStep
from degradations.operations.resize import Resize
from degradations.second_order import SecondOrderRecipe

# nothing left to do but the last resize
NOTHING = {
    "kernel_list": ("iso",),
    "kernel_prob": (1.0,),
    "kernel_list2": ("iso",),
    "kernel_prob2": (1.0,),
    "sinc_prob": 0.0,
    "sinc_prob2": 0.0,
    "blur_sigma": (0.01, 0.01),
    "blur_sigma2": (0.01, 0.01),
    "resize_prob": (0, 0, 1),
    "resize_prob2": (0, 0, 1),
    "noise_prob": 0.0,
    "noise_prob2": 0.0,
    "jpeg_range": (100, 100),
    "jpeg_range2": (100, 100),
    "final_sinc_prob": 0.0,
}


def batch(picture: Tensor, count: int, height: int = 64, width: int = 80) -> Tensor:
    return torch.stack([picture[:, 4 * i : 4 * i + height, 5 * i : 5 * i + width] for i in range(count)])


def test_shapes_ranges_and_levels(picture: Tensor) -> None:
    config = SecondOrder()
    for height, width, scale in ((64, 80, 4), (24, 36, 4), (26, 24, 2), (25, 31, 1), (24, 48, 8)):
        images = batch(picture, 3, height, width)
        out = config.apply(images, config.draw(Keys(0, torch.arange(3)), height, width, scale))
        assert out.shape == (3, 3, height // scale, width // scale)
        assert torch.equal(out, (out * 255).round() / 255)
        assert out.min() >= 0
        assert out.max() <= 1


def test_replay_is_equal(picture: Tensor) -> None:
    config, images = SecondOrder(), batch(picture, 4)
    recipe = config.draw(Keys(3, torch.arange(4)), 64, 80, 4)
    state = torch.get_rng_state()
    first = config.apply(images, recipe)
    again = config.draw(Keys(3, torch.arange(4)), 64, 80, 4)
    assert torch.equal(first, config.apply(images, again))
    stored = again.load(recipe.as_dict())
    assert torch.equal(first, config.apply(images, stored))
    assert torch.equal(state, torch.get_rng_state())


def test_a_sample_does_not_depend_on_its_batch(picture: Tensor) -> None:
    config, images = SecondOrder(), batch(picture, 6)
    positions = torch.tensor([5, 900, 3, 2**33, 12, 0])
    recipe = config.draw(Keys(1, positions), 64, 80, 4)
    together = config.apply(images, recipe)
    for i in range(6):
        drawn = config.draw(Keys(1, positions[i : i + 1]), 64, 80, 4)
        chosen = recipe.select(i)
        for name, value in drawn.as_dict().items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(chosen.as_dict()[name])), name
        assert torch.equal(config.apply(images[i : i + 1], drawn)[0], together[i])


def test_draws_of_a_part_are_part_of_the_draws() -> None:
    """Bitwise, for parts of many lengths: no sum's order may depend on the batch."""
    config, positions = SecondOrder(), torch.arange(40) * 1_000_003
    whole = config.draw(Keys(3, positions), 64, 64, 4)
    for start, stop in ((0, 1), (7, 9), (3, 16), (20, 37), (39, 40)):
        part = config.draw(Keys(3, positions[start:stop]), 64, 64, 4).as_dict()
        for name, value in whole.select(slice(start, stop)).as_dict().items():
            assert torch.equal(torch.as_tensor(part[name]), torch.as_tensor(value)), name


def test_each_order_has_options_of_its_own() -> None:
    """Options that end in 2 are the second order's, the rest the first's: every option, none of them at its default."""
    ranges = {"blur_sigma": 0.1, "betag_range": 0.6, "betap_range": 0.8, "resize_range": 0.3, "jpeg_range": 40.0}
    ranges |= {"noise_range": 2.0, "poisson_scale_range": 0.7}
    options: dict[str, object] = {}
    for suffix, more in (("", 0.0), ("2", 0.01)):
        options |= {name + suffix: (low + more, low + 1 + more) for name, low in ranges.items()}
        probs = ("noise_prob", "gaussian_noise_prob", "gray_noise_prob", "sinc_prob")
        options |= {name + suffix: 0.1 * i + 0.05 + more for i, name in enumerate(probs)}
        options |= {f"resize_prob{suffix}": (1 + more, 2, 3), f"blur_kernel_size{suffix}": 9 + int(200 * more)}
        options |= {f"kernel_list{suffix}": ("iso", "aniso"), f"kernel_prob{suffix}": (1.0, 2 + more)}
    options |= {"kernel_list2": ("aniso", "iso"), "second_blur_prob": 0.31, "final_sinc_prob": 0.77}
    config = SecondOrder(**options)
    *second, sinc = config.second()
    seen = set()
    for suffix, operations in (("", config.first()), ("2", second)):
        for operation in operations:
            for name in (field.name + suffix for field in fields(operation)):
                if name in options:
                    assert getattr(operation, name.removesuffix("2")) == options[name], name
                    seen.add(name)
    assert (second[0].blur_prob, sinc.final_sinc_prob, sinc.blur_kernel_size) == (0.31, 0.77, 11)
    assert seen == set(options) - {"second_blur_prob", "final_sinc_prob"}


def test_defaults_of_the_first_order_are_those_of_the_operations() -> None:
    """They are written out in the flat surface; `BlurStep` inherits them."""
    assert SecondOrder().first() == (BlurKernels(), Resize(), Noise(), Jpeg())
    step, options = BlurStep(), BlurOptions()
    assert [field.name for field in fields(step)] == ["prob", "type", *(field.name for field in fields(options))]
    assert all(getattr(step, field.name) == getattr(options, field.name) for field in fields(options))


def test_each_stage_has_keys_of_its_own() -> None:
    """The stages' purposes are 0, 1, 2, 4, ..., and none shares its numbers with another."""
    config, keys = SecondOrder(), Keys(7, torch.arange(40))
    recipe = config.draw(keys, 64, 80, 4)
    blur1, resize1, noise1, jpeg1 = config.first()
    blur2, resize2, noise2, jpeg2, sinc = config.second()

    def u(purpose: int) -> Tensor:
        return uniforms(keys, purpose, 12)

    wanted = {
        "blur1": blur1.draw(u(0)),
        "resize1": resize1.draw(u(1), 64, 80),
        "noise1": noise1.draw(u(2)),
        "jpeg1": jpeg1.draw(u(4)),
        "blur2": blur2.draw(u(5)),
        "resize2": resize2.draw(u(6), 16, 20),
        "noise2": noise2.draw(u(7)),
        "jpeg2": jpeg2.draw(u(9)),
        "sinc": sinc.draw(u(11)),
    }
    for stage, drawn in wanted.items():
        for field in fields(drawn):
            assert torch.equal(getattr(getattr(recipe, stage), field.name), getattr(drawn, field.name)), (stage, field)
    assert torch.equal(recipe.resize3.mode, (u(10)[:, 0] * 3).long())
    assert torch.equal(recipe.jpeg_last, u(12)[:, 0] < 0.5)


@pytest.mark.parametrize(("which", "purpose"), [("", 3), ("2", 8)])
def test_each_noise_has_a_field_of_its_own(which: str, purpose: int, picture: Tensor) -> None:
    noisy = {f"noise_prob{which}": 1.0, f"gaussian_noise_prob{which}": 1.0, f"gray_noise_prob{which}": 0.0}
    config = SecondOrder(**NOTHING | noisy | {f"noise_range{which}": (10, 10)})
    images, keys = batch(picture, 2) * 0.5 + 0.25, Keys(7, torch.arange(2))
    added = config.apply(images, config.draw(keys, 64, 80, 1)) - images
    for other in range(16):
        field = normals(keys, other, images[0].numel()).view_as(images)
        likeness = float((added * field).mean() / (added.std() * field.std()))
        assert (likeness > 0.5) == (other == purpose), (other, likeness)


def test_nothing_drawn_is_a_plain_resize(picture: Tensor) -> None:
    config = SecondOrder(**NOTHING)
    images = batch(picture[:1].expand(3, -1, -1), 4)  # gray: JPEG halves the chroma at any quality
    out = config.apply(images, config.draw(Keys(0, torch.arange(4)), 64, 80, 1))
    assert (out - images).abs().max() < 2.1 / 255  # two JPEGs of quality 100


def position_of_dot(image: Tensor) -> Tensor:
    """Centre of mass of what is brighter than the background, (y, x) in pixels from the corner."""
    weight = (image.mean(0) - 0.3).clamp_min(0)
    y, x = (torch.arange(n) + 0.5 for n in weight.shape)
    return torch.stack([(weight.sum(1) * y).sum(), (weight.sum(0) * x).sum()]) / weight.sum()


@pytest.mark.parametrize("geometry", ["aligned", "realesrgan"])
def test_content_stays_in_place(geometry: str) -> None:
    """A dot near the far corner moves by less than half an LQ pixel, unless upstream's geometry is asked for."""
    config = SecondOrder(noise_prob=0.0, noise_prob2=0.0, jpeg_range=(90, 95), jpeg_range2=(90, 95), resize=geometry)
    side, count = 200, 60
    y, x = torch.meshgrid(torch.arange(side) + 0.5, torch.arange(side) + 0.5, indexing="ij")
    dot = torch.exp(-((y - 170) ** 2 + (x - 168) ** 2) / (2 * 12**2))
    images = (0.25 + 0.6 * dot).expand(count, 3, side, side).contiguous()
    out = config.apply(images, config.draw(Keys(0, torch.arange(count)), side, side, 4))
    shift = torch.stack([position_of_dot(image) - torch.tensor([170, 168]) / 4 for image in out])
    assert (shift.abs().max() < 0.5) == (geometry == "aligned")


def test_a_ramp_stays_in_place() -> None:
    """A line fitted away from the borders, which blur bends, is nowhere off by half an LQ pixel's rise.

    A line, since a coarse canvas enlarged by `area` makes stairs.
    """
    config = SecondOrder(noise_prob=0.0, noise_prob2=0.0, jpeg_range=(95, 95), jpeg_range2=(95, 95))
    side, count = 200, 40
    ramp = torch.linspace(0.1, 0.9, side)
    images = torch.cat([ramp.expand(count // 2, 3, side, side), ramp[:, None].expand(count // 2, 3, side, side)])
    out = config.apply(images.contiguous(), config.draw(Keys(0, torch.arange(count)), side, side, 4))
    profiles = torch.cat([out[: count // 2].mean((1, 2)), out[count // 2 :].mean((1, 3))])
    expected = ramp.view(-1, 4).mean(1)
    x = torch.arange(12, 38) - 24.5
    deviation = (profiles - expected)[:, 12:38]
    middle, slope = deviation.mean(1), (deviation * x).sum(1) / x.square().sum()
    rise = expected[1] - expected[0]
    assert (middle.abs() + slope.abs() * 13).max() < 0.5 * rise


def test_shared_draws(picture: Tensor) -> None:
    config = SecondOrder(draws="batch")
    recipe = config.draw(Keys(4, torch.arange(8)), 64, 80, 4).as_dict()
    shared = ["resize1.scale", "resize1.mode", "resize2.scale", "resize2.mode", "resize3.mode", "noise1.kind"]
    shared += ["noise2.kind", "jpeg_last"]
    for name, value in recipe.items():
        if isinstance(value, Tensor) and name not in ("resize1.size", "resize2.size", "resize3.size"):
            distinct = len(value.unique(dim=0))
            if name in shared or name == "resize3.scale":
                assert distinct == 1, name
            elif name in ("noise1.strength", "jpeg1.quality", "blur1.sigma_x", "sinc.omega", "positions"):
                assert distinct > 5, name
    none = [config.draw(Keys(seed, torch.arange(8)), 64, 80, 4).blur2.kind == 7 for seed in range(40)]
    assert {int(kinds.sum()) for kinds in none} == {0, 8}
    assert config.apply(batch(picture, 8, 56, 64), config.draw(Keys(4, torch.arange(8)), 56, 64, 4)).shape[0] == 8


def test_captions_and_dict() -> None:
    recipe = SecondOrder().draw(Keys(0, torch.arange(12)), 64, 80, 4)
    captions = [recipe.caption(i) for i in range(12)]
    assert len(set(captions)) == 12
    assert all(caption.count(" | ") == 2 and "JPEG" in caption and "×0.25" in caption for caption in captions)
    assert isinstance(recipe, SecondOrderRecipe)
    assert len(recipe) == 12
    assert len(recipe.select(slice(2, 5))) == 3
    assert recipe.select(-1).positions.tolist() == recipe.positions[-1:].tolist()
    with pytest.raises(ValueError, match=r"jpeg_last"):
        recipe.load({k: v for k, v in recipe.as_dict().items() if k != "jpeg_last"})


@pytest.mark.parametrize("bands", [1, 2, 4, 6, 16])
def test_any_number_of_bands(bands: int, picture: Tensor) -> None:
    image = picture[:1, :48, :64].repeat(bands, 1, 1) * torch.linspace(1, 0.5, bands)[:, None, None]
    config = SecondOrder()
    recipe = config.draw(Keys(0, torch.arange(3)), 48, 64, 4)
    assert config.apply(image.expand(3, -1, -1, -1), recipe).shape == (3, bands, 12, 16)
    upstream = SecondOrder(jpeg="realesrgan")
    with pytest.raises(ValueError, match="3 bands"):
        upstream.apply(image.expand(3, -1, -1, -1), upstream.draw(Keys(0, torch.arange(3)), 48, 64, 4))


def test_mistakes_are_named(picture: Tensor) -> None:
    config = SecondOrder()
    with pytest.raises(ValueError, match="multiples of the scale 4, got 62x80"):
        config.draw(Keys(0, torch.arange(1)), 62, 80, 4)
    recipe = config.draw(Keys(0, torch.arange(2)), 64, 80, 4)
    with pytest.raises(ValueError, match="2 images of 64x80, got 3 of 64x80"):
        config.apply(batch(picture, 3), recipe)
    with pytest.raises(ValueError, match="second_blur_prob"):
        SecondOrder(second_blur_prob=-0.1)
    with pytest.raises(ValueError, match=r"noise_range .*options ending in '2'"):
        SecondOrder(noise_range2=(5, 1))
