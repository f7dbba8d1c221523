"""The guide's generators: its sizes, every scale, a start without checkerboard, noise that is an input."""

from pathlib import Path

import pytest
import torch
from torch import nn

from degradations.keyed_random import Keys
from trainer.networks import (
    ImportedGeneratorConfig,
    ShuffleRRDBNetConfig,
    SRResNetConfig,
    SRVGGNetCompactConfig,
    StochasticSRResNetConfig,
)
from trainer.networks.layers.icnr import icnr_
from trainer.networks.layers.noise import noise_inputs, standard_noise

Config = SRResNetConfig | StochasticSRResNetConfig | ShuffleRRDBNetConfig
SMALL: list[Config] = [
    *(
        SRResNetConfig(block_type=kind, n_channels=8, n_blocks=1, large_kernel_size=3)  # type: ignore[arg-type]
        for kind in ("res", "rcab", "rrdb", "lka")
    ),
    StochasticSRResNetConfig(n_channels=8, n_blocks=2, noise_dim=4, large_kernel_size=3),
    ShuffleRRDBNetConfig(n_channels=8, n_blocks=1, growth_channels=4),
]


@pytest.mark.parametrize(
    ("config", "scale", "bands", "wanted"),
    [
        (SRResNetConfig(n_channels=96, n_blocks=32), 8, 6, 6_487_530),
        (SRResNetConfig(block_type="rcab", n_channels=96, n_blocks=32), 8, 6, 6_527_658),
        (SRResNetConfig(block_type="rrdb", n_channels=96, n_blocks=32), 8, 6, 35_699_146),
        (SRResNetConfig(block_type="lka", n_channels=96, n_blocks=32), 8, 6, 7_018_986),
        (StochasticSRResNetConfig(n_channels=96), 4, 4, 3_963_095),
        (ShuffleRRDBNetConfig(n_blocks=16), 4, 4, 11_884_742),
        (ShuffleRRDBNetConfig(), 4, 3, 16_919_557),
    ],
)
def test_parameter_counts_are_the_guides(config: Config, scale: int, bands: int, wanted: int) -> None:
    with torch.device("meta"):
        assert sum(p.numel() for p in config.build(scale, bands).parameters()) == wanted


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("config", SMALL, ids=lambda config: getattr(config, "block_type", config.type))
def test_every_scale_has_its_shape_and_finite_gradients(config: Config, scale: int) -> None:
    assert scale in config.scales
    assert config.input_multiple(scale) == 1
    bands = {1: 1, 4: 4, 8: 6}.get(scale, 3)
    net = config.build(scale, bands)
    result = net(torch.rand(2, bands, 5, 7))
    assert result.shape == (2, bands, scale * 5, scale * 7)
    result.square().mean().backward()
    for name, parameter in net.named_parameters():
        assert parameter.grad is not None, name  # DistributedDataParallel refuses parameters without a gradient
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize("config", SMALL, ids=lambda config: getattr(config, "block_type", config.type))
def test_bf16_autocast_is_near_float32(config: Config) -> None:
    torch.manual_seed(0)
    net, picture = config.build(2, bands=3), torch.rand(1, 3, 8, 8)
    with torch.autocast("cpu", torch.bfloat16):
        result = net(picture)
    result.float().mean().backward()
    assert (result.float() - net(picture)).abs().max() < 0.05
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())


@pytest.mark.parametrize("config", SMALL, ids=lambda config: getattr(config, "block_type", config.type))
def test_what_is_saved_comes_back_bitwise(config: Config, tmp_path: Path) -> None:
    net, picture = config.build(2, bands=3), torch.rand(1, 3, 8, 8)
    net.save_pretrained(tmp_path)
    again = type(net).from_pretrained(tmp_path, trust=["trainer.networks"])
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    torch.testing.assert_close(again(picture), net(picture))


@pytest.mark.parametrize("config", SMALL, ids=lambda config: config.type)
def test_other_scales_are_refused(config: Config) -> None:
    with pytest.raises(ValueError, match=r"by 1, 2, 3, 4, 8, not by 5$"):
        config.build(5, bands=3)


def test_even_kernels_are_refused() -> None:
    with pytest.raises(ValueError, match="large_kernel_size: got 8; must be odd"):
        SRResNetConfig(large_kernel_size=8)
    with pytest.raises(ValueError, match="small_kernel_size: got 4; must be odd"):
        StochasticSRResNetConfig(small_kernel_size=4)


@pytest.mark.parametrize("factor", [2, 3])
def test_icnr_makes_blocks_of_one_value(factor: int) -> None:
    conv = nn.Conv2d(4, 5 * factor**2, 3, 1, 1)
    icnr_(conv, factor)
    features = nn.functional.pixel_shuffle(conv(torch.rand(1, 4, 6, 6)), factor)
    corners = features[..., ::factor, ::factor]
    assert torch.equal(features, corners.repeat_interleave(factor, 2).repeat_interleave(factor, 3))
    assert corners.std() > 0.1


def test_icnr_has_he_variance() -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(32, 64 * 4, 3)
    icnr_(conv, 2)
    assert conv.weight.var().item() == pytest.approx(2 / (32 * 9), rel=0.05)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_icnr_serves_srvggs_head_too(scale: int) -> None:
    net, picture = (
        SRVGGNetCompactConfig(num_feat=8, num_conv=1, init="icnr").build(scale, bands=3),
        torch.rand(1, 3, 6, 6),
    )
    result = net(picture)
    corners = result[..., ::scale, ::scale]
    assert torch.equal(result, corners.repeat_interleave(scale, 2).repeat_interleave(scale, 3))
    assert not torch.equal(corners, picture)  # the head has an effect from the start


def test_icnr_refuses_channels_that_do_not_divide() -> None:
    with pytest.raises(ValueError, match="10 channels cannot be shuffled by 2: 4 must divide them"):
        icnr_(nn.Conv2d(3, 10, 3), 2)


@pytest.mark.parametrize("config", [SRResNetConfig, ShuffleRRDBNetConfig, StochasticSRResNetConfig])
@pytest.mark.parametrize("scale", [2, 3, 8])
def test_every_head_starts_under_icnr_unless_told_otherwise(config: type[Config], scale: int) -> None:
    for use_icnr in (True, False):
        net = config(n_channels=8, n_blocks=1, use_icnr=use_icnr).build(scale, bands=3)
        kernels = net.upsampler[0].weight
        group = 9 if scale == 3 else 4
        assert torch.equal(kernels[::group].repeat_interleave(group, 0), kernels) == use_icnr


def test_the_noise_changes_the_picture_and_nothing_is_drawn_inside() -> None:
    net = StochasticSRResNetConfig(n_channels=8, n_blocks=2, noise_dim=4).build(2, bands=3)
    picture, noise = torch.rand(2, 3, 6, 6), torch.randn(2, 4)
    generator = torch.get_rng_state()
    assert torch.equal(net(picture), net(picture, torch.zeros(2, 4)))
    assert torch.equal(net(picture, noise), net(picture, noise))
    assert torch.equal(torch.get_rng_state(), generator)
    assert not torch.equal(net(picture), net(picture, noise))


def test_a_samples_noise_follows_from_its_position() -> None:
    together = standard_noise(Keys(7, torch.arange(4)), 128)
    apart = torch.cat([standard_noise(Keys(7, torch.tensor([p])), 128) for p in range(4)])
    assert together.shape == (4, 128)
    assert torch.equal(together, apart)
    assert not torch.equal(together, standard_noise(Keys(8, torch.arange(4)), 128))
    assert together.mean().abs() < 0.15
    assert together.std().item() == pytest.approx(1, abs=0.1)


def test_noise_is_for_the_generators_that_take_it() -> None:
    keys = Keys(7, torch.arange(2))
    assert noise_inputs(SRVGGNetCompactConfig(init="torch", num_feat=4, num_conv=1).build(2, bands=3), keys) == ()
    (noise,) = noise_inputs(StochasticSRResNetConfig(n_channels=8, n_blocks=1, noise_dim=4).build(2, bands=3), keys)
    assert torch.equal(noise, standard_noise(keys, 4))


def test_each_picture_has_its_own_noise() -> None:
    net = StochasticSRResNetConfig(n_channels=8, n_blocks=2, noise_dim=4).build(2, bands=3)
    picture, noise = torch.rand(1, 3, 6, 6).expand(2, 3, 6, 6), torch.randn(2, 4)
    both = net(picture, noise)
    torch.testing.assert_close(both[1:], net(picture[1:], noise[1:]))
    assert not torch.allclose(both[0], both[1])


def imported(**changes: object) -> ImportedGeneratorConfig:
    options = {
        "path": "trainer.networks.srvgg.SRVGGNetCompact",
        "arguments": {"num_conv": 1, "num_feat": 4},
        "scales": (2, 4),
        "scale_argument": "scale",
        "bands_arguments": ("num_in_ch", "num_out_ch"),
    }
    return ImportedGeneratorConfig(**{**options, **changes})  # type: ignore[arg-type]


def test_an_imported_module_keeps_its_own_names_and_comes_back(tmp_path: Path) -> None:
    net, picture = imported().build(4, bands=6), torch.rand(1, 6, 5, 5)
    plain = SRVGGNetCompactConfig(init="torch", num_conv=1, num_feat=4).build(4, bands=6)
    assert list(net.state_dict()) == list(plain.state_dict())
    plain.load_state_dict(net.state_dict())
    assert torch.equal(net(picture), plain(picture))
    net.load_state_dict(plain.state_dict())
    net.save_pretrained(tmp_path)
    again = type(net).from_pretrained(tmp_path, trust=["trainer.networks"])
    assert torch.equal(again(picture), net(picture))


def test_an_imported_module_is_left_in_training_mode() -> None:
    assert all(module.training for module in imported().build(2, bands=3).modules())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"path": "SRVGGNetCompact"}, "got 'SRVGGNetCompact'; must be package.module.Class"),
        ({"path": "no_such_package.Net"}, "no_such_package cannot be imported: ModuleNotFoundError"),
        ({"path": "trainer.networks.srvgg.NoNet"}, "the module trainer.networks.srvgg has no NoNet"),
        ({"path": "pathlib.Path"}, "pathlib.Path is no torch.nn.Module"),
        ({"arguments": {"no_such": 1}}, "arguments: trainer.networks.srvgg.SRVGGNetCompact refuses"),
        ({"scales": (4,), "scale_argument": None, "arguments": {"scale": 2}}, "x4 is"),
        ({"bands_arguments": ()}, "fails on an input of"),
        ({"path": "torch.nn.LSTM", "arguments": {"input_size": 4, "hidden_size": 4}, "scale_argument": None,
          "scales": (4,), "bands_arguments": ()}, "fails on an input of"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_imported_module_is_said(changes: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        imported(**changes).build(4, bands=4)


def test_an_import_must_say_what_it_can_do() -> None:
    with pytest.raises(ValueError, match="scale_argument: must be given where scales has several entries"):
        imported(scale_argument=None)
    with pytest.raises(ValueError, match="scales: got"):
        imported(scales=())
    with pytest.raises(ValueError, match="upscales by 2, 4, not by 3"):
        imported().build(3, bands=3)
