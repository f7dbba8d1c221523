"""The adversarial losses against BasicSR's own figures, the relativistic one and R1 against closed forms."""

import math

import pytest
import torch
from torch import Tensor, nn

from trainer.losses.adversarial import RELATIVISTIC, AdversarialLoss, GANType, R1Penalty, gan_loss

LOGITS = torch.linspace(-2, 2, 24).reshape(2, 1, 3, 4)

GOLDEN: dict[GANType, tuple[float, float]] = {
    "vanilla": (0.8579038977622986, 0.8579039573669434),
    "lsgan": (2.449275493621826, 1.4492754936218262),
    "wgan": (0.0, 0.0),
    "wgan_softplus": (0.8579038977622986, 0.8579039573669434),
    "hinge": (1.1413044929504395, 1.14130437374115),
}
"""BasicSR's GANLoss of these logits as a discriminator's loss: labelled real, labelled fake."""


@pytest.mark.parametrize("kind", GOLDEN)
def test_the_discriminators_side_is_basicsrs(kind: GANType) -> None:
    on_real, on_fake = AdversarialLoss(type=kind).discriminator(LOGITS, LOGITS)
    assert (on_real.item(), on_fake.item()) == pytest.approx(GOLDEN[kind], abs=1e-6)


@pytest.mark.parametrize("kind", GOLDEN)
def test_the_generators_side_is_basicsrs(kind: GANType) -> None:
    """In BasicSR it is the discriminator's loss with the label of a real picture, except for hinge, whose mean is not
    clipped."""
    wanted = 0.0 if kind == "hinge" else GOLDEN[kind][0]
    assert AdversarialLoss(type=kind).generator(LOGITS).item() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(
    ("kind", "real", "fake", "generator"),
    [
        ("vanilla", math.log(1 + math.exp(-3)), math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))),
        ("lsgan", 4.0, 1.0, 4.0),
        ("hinge", 0.0, 0.0, 1.0),
        ("wgan", -3.0, -1.0, 1.0),
        ("wgan_softplus", math.log(1 + math.exp(-3)), math.log(1 + math.exp(-1)), math.log(1 + math.exp(1))),
    ],
)
def test_each_loss_is_its_formula(kind: GANType, real: float, fake: float, generator: float) -> None:
    loss, y, gx = AdversarialLoss(type=kind), torch.tensor([3.0]), torch.tensor([-1.0])
    on_real, on_fake = loss.discriminator(y, gx)
    assert (on_real.item(), on_fake.item()) == pytest.approx((real, fake), abs=1e-6)
    assert loss.generator(gx).item() == pytest.approx(generator, abs=1e-6)


def softplus(x: float) -> float:
    return math.log1p(math.exp(x))


@pytest.mark.parametrize(
    ("kind", "real", "fake"),
    [
        ("vanilla", (softplus(-2) + softplus(-4)) / 2, (softplus(-3) + softplus(-3)) / 2),
        ("lsgan", (1.0 + 9.0) / 2, (9.0 + 9.0) / 2),
        ("hinge", 0.0, 0.0),
    ],
)
def test_the_relativistic_average_is_its_formula(kind: GANType, real: float, fake: float) -> None:
    """Real 1 and 3, results -1 and -1: against the other's mean 2 and 4, and -3 and -3."""
    loss, y, gx = AdversarialLoss(type=kind, relativistic=True), torch.tensor([1.0, 3.0]), torch.tensor([-1.0, -1.0])
    on_real, on_fake = loss.discriminator(y, gx)
    assert (2 * on_real.item(), 2 * on_fake.item()) == pytest.approx((real, fake), abs=1e-6)
    swapped = gan_loss(kind, gx - 2, 1) + gan_loss(kind, y + 1, 0)
    assert loss.generator(gx, y).item() == pytest.approx(swapped.item() / 2, abs=1e-6)


def test_a_relativistic_generator_needs_the_real_logits() -> None:
    with pytest.raises(ValueError, match="needs the logits of the real pictures"):
        AdversarialLoss(relativistic=True).generator(LOGITS)


def test_a_relativistic_generator_learns_through_the_mean_as_well() -> None:
    fake = LOGITS.clone().requires_grad_()
    AdversarialLoss(relativistic=True).generator(fake, LOGITS + 1).backward()
    assert fake.grad is not None
    direct = fake.detach().clone().requires_grad_()
    (gan_loss("vanilla", direct - (LOGITS + 1).mean(), 1) / 2).backward()
    assert direct.grad is not None
    assert (fake.grad.sum() / direct.grad.sum()).item() > 1.5


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_only_the_discriminators_real_label_is_smoothed(smoothing: float) -> None:
    loss, zero = AdversarialLoss(label_smoothing=smoothing), torch.zeros(3)
    two = torch.full((3,), 2.0)
    on_real, on_fake = loss.discriminator(two, two)
    assert on_real.item() == pytest.approx((1 - smoothing) * softplus(-2) + smoothing * softplus(2), abs=1e-6)
    assert on_fake.item() == pytest.approx(softplus(2), abs=1e-6)
    assert loss.generator(two).item() == pytest.approx(softplus(-2), abs=1e-6)
    assert loss.generator(zero).item() == pytest.approx(math.log(2), abs=1e-6)


def test_smoothed_labels_are_best_met_at_their_own_probability() -> None:
    logit = torch.tensor([math.log(0.9 / 0.1)], requires_grad=True)
    AdversarialLoss(label_smoothing=0.1).discriminator(logit, torch.zeros(1))[0].backward()
    assert logit.grad is not None
    assert logit.grad.item() == pytest.approx(0, abs=1e-6)


def test_the_guides_half_is_a_factor() -> None:
    whole, half = AdversarialLoss(), AdversarialLoss(discriminator_weight=0.5)
    for one, two in zip(whole.discriminator(LOGITS, LOGITS), half.discriminator(LOGITS, LOGITS), strict=True):
        assert two.item() == pytest.approx(one.item() / 2)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"label_smoothing": 0.5}, "label_smoothing: got 0.5; must be at least 0 and less than 0.5"),
        ({"label_smoothing": 0.1, "type": "hinge"}, "label_smoothing: got 0.1; type hinge has no labels to smooth"),
        ({"relativistic": True, "type": "wgan"}, "got true with type wgan; must be vanilla, lsgan, hinge"),
        ({"discriminator_weight": 0.0}, "discriminator_weight: got 0.0; must be positive"),
    ],
)
def test_settings_that_would_do_nothing_are_refused(options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        AdversarialLoss(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("kind", "relativistic"), [*((kind, False) for kind in GOLDEN), *((kind, True) for kind in RELATIVISTIC)]
)
def test_bf16_logits_are_judged_in_float32(kind: GANType, relativistic: bool) -> None:
    loss = AdversarialLoss(type=kind, relativistic=relativistic)
    logits = (LOGITS * 40).bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        values = (*loss.discriminator(logits, logits), loss.generator(logits, logits))
    for value in values:
        assert value.dtype == torch.float32
        assert value.isfinite()
    torch.stack(values).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize(
    ("kind", "logits", "expected"),
    [
        ("vanilla", [0.0, math.log(3)], (0.5 + 0.75) / 2),
        ("wgan_softplus", [0.0, math.log(3)], (0.5 + 0.75) / 2),
        ("wgan", [0.0, math.log(3)], (0.5 + 0.75) / 2),
        ("lsgan", [-0.5, 0.25, 1.5], (0 + 0.25 + 1) / 3),
        ("hinge", [-2.0, 0.5, 1.0], (0 + 0.75 + 1) / 3),
    ],
)
def test_probabilities_are_what_each_loss_taught(kind: GANType, logits: list[float], expected: float) -> None:
    said = AdversarialLoss(type=kind).probability(torch.tensor(logits, requires_grad=True))
    assert said.item() == pytest.approx(expected)
    assert not said.requires_grad


def test_the_best_discriminators_probability_is_the_share_of_real_pictures() -> None:
    """If two of three such pictures are real, the loss is least at that probability; hinge's is least at a margin
    instead."""
    for kind, exact in (("vanilla", True), ("wgan_softplus", True), ("lsgan", True), ("hinge", False)):
        loss = AdversarialLoss(type=kind)  # type: ignore[arg-type]
        logits = torch.linspace(-3, 3, 6001)
        values = [2 / 3 * gan_loss(loss.type, z, 1) + 1 / 3 * gan_loss(loss.type, z, 0) for z in logits]
        best = loss.probability(logits[int(torch.stack(values).argmin())]).item()
        assert best == pytest.approx(2 / 3 if exact else 1.0, abs=1e-3)


def test_critics_and_relativistic_discriminators_give_no_probabilities() -> None:
    assert AdversarialLoss(type="lsgan").probabilistic
    assert not AdversarialLoss(type="wgan").probabilistic
    assert not AdversarialLoss(relativistic=True).probabilistic


class Quadratic(nn.Module):
    """D(y) = a |y|^2 / 2, whose gradient is a y."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.tensor(2.0))

    def forward(self, y: Tensor) -> Tensor:
        return self.a * y.square().sum((1, 2, 3)) / 2


@pytest.mark.parametrize("interval", [1, 16])
def test_r1_is_the_mean_squared_gradient_and_has_one_itself(interval: int) -> None:
    net, pictures = Quadratic(), torch.rand(3, 2, 4, 4, requires_grad=True)
    penalty = R1Penalty(gamma=10, interval=interval)(net(pictures), pictures)
    squares = pictures.detach().square().sum((1, 2, 3)).mean()
    torch.testing.assert_close(penalty.detach(), interval * 10 / 2 * 4 * squares)
    penalty.backward()
    assert net.a.grad is not None
    torch.testing.assert_close(net.a.grad, interval * 10 / 2 * 4 * squares)  # d a^2 / da = 2 a = 4


def test_r1_sums_over_a_map_of_logits() -> None:
    pictures = torch.rand(2, 1, 4, 4, requires_grad=True)
    penalty = R1Penalty(gamma=2, interval=1)(3 * pictures, pictures)
    assert penalty.item() == pytest.approx(9 * 16)


def test_r1_does_not_depend_on_how_a_batch_is_divided() -> None:
    net, pictures, r1 = Quadratic(), torch.rand(4, 1, 2, 2, requires_grad=True), R1Penalty()
    parts = [r1(net(part), part) for part in pictures.chunk(2)]
    torch.testing.assert_close(sum(parts) / 2, r1(net(pictures), pictures))


def test_lazy_penalties_come_every_interval_and_weigh_the_same_in_all() -> None:
    lazy, eager = R1Penalty(interval=4), R1Penalty(interval=1)
    assert [step for step in range(10) if lazy.due(step)] == [0, 4, 8]
    assert all(eager.due(step) for step in range(10))


@pytest.mark.parametrize("options", [{"gamma": 0.0}, {"interval": 0}])
def test_a_penalty_of_nothing_is_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must be"):
        R1Penalty(**options)  # type: ignore[arg-type]
