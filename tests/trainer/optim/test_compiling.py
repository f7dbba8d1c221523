"""torch.compile: the same training, the same names, an average that is plain PyTorch, and no compiling twice."""

import copy
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.driving import Driver
from tests.trainer.losses.test_losses_perceptual import tiny_vgg
from trainer.adversarial.phases import Phase
from trainer.building.accelerator import make_accelerator
from trainer.building.objective import feature_networks
from trainer.config.schema import RunConfig
from trainer.experiment import Experiment
from trainer.lifecycle.assemble import assemble
from trainer.losses import FeatureMatching, LossesConfig
from trainer.losses.adversarial import AdversarialLoss
from trainer.losses.feature_matching import FeatureRecorder
from trainer.mistakes import Mistake
from trainer.networks import (
    GeneratorConfig,
    PatchDiscriminator,
    RRDBNetConfig,
    ShuffleRRDBNetConfig,
    SRResNetConfig,
    SRVGGNetCompactConfig,
    StochasticSRResNetConfig,
)
from trainer.objective import Objective, Targets
from trainer.optim.compiling import COST, check_compiler, compile_in_place

pytestmark = [  # dynamo's and inductor's own
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning"),
]

QUICK = "aot_eager"  # what dynamo and autograd make of a network, run by PyTorch: all but the code of the kernels
GAME = [
    "adversarial.discriminator={type: UNetDiscriminatorSN, num_feat: 4}",
    "adversarial.pretrain_g_only=true",
    "adversarial.g_pretrain_steps=1",
    "adversarial.net_d_iters=2",
    "adversarial.r1={gamma: 1.0, interval: 3}",
    "generator={type: StochasticSRResNet, n_channels: 8, n_blocks: 2, noise_dim: 4, large_kernel_size: 3}",
]


@pytest.fixture(autouse=True)
def _forgotten() -> Iterator[None]:
    yield
    torch._dynamo.reset()


@pytest.fixture
def build(tiny: Callable[..., RunConfig], fresh_accelerate: Any) -> Callable[..., Experiment]:  # noqa: ARG001
    """An experiment from the tiny configuration, without pool and validation."""

    def make(*overrides: str) -> Experiment:
        config = tiny("validation=null", "telemetry.report_to=none", "queue_size=0", *overrides)
        return assemble(config, make_accelerator(config))

    return make


def train(x: Experiment, driver: Driver, steps: int) -> None:
    for _ in range(steps):
        for learner in x.state.learners.values():
            learner.set_rate(10, 20)  # past the warm-up
        driver.step()


def weights(x: Experiment) -> dict[str, Tensor]:
    parts = x.state.parts()
    return {f"{name}.{key}": value.clone() for name in ("generator", "generator_ema", "discriminator") if name in parts
            for key, value in parts[name].items()}  # fmt: skip


@pytest.mark.parametrize(("precision", "tolerance"), [("no", 1e-6), ("bf16", 2e-3)])
def test_every_phase_is_compiled_once_and_trains_as_without(
    build: Callable[..., Experiment], precision: str, tolerance: float, tmp_path: Path
) -> None:
    torch.save(tiny_vgg("conv1_2"), tmp_path / "vgg.pth")
    loss = f"losses.perceptual={{type: vgg, weights: '{tmp_path}/vgg.pth', layer_weights: {{conv1_2: 1.0}}}}"
    plain = build(*GAME, loss, f"mixed_precision={precision}")
    train(plain, Driver(plain), 8)
    x = build(*GAME, loss, f"mixed_precision={precision}")
    features = feature_networks(x.model.objective)
    assert len(features) == 1
    for net in (*(learner.net for learner in x.state.learners.values()), *features):
        compile_in_place(net, QUICK)
    torch._dynamo.utils.counters.clear()
    driver = Driver(x)
    train(x, driver, 4)  # pretraining, R1 without the generator, both players
    # blocks, what follows them and both uses of VGG19 with and without gradients, the discriminator frozen and not
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] <= 8
    with torch.compiler.set_stance("fail_on_recompile"):
        train(x, driver, 4)
    ours, theirs = weights(x), weights(plain)
    assert ours.keys() == theirs.keys()  # no `_orig_mod.`
    for name, value in theirs.items():
        torch.testing.assert_close(ours[name], value, rtol=0, atol=tolerance, msg=name)


def test_the_average_is_not_compiled(build: Callable[..., Experiment]) -> None:
    x = build(GAME[-1])
    compile_in_place(x.model.generator.net, QUICK)
    train(x, Driver(x), 1)
    compiled = [part for part in x.model.generator.net.modules() if part._compiled_call_impl]
    assert [type(part).__name__ for part in compiled] == ["NoiseBlock", "NoiseBlock"]
    assert not any(part._compiled_call_impl for part in x.state.ema.ema_model.modules())


@pytest.mark.parametrize(
    ("config", "parts"),
    [
        (RRDBNetConfig(num_feat=4, num_block=3, num_grow_ch=2), 3),
        (ShuffleRRDBNetConfig(n_channels=4, n_blocks=3, growth_channels=2), 3),
        (SRResNetConfig(n_channels=4, n_blocks=3, block_type="rcab"), 3),
        (StochasticSRResNetConfig(n_channels=4, n_blocks=3, noise_dim=2), 3),
        (SRVGGNetCompactConfig(init="torch", num_feat=4, num_conv=3), 1),
    ],
    ids=lambda value: getattr(value, "type", None),
)
def test_repeated_blocks_are_compiled_once_for_them_all(config: GeneratorConfig, parts: int, tmp_path: Path) -> None:
    net, picture = config.build(2, bands=3), torch.rand(1, 3, 8, 8)
    wanted = net(picture)
    compile_in_place(net, QUICK)
    assert sum(part._compiled_call_impl is not None for part in net.modules()) == parts
    torch._dynamo.utils.counters.clear()
    torch.testing.assert_close(net(picture), wanted)
    net.save_config(tmp_path)  # as every checkpoint does
    torch.testing.assert_close(net(picture), wanted)
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] == (2 if parts > 1 else 1)  # and what follows


def test_a_compiled_discriminator_gives_the_features_that_a_loss_compares() -> None:
    """Its own step, without a recording, comes first in some phases."""
    result, target, net = torch.rand(2, 3, 16, 16), torch.rand(2, 3, 16, 16), PatchDiscriminator(num_feat=4, n_blocks=1)
    losses = LossesConfig(feature_matching=FeatureMatching())
    game = Phase(pretrain=False, train_generator=True, train_discriminator=True, adversarial=1.0)
    objective = Objective(losses, adversarial=AdversarialLoss(), features=FeatureRecorder(net, ()))

    def terms() -> list[Tensor]:
        net.requires_grad_(True)(target).sum().backward()
        net.requires_grad_(False)
        shown = result.clone().requires_grad_()
        found = objective.generator(shown, Targets(target, target, target), game, net)
        found["feature_matching"].value.backward()
        assert shown.grad is not None
        return [term.value.detach() for term in found.values()] + [shown.grad]

    wanted = terms()
    compile_in_place(net, QUICK)
    torch.testing.assert_close(terms(), wanted)
    with torch.compiler.set_stance("fail_on_recompile"):
        torch.testing.assert_close(terms(), wanted)


def test_the_setting_compiles(build: Callable[..., Experiment]) -> None:
    """With the real compiler, which takes its time: one step of a generator of two convolutions."""
    try:
        check_compiler(torch.device("cpu"))
    except Mistake as mistake:
        pytest.skip(str(mistake))
    ends = []
    for setting in ("false", "true"):
        x = build(f"compile={setting}", "generator.num_conv=0", "generator.num_feat=4")
        assert (COST in x.notes) == (setting == "true")
        train(x, Driver(x), 1)
        ends.append(weights(x))
    assert ends[0].keys() == ends[1].keys()
    for name, value in ends[0].items():
        torch.testing.assert_close(ends[1][name], value, rtol=0, atol=1e-6, msg=name)


def test_a_machine_that_cannot_compile_is_a_mistake() -> None:
    from torch._inductor import config
    from torch._inductor.utils import fresh_cache

    with (
        config.patch({"cpp.cxx": (None, "/no/compiler")}),
        fresh_cache(),
        pytest.raises(Mistake, match=r"compile: got true, but torch\.compile does not work here: .*C\+\+ compiler"),
    ):
        check_compiler(torch.device("cpu"))


def test_a_module_without_repeated_blocks_is_compiled_whole() -> None:
    net = nn.Sequential(nn.Conv2d(3, 3, 1), nn.ReLU())
    compile_in_place(net, QUICK)
    assert net._compiled_call_impl is not None
    assert list(net.state_dict()) == ["0.weight", "0.bias"]


def test_a_copy_of_a_compiled_network_computes_with_its_own_weights() -> None:
    net, picture = RRDBNetConfig(num_feat=4, num_block=2, num_grow_ch=2).build(2, bands=3), torch.rand(1, 3, 8, 8)
    compile_in_place(net, QUICK)
    copied = copy.deepcopy(net)
    with torch.no_grad():
        for parameter in copied.parameters():
            parameter.zero_()
        assert not copied(picture).any()
        assert net(picture).any()
