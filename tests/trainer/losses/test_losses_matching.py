"""Feature matching: which layers are compared, and that they cost no second forward of the result."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.adversarial.phases import Phase
from trainer.losses import FeatureMatching, LossesConfig
from trainer.losses.adversarial import AdversarialLoss
from trainer.losses.feature_matching import FeatureRecorder, feature_distance
from trainer.networks import (
    PatchDiscriminator,
    SRGANDiscriminator,
    UNetDiscriminatorSN,
    VGGStyleDiscriminator,
)
from trainer.objective import Objective, Targets

GAME = Phase(pretrain=False, train_generator=True, train_discriminator=True, adversarial=0.5)


class Small(nn.Module):
    """Three convolutions, the second followed by an activation in place; its forwards are counted."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = (nn.Conv2d(inputs, outputs, 3) for inputs, outputs in ((3, 4), (4, 4), (4, 1)))
        self.act = nn.LeakyReLU(0.2, inplace=True)
        self.shown: list[Tensor] = []

    def forward(self, pictures: Tensor) -> Tensor:
        self.shown.append(pictures)
        logits: Tensor = self.head(self.act(self.two(self.one(pictures))))
        return logits


@pytest.fixture
def trio() -> tuple[Tensor, Tensor, Small]:
    """A result, a target and a frozen discriminator."""
    torch.manual_seed(0)
    return torch.rand(2, 3, 12, 12, requires_grad=True), torch.rand(2, 3, 12, 12), Small().requires_grad_(False)


def by_hand(net: Small, result: Tensor, target: Tensor) -> Tensor:
    """The sum over the layers but the last of mean |d|; an activation in place is part of the layer before it."""
    total = torch.zeros(())
    for layers in ([net.one], [net.one, net.two]):
        x, y = result, target
        for layer in layers:
            x, y = layer(x), layer(y)
        if len(layers) == 2:
            x, y = F.leaky_relu(x, 0.2), F.leaky_relu(y, 0.2)
        total = total + (x - y).abs().mean()
    return total


@pytest.mark.parametrize("relativistic", [False, True])
def test_it_is_the_distance_of_all_layers_but_the_last(trio: tuple[Tensor, Tensor, Small], relativistic: bool) -> None:
    """By one forward of the result, and one of the real pictures without a graph. Its weight rises with the game's."""
    result, target, net = trio
    twin = result.detach().clone().requires_grad_()
    wanted = by_hand(net, twin, target)
    objective = Objective(
        LossesConfig(feature_matching=FeatureMatching(weight=4.0)),
        adversarial=AdversarialLoss(relativistic=relativistic), features=FeatureRecorder(net, ()),
    )  # fmt: skip
    terms = objective.generator(result, Targets(0 * target, 0 * target, target), GAME, net)
    found = terms["feature_matching"]
    torch.testing.assert_close(found.value, wanted)
    assert found.weight == 2.0
    assert len(net.shown) == 2
    assert torch.equal(net.shown[0], target)
    assert net.shown[1] is result
    found.value.backward()
    wanted.backward()
    torch.testing.assert_close(result.grad, twin.grad)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_equal_pictures_are_at_distance_0_with_a_finite_gradient(trio: tuple[Tensor, Tensor, Small]) -> None:
    result, _, net = trio
    recorder = FeatureRecorder(net, ())
    with recorder.recording() as got, torch.autocast("cpu", torch.bfloat16):
        net(result)
    loss = feature_distance(got, [one.detach() for one in got])
    loss.backward()
    assert (loss.item(), loss.dtype) == (0, torch.float32)
    assert result.grad is not None
    assert result.grad.isfinite().all()


def test_nothing_is_kept_outside_of_a_recording(trio: tuple[Tensor, Tensor, Small]) -> None:
    result, _, net = trio
    recorder = FeatureRecorder(net, ("act",))
    net(result)
    assert recorder.recorded is None
    with recorder.recording() as got:
        net(result)
    net(result)
    assert [one.shape for one in got] == [(2, 4, 8, 8)]


def test_no_judgement_is_asked_while_the_generator_is_pretrained(trio: tuple[Tensor, Tensor, Small]) -> None:
    result, target, net = trio
    losses = LossesConfig(feature_matching=FeatureMatching())
    objective = Objective(losses, adversarial=AdversarialLoss(), features=FeatureRecorder(net, ()))
    pretraining = Phase(pretrain=True, train_generator=True, train_discriminator=False, adversarial=0.0)
    assert list(objective.generator(result, Targets(target, target, target), pretraining, net)) == ["pixel"]
    assert not net.shown


@pytest.mark.parametrize(
    ("net", "layers"),
    [
        (UNetDiscriminatorSN(num_feat=4), 9),
        (PatchDiscriminator(num_feat=4, n_blocks=2), 3),
        (SRGANDiscriminator(num_feat=4, n_blocks=4, linear_size=8), 3),
        (VGGStyleDiscriminator(num_feat=4, input_size=128), 9),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else "",
)
def test_all_discriminators_have_layers_to_compare(net: nn.Module, layers: int) -> None:
    recorder = FeatureRecorder(net, ())
    recorder.try_out(net, (2, 3, 128, 128))
    assert net.training
    assert len(recorder.layers) == layers


def test_layers_that_do_not_work_are_named() -> None:
    net = Small()
    with pytest.raises(ValueError, match=r"^layers: Small has no three, tail; it has one, two, head, for example$"):
        FeatureRecorder(net, ("one", "three", "tail"))
    with pytest.raises(ValueError, match=r"^layers: must be given, for Linear has no two convolutions to choose from$"):
        FeatureRecorder(nn.Linear(3, 3), ())
    unused = nn.Sequential(nn.Conv2d(3, 1, 3), nn.Identity())
    unused.forward = unused[0].forward  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"^layers: 1 of Sequential gave no tensor$"):
        FeatureRecorder(unused, ("1",)).try_out(unused, (2, 3, 8, 8))
