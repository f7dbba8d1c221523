"""The discriminators: upstream's sizes and names, the patches they accept, and state that only a step changes."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.networks import (
    DiscriminatorConfig,
    ImportedDiscriminatorConfig,
    PatchDiscriminatorConfig,
    SRGANDiscriminatorConfig,
    UNetDiscriminatorSN,
    UNetDiscriminatorSNConfig,
    VGGStyleDiscriminatorConfig,
)
from trainer.networks.layers.spectral_norm import SpectralConv2d, SpectralLinear, advance

SMALL: list[DiscriminatorConfig] = [
    UNetDiscriminatorSNConfig(num_feat=4),
    UNetDiscriminatorSNConfig(num_feat=4, skip_connection=False),
    PatchDiscriminatorConfig(num_feat=4, n_blocks=2),
    PatchDiscriminatorConfig(num_feat=4, n_blocks=2, norm="none", use_spectral_norm=True),
    SRGANDiscriminatorConfig(num_feat=4, n_blocks=4, linear_size=8),
    SRGANDiscriminatorConfig(num_feat=4, n_blocks=3, linear_size=8, norm="none", use_spectral_norm=True),
    SRGANDiscriminatorConfig(num_feat=4, n_blocks=4, linear_size=8, norm="batch"),
    VGGStyleDiscriminatorConfig(num_feat=2),
]


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("config", "bands", "wanted"),
    [
        (UNetDiscriminatorSNConfig(), 3, 4_376_897),
        (VGGStyleDiscriminatorConfig(), 3, 14_499_401),
        (PatchDiscriminatorConfig(), 4, 2_765_761),
        (PatchDiscriminatorConfig(n_blocks=4), 4, 6_960_577),
        (SRGANDiscriminatorConfig(norm="batch"), 4, 23_566_081),
    ],
)
def test_parameter_counts_are_those_of_the_founding_systems(
    config: DiscriminatorConfig, bands: int, wanted: int
) -> None:
    with torch.device("meta"):  # counting needs no 23 million random weights
        assert parameters(config.build(128, bands)) == wanted


@pytest.mark.parametrize("bands", [1, 3, 4, 6])
@pytest.mark.parametrize("config", SMALL, ids=lambda config: type(config).__name__)
def test_any_number_of_bands_gives_finite_logits_and_gradients(config: DiscriminatorConfig, bands: int) -> None:
    net = config.build(128, bands)
    pictures = torch.rand(2, bands, 128, 128, requires_grad=True)
    logits = net(pictures)
    assert logits.shape[0] == 2
    logits.square().mean().backward()
    for gradient in (pictures.grad, *(parameter.grad for parameter in net.parameters())):
        assert gradient is not None
        assert gradient.isfinite().all()


@pytest.mark.parametrize(
    ("config", "size", "wanted"),
    [
        (UNetDiscriminatorSNConfig(num_feat=2), (64, 72), (1, 1, 64, 72)),
        (PatchDiscriminatorConfig(num_feat=2), (128, 128), (1, 1, 14, 14)),
        (PatchDiscriminatorConfig(num_feat=2, n_blocks=4), (128, 128), (1, 1, 6, 6)),
        (PatchDiscriminatorConfig(num_feat=2, n_blocks=2), (12, 12), (1, 1, 1, 1)),
        (SRGANDiscriminatorConfig(num_feat=2, n_blocks=2, linear_size=4), (40, 56), (1, 1)),
        (VGGStyleDiscriminatorConfig(num_feat=2), (128, 128), (1, 1)),
    ],
)
def test_logits_have_the_documented_shape(
    config: DiscriminatorConfig, size: tuple[int, int], wanted: tuple[int, ...]
) -> None:
    assert config.build(size[0], bands=3)(torch.rand(1, 3, *size)).shape == wanted


@pytest.mark.parametrize(
    ("config", "gt_size", "sentence"),
    [
        (UNetDiscriminatorSNConfig(), 100, "got 100; must be a multiple of 8 for UNetDiscriminatorSN: 96 or 104"),
        (UNetDiscriminatorSNConfig(), 4, "got 4; must be a multiple of 8 for UNetDiscriminatorSN: 8 or 16"),
        (PatchDiscriminatorConfig(n_blocks=8), 128, "must be at least 768 for PatchDiscriminator with n_blocks 8"),
        (SRGANDiscriminatorConfig(), 16, "must be at least 17 for SRGANDiscriminator with n_blocks 8"),
        (VGGStyleDiscriminatorConfig(), 192, "got 192; must be 128 or 256 for VGGStyleDiscriminator"),
    ],
)
def test_a_size_that_cannot_be_judged_is_refused(config: DiscriminatorConfig, gt_size: int, sentence: str) -> None:
    assert sentence in str(config.problem(gt_size))
    with pytest.raises(ValueError, match=sentence):
        config.build(gt_size, bands=3)


@pytest.mark.parametrize(
    ("config", "gt_size"),
    [
        (SRGANDiscriminatorConfig(num_feat=2, linear_size=4), 17),
        (PatchDiscriminatorConfig(num_feat=2), 24),
        (UNetDiscriminatorSNConfig(num_feat=2), 8),
    ],
)
def test_the_smallest_size_named_is_judged(config: DiscriminatorConfig, gt_size: int) -> None:
    assert config.problem(gt_size) is None
    assert config.build(gt_size, bands=3)(torch.rand(1, 3, gt_size, gt_size)).isfinite().all()


def test_a_picture_that_does_not_divide_is_named() -> None:
    net = UNetDiscriminatorSNConfig(num_feat=2).build(64, bands=3)
    with pytest.raises(ValueError, match="a picture of 64x60 does not divide by 8, as UNetDiscriminatorSN needs"):
        net(torch.rand(1, 3, 64, 60))
    vgg = VGGStyleDiscriminatorConfig(num_feat=2).build(128, bands=3)
    with pytest.raises(ValueError, match="judges 128x128, not 64x64"):
        vgg(torch.rand(1, 3, 64, 64))


def test_the_unet_has_upstreams_names() -> None:
    wanted = [f"conv{i}.{part}" for i in range(1, 9) for part in ("weight_orig", "weight_u", "weight_v")]
    wanted += [f"conv{i}.{part}" for i in (0, 9) for part in ("weight", "bias")]
    assert sorted(UNetDiscriminatorSN().state_dict()) == sorted(wanted)


def test_the_vgg_style_has_upstreams_names() -> None:
    names = list(VGGStyleDiscriminatorConfig(num_feat=2).build(256, bands=3).state_dict())
    assert names[:4] == ["conv0_0.weight", "conv0_0.bias", "conv0_1.weight", "bn0_1.weight"]
    assert {"bn5_1.running_mean", "bn5_1.num_batches_tracked", "linear1.weight", "linear2.bias"} <= {*names}
    assert "bn0_0.weight" not in names


@pytest.mark.parametrize(
    ("make", "plain"),
    [
        (lambda: SpectralConv2d(3, 5, 4, 2, 1), lambda: nn.Conv2d(3, 5, 4, 2, 1)),
        (lambda: SpectralLinear(8, 5), lambda: nn.Linear(8, 5)),
    ],
)
def test_an_advance_and_a_forward_are_torchs_training_forward(
    make: Callable[[], SpectralConv2d | SpectralLinear], plain: Callable[[], nn.Conv2d | nn.Linear]
) -> None:
    ours, theirs = make(), nn.utils.spectral_norm(plain())
    ours.load_state_dict(theirs.state_dict())  # strict: the names agree
    x = torch.rand(2, 3, 8, 8)
    for _ in range(3):
        wanted = theirs(x)
        ours.advance()
        torch.testing.assert_close(ours(x), wanted, rtol=0, atol=1e-6)
    ours(x).square().sum().backward()
    theirs.eval()(x).square().sum().backward()  # in this mode the hook does not change its vectors
    assert ours.weight_orig.grad is not None
    torch.testing.assert_close(ours.weight_orig.grad, theirs.weight_orig.grad)


def test_iterations_find_the_largest_singular_value() -> None:
    torch.manual_seed(0)
    layer = SpectralConv2d(4, 6, 3)
    for _ in range(200):
        layer.advance()
    assert torch.linalg.matrix_norm(layer.normalised().flatten(1), 2).item() == pytest.approx(1, abs=1e-4)


def states(net: nn.Module) -> list[Tensor]:
    return [value.clone() for value in net.state_dict().values()]


@pytest.mark.parametrize("config", SMALL, ids=lambda config: type(config).__name__)
def test_forwards_in_either_mode_leave_the_state_alone(config: DiscriminatorConfig) -> None:
    """So the state is the same on all ranks for any number of forwards."""
    net = config.build(128, bands=3)
    before, picture = states(net), torch.rand(2, 3, 128, 128)
    results = [net.train(mode)(picture) for mode in (True, False, True)]
    assert all(torch.equal(one, two) for one, two in zip(before, states(net), strict=True))
    assert torch.equal(results[0], results[1])
    assert torch.equal(results[0], results[2])


def test_advance_moves_every_pair_of_vectors_and_nothing_else() -> None:
    net = UNetDiscriminatorSN(num_feat=4)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    advance(net)
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]) != name.endswith(("_u", "_v")), name


def test_logits_under_autocast_are_near_those_of_float32() -> None:
    torch.manual_seed(0)
    net, pictures = UNetDiscriminatorSN(num_feat=4), torch.rand(1, 3, 32, 32)
    for _ in range(5):
        advance(net)
    with torch.autocast("cpu", torch.bfloat16):
        logits = net(pictures)
        assert net.conv1.normalised().dtype == torch.float32  # sigma is not rounded to 8 bits
    assert logits.dtype == torch.bfloat16
    assert (logits.float() - net(pictures)).abs().max() < 0.02
    logits.float().mean().backward()
    assert all(parameter.grad.isfinite().all() for parameter in net.parameters())


def test_the_update_does_not_depend_on_how_a_batch_is_divided() -> None:
    torch.manual_seed(0)
    start, pictures = UNetDiscriminatorSN(num_feat=4).state_dict(), torch.rand(4, 3, 16, 16)
    ends = []
    for micro_batches in (1, 2, 4):
        net = UNetDiscriminatorSN(num_feat=4)
        net.load_state_dict(start)
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for _ in range(3):
            advance(net)
            for part in pictures.chunk(micro_batches):
                (net(part).square().mean() / micro_batches).backward()
            optimizer.step()
            optimizer.zero_grad()
            net(pictures)  # the generator's step
        ends.append(net.state_dict())
    for end in ends[1:]:
        for name, value in end.items():
            torch.testing.assert_close(value, ends[0][name], rtol=1e-4, atol=1e-6)


def test_a_released_file_would_load() -> None:
    """BasicSR saves {"params": state}; the old hook's own state has the same names and shapes."""
    net = UNetDiscriminatorSN(num_feat=4)
    twin = nn.Module()
    for name, layer in net.named_children():
        conv = nn.Conv2d(
            layer.in_channels, layer.out_channels, layer.kernel_size, layer.stride, 1, bias=layer.bias is not None
        )
        twin.add_module(name, nn.utils.spectral_norm(conv) if isinstance(layer, SpectralConv2d) else conv)
    assert net.load_state_dict(twin.state_dict()).missing_keys == []


def test_an_imported_discriminator_is_tried_on_a_patch() -> None:
    path = "trainer.networks.patch_discriminator.PatchDiscriminator"
    config = ImportedDiscriminatorConfig(path=path, arguments={"num_feat": 2}, bands_arguments=("num_in_ch",))
    assert config.problem(64) is None
    assert config.build(64, bands=4)(torch.rand(2, 4, 64, 64)).shape == (2, 1, 6, 6)
    with pytest.raises(ValueError, match="fails on an input of"):
        config.build(8, bands=4)


@pytest.mark.parametrize("skip", [True, False])
def test_the_unets_forward_is_basicsrs(skip: bool) -> None:
    """`discriminator_arch.py` written out: the activation first, then the encoder's features."""
    torch.manual_seed(0)
    net = UNetDiscriminatorSNConfig(num_feat=4, skip_connection=skip).build(16, bands=3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.normal_(0, 0.2)
    for _ in range(9):
        advance(net)

    def conv(number: int, x: Tensor, stride: int = 1) -> Tensor:
        layer = getattr(net, f"conv{number}")
        if number in (0, 9):
            return F.conv2d(x, layer.weight, layer.bias, 1, 1)
        weight = layer.weight_orig
        sigma = layer.weight_u @ weight.flatten(1) @ layer.weight_v
        return F.conv2d(x, weight / sigma, None, stride, 1)

    def active(x: Tensor) -> Tensor:
        return torch.where(x > 0, x, 0.2 * x)

    def doubled(x: Tensor) -> Tensor:
        return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)

    picture = torch.rand(2, 3, 16, 16)
    encoded = [active(conv(0, picture))]
    for number in (1, 2, 3):
        encoded.append(active(conv(number, encoded[-1], 2)))
    x = encoded.pop()
    for number in (4, 5, 6):
        x = active(conv(number, doubled(x))) + (encoded.pop() if skip else 0)
    wanted = conv(9, active(conv(8, active(conv(7, x)))))
    torch.testing.assert_close(net(picture), wanted, rtol=1e-5, atol=1e-5)
