"""The generators: upstream's sizes and names, every scale they can do, and a start at the input."""

import math
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from degradations.keyed_random import Keys
from trainer.building.learners import notes_on_statistics
from trainer.networks import (
    DiscriminatorConfig,
    GeneratorConfig,
    RRDBNet,
    RRDBNetConfig,
    SRVGGNetCompact,
    SRVGGNetCompactConfig,
)
from trainer.networks.layers.noise import noise_inputs

WEIGHTS = Path(__file__).parents[3].parent / "shared" / "data" / "weights"


def parameters(net: torch.nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("config", "scale", "wanted"),
    [
        (RRDBNetConfig(), 4, 16_697_987),
        (RRDBNetConfig(), 2, 16_703_171),
        (RRDBNetConfig(), 1, 16_723_907),
        (RRDBNetConfig(num_block=6), 4, 4_467_779),
        (SRVGGNetCompactConfig(init="torch"), 4, 621_424),
        (SRVGGNetCompactConfig(init="torch", num_conv=32), 4, 1_213_296),
    ],
)
def test_parameter_counts_are_upstreams(config: RRDBNetConfig | SRVGGNetCompactConfig, scale: int, wanted: int) -> None:
    with torch.device("meta"):  # counting needs no 16 million random weights
        assert parameters(config.build(scale, bands=3)) == wanted


@pytest.mark.parametrize("bands", [1, 4, 6])
@pytest.mark.parametrize(
    ("config", "scale"),
    [(RRDBNetConfig(num_block=1, num_feat=8, num_grow_ch=4), scale) for scale in (1, 2, 4)]
    + [(SRVGGNetCompactConfig(init="torch", num_conv=1, num_feat=8), scale) for scale in (1, 2, 3, 4, 8)],
)
def test_every_scale_has_its_shape(config: RRDBNetConfig | SRVGGNetCompactConfig, scale: int, bands: int) -> None:
    side = 2 * config.input_multiple(scale)
    result = config.build(scale, bands)(torch.rand(2, bands, side, 2 * side))
    assert result.shape == (2, bands, scale * side, 2 * scale * side)


@pytest.mark.parametrize(
    ("config", "scale"), [(RRDBNetConfig(), 3), (RRDBNetConfig(), 8), (SRVGGNetCompactConfig(init="torch"), 5)]
)
def test_other_scales_are_refused(config: RRDBNetConfig | SRVGGNetCompactConfig, scale: int) -> None:
    assert scale not in config.scales
    with pytest.raises(ValueError, match=f"not by {scale}$"):
        config.build(scale, bands=3)


def test_an_input_that_does_not_divide_is_named() -> None:
    net = RRDBNetConfig(num_block=1, num_feat=8, num_grow_ch=4).build(1, bands=3)
    with pytest.raises(ValueError, match="an input of 8x10 does not divide by 4, as RRDBNet x1 needs"):
        net(torch.rand(1, 3, 8, 10))


def test_rrdbnet_has_upstreams_names() -> None:
    names = RRDBNetConfig(num_block=2).build(4, bands=3).state_dict().keys()
    assert len(names) == 2 * (6 + 2 * 15)
    assert {"conv_first.weight", "body.1.rdb3.conv5.bias", "conv_body.weight", "conv_up1.bias", "conv_last.weight"} <= {
        *names
    }


def test_srvgg_has_upstreams_names() -> None:
    names = list(SRVGGNetCompactConfig(init="torch", num_conv=1).build(4, bands=3).state_dict())
    wanted = ["0.weight", "0.bias", "1.weight", "2.weight", "2.bias", "3.weight", "4.weight", "4.bias"]
    assert names == [f"body.{name}" for name in wanted]


@pytest.mark.parametrize(
    ("config", "kind"),
    [
        (RRDBNetConfig(num_block=1, num_feat=8, num_grow_ch=4), RRDBNet),
        (SRVGGNetCompactConfig(num_conv=2, num_feat=8, init="residual"), SRVGGNetCompact),
    ],
)
def test_what_is_saved_comes_back_bitwise(
    config: RRDBNetConfig | SRVGGNetCompactConfig, kind: type[RRDBNet | SRVGGNetCompact], tmp_path: Path
) -> None:
    net = config.build(2, bands=3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.rand_like(parameter))  # no initialisation could bring these back
    net.save_pretrained(tmp_path)
    again = kind.from_pretrained(tmp_path)
    assert again.config.scale == 2
    for name, value in net.state_dict().items():
        assert torch.equal(again.state_dict()[name], value), name
    picture = torch.rand(1, 3, 8, 8)
    assert torch.equal(again(picture), net(picture))


@pytest.mark.parametrize(
    ("file", "config"),
    [
        ("realesr-animevideov3.fromncnn.pth", SRVGGNetCompactConfig(init="torch")),
        ("realesr-general-x4v3.fromncnn.pth", SRVGGNetCompactConfig(init="torch", num_conv=32)),
        ("RealESRGAN_x4plus_anime_6B.fromncnn.pth", RRDBNetConfig(num_block=6)),
    ],
)
def test_released_weights_load_with_all_keys(file: str, config: RRDBNetConfig | SRVGGNetCompactConfig) -> None:
    if not (WEIGHTS / file).exists():
        pytest.skip(f"no {file} in the shared folder")
    net = config.build(4, bands=3)
    net.load_state_dict(torch.load(WEIGHTS / file, weights_only=True)["params"], strict=True)
    ramp = torch.linspace(0.2, 0.8, 24).expand(1, 3, 24, 24)
    with torch.no_grad():
        result = net(ramp)
    plain = F.interpolate(ramp, scale_factor=4, mode="bilinear")
    assert (result - plain)[..., 8:-8, 8:-8].abs().mean() < 0.05  # weights in the wrong places would make noise


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_a_residual_start_is_the_nearest_upsampled_input_exactly(scale: int) -> None:
    net = SRVGGNetCompactConfig(num_feat=8, num_conv=2, init="residual").build(scale, bands=3)
    picture = torch.rand(2, 3, 5, 7)
    assert torch.equal(net(picture), picture.repeat_interleave(scale, 2).repeat_interleave(scale, 3))


def test_a_residual_start_keeps_the_variance_of_its_features() -> None:
    """Upstream's start loses two thirds of it at each layer, and so learns later."""
    torch.manual_seed(0)
    picture = torch.randn(4, 3, 32, 32)
    spread = {}
    for init in ("torch", "residual"):
        net = SRVGGNetCompactConfig(num_conv=8, init=init).build(4, bands=3)  # type: ignore[arg-type]
        features = picture
        for layer in list(net.body)[:-1]:
            features = layer(features)
        spread[init] = features.var().item()
    assert spread["residual"] > 0.3
    assert spread["torch"] < 0.01


OURS: list[type[Any]] = [
    config
    for config in (*get_args(GeneratorConfig), *get_args(DiscriminatorConfig))
    if config.__name__.partition("GeneratorConfig")[0].partition("DiscriminatorConfig")[0]
    not in ("Imported", "Given", "Spandrel")
]


def smallest(config: type[Any]) -> dict[str, int]:
    """Sections with the least value of each size."""
    return {size.name: 0 if size.name == "num_conv" else 1 for size in fields(config) if size.type is int}


@pytest.mark.parametrize("config", OURS)
def test_sizes_that_make_no_network_are_refused(config: type[Any]) -> None:
    assert smallest(config)
    for key, least in smallest(config).items():
        for size in (least - 1, -7):
            with pytest.raises(ValueError, match=rf"^{key}: got {size}; must be at least {least}$"):
                config(**{key: size})


@pytest.mark.parametrize("config", OURS)
def test_the_smallest_sizes_make_one(config: type[Any]) -> None:
    sizes = smallest(config)
    if config in get_args(GeneratorConfig):
        net = config(**sizes).build(4, bands=3)
        keys = Keys(0, torch.arange(1))
        assert net(torch.rand(1, 3, 8, 8), *noise_inputs(net, keys)).shape == (1, 3, 32, 32)
    else:
        assert config(**sizes).build(128, bands=3)(torch.rand(2, 3, 128, 128)).isfinite().all()


def test_statistics_that_processes_do_not_share_are_told() -> None:
    kept = nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3))
    assert [note.partition(":")[0] for note in notes_on_statistics(kept, 2)] == ["generator"]
    assert notes_on_statistics(kept, 1) == []
    assert notes_on_statistics(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), 2) == []


def test_a_fresh_dense_block_is_nearly_the_identity() -> None:
    """ESRGAN's initialisation: a tenth of He's, biases 0."""
    torch.manual_seed(0)
    block = RRDBNetConfig(num_block=1).build(4, bands=3).body[0].rdb1
    for number in range(1, 6):
        conv = getattr(block, f"conv{number}")
        wanted = 0.1 * math.sqrt(2 / (9 * conv.in_channels))
        assert conv.weight.std().item() == pytest.approx(wanted, rel=0.03)
        assert not conv.bias.any()
