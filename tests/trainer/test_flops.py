"""Operations of a step: the closed form, by phase, and without a trace of the counting."""

from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from tests.program import Doubling, Judge
from trainer.flops import StepFlops
from trainer.lifecycle.throughput import Throughput
from trainer.models import RealESRGANModel, RealESRNetModel
from trainer.optim.compiling import compile_in_place

SIDE, BATCH = 32, 3
GENERATOR = 2 * BATCH * (SIDE // 2) ** 2 * 9 * 3 * 12  # one convolution, of the generator alone
JUDGING = 2 * BATCH * (SIDE - 2) ** 2 * 9 * 3 * 1  # of the discriminator, for a micro-batch
OPTIONS = {
    "name": "counted", "max_train_steps": 10, "scale": 2, "gt_size": SIDE, "queue_size": 0,
    "batch": {"global_size": 2 * BATCH, "per_device": BATCH}, "images": {"source": "photos", "crop_size": SIDE},
    "generator": {"type": "RRDBNet", "num_feat": 4, "num_block": 2, "num_grow_ch": 2},
}  # fmt: skip


def adversarial_model(accelerator: Accelerator, **game: Any) -> RealESRGANModel:
    tree = OPTIONS | {"adversarial": {"discriminator": {"type": "UNetDiscriminatorSN", "num_feat": 4}, **game}}
    return RealESRGANModel(tree, accelerator=accelerator, net_g=Doubling(), net_d=Judge())


def test_convolutions_are_counted_forward_and_backward_over_all_micro_batches(accelerator: Accelerator) -> None:
    model = RealESRNetModel(OPTIONS, accelerator=accelerator, net_g=Doubling())
    flops = StepFlops(model)
    assert flops(0) == 2 * (GENERATOR + GENERATOR)  # forward, and the weights' gradient: the pictures have none
    assert flops.per_second(range(5), 0.5) == 2 * flops(0)


def test_each_kind_of_step_has_its_own_count(accelerator: Accelerator) -> None:
    """A pretraining; then both, the discriminator alone, and a penalty at every fourth step."""
    model = adversarial_model(
        accelerator, pretrain_g_only=True, g_pretrain_steps=2, net_d_iters=2, r1={"gamma": 1.0, "interval": 4}
    )
    flops = StepFlops(model)
    # of the generator's loss: judged, and the gradient to the picture; then real and fake, with gradients of weights
    judged, taught = 2 * JUDGING, 2 * (2 * JUDGING)
    # R1: the judgement, its gradient to the picture, and the gradient of that to the weights
    penalty = flops(2) - 2 * (GENERATOR + taught)
    assert flops(0) == flops(1) == 2 * 2 * GENERATOR
    assert flops(3) == flops(5) == 2 * (2 * GENERATOR + judged + taught)
    assert flops(4) == 2 * (GENERATOR + taught)
    assert 2 * 3 * JUDGING <= penalty <= 2 * 5 * JUDGING
    assert flops.per_second(range(2), 1.0) == flops(0)
    assert len(flops.known) == 4


def test_counting_leaves_no_trace(accelerator: Accelerator) -> None:
    model = adversarial_model(accelerator)
    networks = [model.generator.net, model.discriminator.net] if model.discriminator else []
    before = [p.detach().clone() for net in networks for p in net.parameters()]
    random = torch.get_rng_state()
    StepFlops(model)(0)
    assert torch.equal(torch.get_rng_state(), random)
    for net in networks:
        assert all(p.grad is None and p.requires_grad and p.device.type == "cpu" for p in net.parameters())
    assert all(map(torch.equal, before, (p for net in networks for p in net.parameters())))


def test_what_is_computed_again_does_not_count(accelerator: Accelerator) -> None:
    plain = RealESRNetModel(OPTIONS, accelerator=accelerator)
    again = RealESRNetModel(OPTIONS, accelerator=accelerator)
    again.generator.net.enable_gradient_checkpointing()  # type: ignore[operator]
    assert StepFlops(again)(0) == StepFlops(plain)(0) > 0
    assert any("forward" in vars(part) for part in again.generator.net.modules())


def test_what_is_compiled_is_counted_uncompiled(accelerator: Accelerator) -> None:
    """The method that follows the blocks too, whose compiled one belongs to the network itself."""
    model = RealESRNetModel(OPTIONS, accelerator=accelerator)
    counted = StepFlops(model)(0)
    compile_in_place(model.generator.net, backend="eager")
    assert "behind" in vars(model.generator.net)
    assert StepFlops(model)(0) == counted
    assert "behind" in vars(model.generator.net)


class Centred(Doubling):
    """A generator with a tensor that is neither a parameter nor a buffer, as in networks of others."""

    def __init__(self) -> None:
        super().__init__()
        self.mean = torch.full((1, 3, 1, 1), 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x - self.mean)


def test_a_tensor_of_a_network_that_is_no_parameter_counts_nothing(accelerator: Accelerator) -> None:
    plain = RealESRNetModel(OPTIONS, accelerator=accelerator, net_g=Doubling())
    centred = RealESRNetModel(OPTIONS, accelerator=accelerator, net_g=Centred())
    assert StepFlops(centred)(0) == StepFlops(plain)(0)


class Looking(nn.Module):
    """A generator whose way depends on values."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = Doubling()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x if x.mean().item() < 2 else -x)
        return out


def test_a_network_that_cannot_be_counted_is_said_once(
    accelerator: Accelerator, capsys: pytest.CaptureFixture[str]
) -> None:
    model = RealESRNetModel(OPTIONS, accelerator=accelerator, net_g=Looking())
    throughput = Throughput(model)
    assert throughput.figures(range(2), 1.0) == throughput.figures(range(2, 4), 1.0) == {}
    said = capsys.readouterr().out
    assert said.count("speed/tflops is not reported, for the operations of a step cannot be counted: ") == 1
    counted = Throughput(RealESRNetModel(OPTIONS, accelerator=accelerator, net_g=Doubling()))
    counted.peak = 1e-3
    assert counted(range(2), 4.0) == {}  # of the first seconds of a run
    figures = counted(range(2), 4.0)
    assert figures["speed/mfu"] == pytest.approx(1000 * figures["speed/tflops"])
