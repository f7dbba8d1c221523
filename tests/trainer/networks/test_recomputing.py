"""Gradient checkpointing: the gradients are those without it, and less is stored."""

import pytest
import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from degradations.keyed_random import Keys
from tests.trainer.networks.test_keyed_rng import DropPath
from trainer.networks import (
    GivenNetwork,
    RRDBNetConfig,
    ShuffleRRDBNetConfig,
    SRResNetConfig,
    SRVGGNetCompactConfig,
    StochasticSRResNetConfig,
)
from trainer.networks.keyed_masks import KeyedMasks
from trainer.networks.layers.noise import noise_inputs
from trainer.networks.layers.recomputing import repeated_blocks
from trainer.networks.network import Network


class Block(nn.Module):
    """A residual block with stochastic depth and Dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(8, 8, 3, 1, 1), nn.GELU(), nn.Conv2d(8, 8, 3, 1, 1), nn.Dropout(0.2))
        self.path = DropPath(0.5)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.path(self.body(x))


class Deep(nn.Module):
    """A foreign network of six such blocks."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.tail = nn.Conv2d(3, 8, 3, 1, 1), nn.Conv2d(8, 3, 3, 1, 1)
        self.blocks = nn.ModuleList(Block() for _ in range(6))

    def forward(self, x: Tensor) -> Tensor:
        x = self.head(x)
        for block in self.blocks:
            x = block(x)
        out: Tensor = self.tail(x)
        return out


NETWORKS = {
    "RRDBNet": lambda: RRDBNetConfig(num_feat=8, num_block=3, num_grow_ch=4).build(4, 3),
    "ShuffleRRDBNet": lambda: ShuffleRRDBNetConfig(n_channels=8, n_blocks=3, growth_channels=4).build(4, 3),
    "SRResNet": lambda: SRResNetConfig(n_channels=8, n_blocks=3).build(4, 3),
    "StochasticSRResNet": lambda: StochasticSRResNetConfig(n_channels=8, n_blocks=3, noise_dim=4).build(4, 3),
    "foreign": lambda: GivenNetwork(Deep()),
}


def stored_and_gradients(net: Network, noise: tuple[Tensor, ...]) -> tuple[int, list[Tensor]]:
    """Bytes that the forward pass keeps for the backward one, beside the weights, and the gradients."""
    own = {p.data_ptr() for p in net.parameters()}
    kept: list[int] = []

    def pack(x: Tensor) -> Tensor:
        if x.data_ptr() not in own:
            kept.append(x.numel() * x.element_size())
        return x

    net.train().zero_grad()
    torch.manual_seed(0)
    x = torch.rand(2, 3, 12, 12)
    with saved_tensors_hooks(pack, lambda x: x):
        out = net(x, *noise)
    out.square().mean().backward()
    return sum(kept), [p.grad.clone() for p in net.parameters() if p.grad is not None]


@pytest.mark.parametrize("name", NETWORKS)
def test_gradients_are_the_same_and_less_is_stored(name: str) -> None:
    torch.manual_seed(1)
    net = NETWORKS[name]()
    noise = noise_inputs(net, Keys(0, torch.arange(2)))
    KeyedMasks(net, 0, "generator").place(torch.arange(2))
    names = list(net.state_dict())
    plain, expected = stored_and_gradients(net, noise)
    net.enable_gradient_checkpointing()
    less, gradients = stored_and_gradients(net, noise)
    assert list(net.state_dict()) == names
    assert less < 0.95 * plain, (less, plain)  # of so few blocks: the upsampling is most of it
    for gradient, wanted in zip(gradients, expected, strict=True):
        assert torch.equal(gradient, wanted)
    net.disable_gradient_checkpointing()
    assert stored_and_gradients(net, noise)[0] == plain


def test_what_has_no_blocks_is_refused() -> None:
    net = SRVGGNetCompactConfig(num_feat=8, num_conv=4).build(4, 3)
    with pytest.raises(
        ValueError, match=r"^SRVGGNetCompact has no repeated blocks without BatchNorm to compute again$"
    ):
        net.enable_gradient_checkpointing()
    normed = nn.ModuleList(nn.Sequential(nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)) for _ in range(3))
    assert list(repeated_blocks(normed)) == []


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")  # dynamo's own
@pytest.mark.filterwarnings("ignore:.*autograd.*Function.* should not be instantiated:DeprecationWarning")
def test_compiled_too() -> None:
    torch.manual_seed(1)
    net = NETWORKS["RRDBNet"]()
    _, expected = stored_and_gradients(net, ())
    net.enable_gradient_checkpointing()
    for block in repeated_blocks(net):
        block.compile(dynamic=False, backend="aot_eager")
    _, gradients = stored_and_gradients(net, ())
    for gradient, wanted in zip(gradients, expected, strict=True):
        torch.testing.assert_close(gradient, wanted)
