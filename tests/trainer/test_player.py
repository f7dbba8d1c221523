"""A network, its optimizer and its clip; micro-batches that add up."""

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from trainer.networks import SRVGGNetCompactConfig
from trainer.plateau import Plateau
from trainer.player import OptimizerConfig, Player, build_optimizer
from trainer.schedule import Linear

TARGET = 0.5


def network() -> nn.Module:
    torch.manual_seed(0)
    return SRVGGNetCompactConfig(init="torch", num_feat=4, num_conv=1).build(2, bands=3)


def player(accelerator: Accelerator, config: OptimizerConfig) -> Player:
    net = network()
    return Player(accelerator, net, config, Linear())


def gradient(p: Player, pictures: torch.Tensor, micro_batches: int) -> torch.Tensor:
    """Backward over `pictures` in equal parts; the norm that `step` reports."""
    for number, part in enumerate(pictures.chunk(micro_batches)):
        with p.micro_batch(number, micro_batches):
            p.accelerator.backward((p.net(part) - TARGET).square().mean() / micro_batches)
    return p.step()


@pytest.mark.parametrize(("kind", "expected"), [("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)])
def test_decay_is_for_kernels_alone(kind: str, expected: type[torch.optim.Optimizer]) -> None:
    net = network()
    config = OptimizerConfig(type=kind, weight_decay=0.1, eps=1e-6)  # type: ignore[arg-type]
    optimizer = build_optimizer(net, config)
    assert type(optimizer) is expected
    kernels, rest = optimizer.param_groups
    assert kernels["weight_decay"] == 0.1
    assert rest["weight_decay"] == 0.0
    assert {p.ndim for p in kernels["params"]} == {4}
    assert {p.ndim for p in rest["params"]} == {1}  # biases and PReLU slopes
    assert len(kernels["params"]) + len(rest["params"]) == len(list(net.parameters()))
    assert kernels["betas"] == rest["betas"] == (0.9, 0.99)
    assert kernels["eps"] == 1e-6


def test_what_is_no_kernel_is_not_decayed_whatever_its_dimensions() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.utils.parametrizations.spectral_norm(nn.Linear(4, 4)))
    net.scale = nn.Parameter(torch.ones(1, 4, 1, 1))  # a norm's, as some write it
    net.positions = nn.Parameter(torch.zeros(9, 4))
    kernels, rest = build_optimizer(net, OptimizerConfig(weight_decay=0.1)).param_groups
    assert [tuple(p.shape) for p in kernels["params"]] == [(4, 3, 3, 3), (4, 4)]
    assert {tuple(p.shape) for p in rest["params"]} == {(1, 4, 1, 1), (9, 4), (4,)}


def test_micro_batches_add_up_to_the_batch(accelerator: Accelerator) -> None:
    config, pictures = OptimizerConfig(), torch.rand(4, 3, 6, 6)
    whole, parts = player(accelerator, config), player(accelerator, config)
    norms = [gradient(whole, pictures, 1), gradient(parts, pictures, 4)]
    assert norms[0].item() == pytest.approx(norms[1].item(), rel=1e-5)
    for one, other in zip(whole.module.parameters(), parts.module.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_the_gradient_is_clipped_and_its_norm_reported_before_that(accelerator: Accelerator) -> None:
    """With eps far above the gradient Adam's first step is nearly the gradient times rate / eps."""
    config = {"learning_rate": 1.0, "eps": 1e3, "betas": (0.0, 0.0)}
    pictures, moved = torch.rand(2, 3, 6, 6), {}
    for limit in (None, 1e-3):
        p = player(accelerator, OptimizerConfig(max_grad_norm=limit, **config))  # type: ignore[arg-type]
        before = torch.cat([w.detach().flatten() for w in p.module.parameters()])
        norm = gradient(p, pictures, 1)
        after = torch.cat([w.detach().flatten() for w in p.module.parameters()])
        moved[limit] = ((after - before).double().norm() * 1e3).item()
    assert norm.item() > 0.01  # as it was, not as it was clipped
    assert moved[None] == pytest.approx(norm.item(), rel=1e-2)
    assert moved[1e-3] == pytest.approx(1e-3, rel=1e-1)


def test_the_rate_is_a_multiple_of_the_full_rate(accelerator: Accelerator) -> None:
    p = player(accelerator, OptimizerConfig(learning_rate=0.2))
    p.set_rate(3, 4)
    assert p.learning_rate == pytest.approx(0.05)
    assert [group["lr"] for group in p.optimizer.param_groups] == [0.05, 0.05]


def test_a_rate_of_zero_moves_nothing(accelerator: Accelerator) -> None:
    p = player(accelerator, OptimizerConfig())
    before = {name: value.clone() for name, value in p.module.state_dict().items()}
    p.set_rate(4, 4)
    gradient(p, torch.rand(1, 3, 4, 4), 1)
    assert all(torch.equal(value, before[name]) for name, value in p.module.state_dict().items())


def test_a_held_step_changes_nothing_but_the_gradient(accelerator: Accelerator) -> None:
    p = player(accelerator, OptimizerConfig(weight_decay=0.1))
    gradient(p, torch.rand(1, 3, 4, 4), 1)  # now there are moments
    before = {name: value.clone() for name, value in p.module.state_dict().items()}
    moments = [{key: value.clone() for key, value in state.items()} for state in p.optimizer.state.values()]
    for hold in (1.0, 0.0):
        p.accelerator.backward((p.net(torch.rand(1, 3, 4, 4)) - TARGET).square().mean())
        assert p.step(torch.tensor(hold)) > 0  # the norm is told all the same
        assert all(w.grad is None for w in p.module.parameters())
        stayed = all(torch.equal(value, before[name]) for name, value in p.module.state_dict().items())
        now = p.optimizer.state.values()
        kept = [torch.equal(new[key], old[key]) for new, old in zip(now, moments, strict=True) for key in old]
        assert (stayed, all(kept)) == (hold == 1, hold == 1)
    assert p.skipped == 0


def test_a_rehearsal_leaves_nothing_behind(accelerator: Accelerator) -> None:
    net = nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4))
    p = Player(accelerator, net, OptimizerConfig(), Linear())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    passed: list[torch.Tensor] = []
    net[1].weight.register_hook(passed.append)
    p.rehearse(lambda net: net(torch.rand(2, 3, 6, 6)))
    assert passed
    assert all(parameter.grad is None for parameter in net.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_how_far_the_weights_moved_is_a_share_of_their_norm(accelerator: Accelerator) -> None:
    p = player(accelerator, OptimizerConfig(learning_rate=1e-2))
    old = torch.cat([w.detach().flatten() for w in p.module.parameters()])
    before = p.weights()
    gradient(p, torch.rand(1, 3, 4, 4), 1)
    new = torch.cat([w.detach().flatten() for w in p.module.parameters()])
    assert p.moved_since(before).item() == pytest.approx(((new - old).norm() / old.norm()).item(), rel=1e-5)
    assert p.moved_since(p.weights()) == 0


def test_a_step_forgets_the_gradient(accelerator: Accelerator) -> None:
    p = player(accelerator, OptimizerConfig())
    gradient(p, torch.rand(1, 3, 4, 4), 1)
    assert all(w.grad is None for w in p.module.parameters())


@pytest.mark.parametrize(
    "wrong",
    [{"learning_rate": -1.0}, {"betas": (0.9, 1.0)}, {"max_grad_norm": 0.0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must"):
        OptimizerConfig(**wrong)  # type: ignore[arg-type]


def test_a_step_that_is_not_finite_changes_nothing_where_nobody_holds_it(accelerator: Accelerator) -> None:
    p = player(accelerator, OptimizerConfig(weight_decay=0.1, max_grad_norm=1.0))
    gradient(p, torch.rand(1, 3, 4, 4), 1)  # now there are moments
    before = [value.clone() for value in p.module.state_dict().values()]
    moments = [value.clone() for state in p.optimizer.state.values() for value in state.values()]
    for hold in (torch.tensor(0.0), None):
        p.accelerator.backward(p.net(torch.rand(1, 3, 4, 4)).sum() * float("nan"))
        assert not p.step(hold).isfinite()
    assert (p.skipped, p.skipped_in_a_row) == (2, 2)
    now = [value for state in p.optimizer.state.values() for value in state.values()]
    pairs = [*zip(before, p.module.state_dict().values(), strict=True), *zip(moments, now, strict=True)]
    assert all(torch.equal(one, other) for one, other in pairs)
    gradient(p, torch.rand(1, 3, 4, 4), 1)
    assert (p.skipped, p.skipped_in_a_row) == (2, 0)


def test_a_plateau_begins_to_watch_once_the_warm_up_is_over(accelerator: Accelerator) -> None:
    schedule = Plateau(metric="x", lr_warmup_steps=4)
    p = Player(accelerator, network(), OptimizerConfig(), schedule)
    p.observe({"x": 1.0}, 4)
    assert p.plateau.best is None
    p.observe({"x": 2.0}, 5)
    assert p.plateau.best == 2.0
    p.observe({"y": 1.0}, 6)  # there was nothing to see
    assert p.plateau.best == 2.0
