"""NHWC in training: our networks' weights and results lie so, files do not, and the numbers are those of NCHW."""

from pathlib import Path

import safetensors.torch
import torch
from accelerate import Accelerator
from torch import nn

from trainer.checkpoints.store import Checkpoints
from trainer.networks import (
    ImportedGeneratorConfig,
    PatchDiscriminatorConfig,
    RRDBNetConfig,
    SRGANDiscriminatorConfig,
    SRResNetConfig,
    SRVGGNetCompactConfig,
    UNetDiscriminatorSNConfig,
    VGGStyleDiscriminatorConfig,
)
from trainer.optim.learner import Learner
from trainer.optim.lr_schedules import Constant
from trainer.optim.optimizers import OptimizerConfig

GENERATORS = [
    RRDBNetConfig(num_feat=8, num_block=1, num_grow_ch=4),
    SRVGGNetCompactConfig(num_feat=8, num_conv=2),
    SRResNetConfig(n_channels=8, n_blocks=1),
]
DISCRIMINATORS = [
    UNetDiscriminatorSNConfig(num_feat=4),
    PatchDiscriminatorConfig(num_feat=4),
    VGGStyleDiscriminatorConfig(num_feat=4),
    SRGANDiscriminatorConfig(num_feat=4),
]


def is_nhwc(x: torch.Tensor) -> bool:
    return x.is_contiguous(memory_format=torch.channels_last)


def trained(net: nn.Module, accelerator: Accelerator, x: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
    """The result, and the gradients, in training. In float64: float32's rounding changes signs before a LeakyReLU."""
    net, x = net.double(), x.double()
    one = Learner(accelerator, net, OptimizerConfig(), Constant())
    out = one.ddp(x.contiguous(memory_format=one.layout))
    out.square().mean().backward()
    return out.detach(), [p.grad for p in net.parameters() if p.grad is not None]


def networks() -> list[tuple[nn.Module, nn.Module, torch.Tensor]]:
    """Each of our networks twice, with an input."""
    found = []
    for build, x in (
        *((lambda config=config: config.build(4, 3), torch.rand(2, 3, 8, 12)) for config in GENERATORS),
        *((lambda config=config: config.build(128, 3), torch.rand(2, 3, 128, 128)) for config in DISCRIMINATORS),
    ):
        pair = []
        for _ in range(2):
            torch.manual_seed(0)
            pair.append(build())
        found.append((*pair, x))
    return found  # type: ignore[return-value]


def test_results_and_gradients_are_those_of_the_other_layout(accelerator: Accelerator) -> None:
    for net, plain, x in networks():
        plain.layout = torch.contiguous_format
        wanted, gradients = trained(plain, accelerator, x)
        found, nhwc_gradients = trained(net, accelerator, x)
        assert all(is_nhwc(p) for p in net.parameters() if p.ndim == 4), type(net)
        assert not all(is_nhwc(p) for p in plain.parameters() if p.ndim == 4), type(net)
        assert found.ndim != 4 or is_nhwc(found), type(net)
        torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-10)
        for one, other in zip(nhwc_gradients, gradients, strict=True):
            assert one.ndim != 4 or is_nhwc(one)
            torch.testing.assert_close(one, other, rtol=1e-7, atol=1e-10)


def test_a_network_of_another_package_stays_as_it_is(accelerator: Accelerator) -> None:
    arguments = {"in_channels": 3, "out_channels": 3, "kernel_size": 3, "padding": 1}
    net = ImportedGeneratorConfig(path="torch.nn.Conv2d", arguments=arguments, scales=(1,)).build(1, 3)
    one = Learner(accelerator, net, OptimizerConfig(), Constant())
    assert one.layout == torch.contiguous_format
    assert net.net.weight.is_contiguous()


def test_files_hold_tensors_as_they_are_read_everywhere(accelerator: Accelerator, tmp_path: Path) -> None:
    net = SRVGGNetCompactConfig(num_feat=8, num_conv=1).build(4, 3)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    one = Learner(accelerator, net, OptimizerConfig(), Constant())
    store = Checkpoints(tmp_path)
    store.begin(1, None)
    store.write(1, 0, {"generator": one.state_dicts("generator")["generator"]})
    (file,) = tmp_path.rglob("generator.safetensors")
    found = safetensors.torch.load_file(file)
    assert found.keys() == before.keys()
    assert all(torch.equal(found[name], value) and found[name].is_contiguous() for name, value in before.items())
