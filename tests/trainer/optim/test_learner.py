"""A network, its optimizer and its clip; micro-batches that add up."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import nn

from tests.conftest import forget_accelerate
from trainer.networks import SRVGGNetCompactConfig
from trainer.optim.learner import Learner, OptimizerConfig, build_optimizer
from trainer.optim.loss_scale import HIGHEST, LossScale, autocast_alone
from trainer.optim.lr_plateau import Plateau
from trainer.optim.lr_schedules import Linear

TARGET = 0.5
Half = Callable[..., Learner]


def network() -> nn.Module:
    torch.manual_seed(0)
    return SRVGGNetCompactConfig(init="torch", num_feat=4, num_conv=1).build(2, bands=3)


def learner(accelerator: Accelerator, config: OptimizerConfig) -> Learner:
    net = network()
    return Learner(accelerator, net, config, Linear())


def gradient(p: Learner, pictures: torch.Tensor, micro_batches: int) -> torch.Tensor:
    """Backward over `pictures` in equal parts; the norm that `step` reports."""
    for number, part in enumerate(pictures.chunk(micro_batches)):
        with p.micro_batch(number, micro_batches):
            p.accelerator.backward((p.ddp(part) - TARGET).square().mean() / micro_batches)
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
    whole, parts = learner(accelerator, config), learner(accelerator, config)
    norms = [gradient(whole, pictures, 1), gradient(parts, pictures, 4)]
    assert norms[0].item() == pytest.approx(norms[1].item(), rel=1e-5)
    for one, other in zip(whole.net.parameters(), parts.net.parameters(), strict=True):
        assert torch.allclose(one, other, atol=1e-6)


def test_the_gradient_is_clipped_and_its_norm_reported_before_that(accelerator: Accelerator) -> None:
    """With eps far above the gradient Adam's first step is nearly the gradient times rate / eps."""
    config = {"learning_rate": 1.0, "eps": 1e3, "betas": (0.0, 0.0)}
    pictures, moved = torch.rand(2, 3, 6, 6), {}
    for limit in (None, 1e-3):
        p = learner(accelerator, OptimizerConfig(max_grad_norm=limit, **config))  # type: ignore[arg-type]
        before = torch.cat([w.detach().flatten() for w in p.net.parameters()])
        norm = gradient(p, pictures, 1)
        after = torch.cat([w.detach().flatten() for w in p.net.parameters()])
        moved[limit] = ((after - before).double().norm() * 1e3).item()
    assert norm.item() > 0.01  # as it was, not as it was clipped
    assert moved[None] == pytest.approx(norm.item(), rel=1e-2)
    assert moved[1e-3] == pytest.approx(1e-3, rel=1e-1)


def test_the_rate_is_a_multiple_of_the_full_rate(accelerator: Accelerator) -> None:
    p = learner(accelerator, OptimizerConfig(learning_rate=0.2))
    p.set_rate(3, 4)
    assert p.learning_rate == pytest.approx(0.05)
    assert [group["lr"] for group in p.optimizer.param_groups] == [0.05, 0.05]


def test_a_rate_of_zero_moves_nothing(accelerator: Accelerator) -> None:
    p = learner(accelerator, OptimizerConfig())
    before = {name: value.clone() for name, value in p.net.state_dict().items()}
    p.set_rate(4, 4)
    gradient(p, torch.rand(1, 3, 4, 4), 1)
    assert all(torch.equal(value, before[name]) for name, value in p.net.state_dict().items())


def test_a_held_step_changes_nothing_but_the_gradient(accelerator: Accelerator) -> None:
    p = learner(accelerator, OptimizerConfig(weight_decay=0.1))
    gradient(p, torch.rand(1, 3, 4, 4), 1)  # now there are moments
    before = {name: value.clone() for name, value in p.net.state_dict().items()}
    moments = [{key: value.clone() for key, value in state.items()} for state in p.optimizer.state.values()]
    for pause in (1.0, 0.0):
        p.accelerator.backward((p.ddp(torch.rand(1, 3, 4, 4)) - TARGET).square().mean())
        assert p.step(torch.tensor(pause)) > 0  # the norm is told all the same
        assert all(w.grad is None for w in p.net.parameters())
        stayed = all(torch.equal(value, before[name]) for name, value in p.net.state_dict().items())
        now = p.optimizer.state.values()
        kept = [torch.equal(new[key], old[key]) for new, old in zip(now, moments, strict=True) for key in old]
        assert (stayed, all(kept)) == (pause == 1, pause == 1)
    assert p.skipped == 0


def test_a_rehearsal_leaves_nothing_behind(accelerator: Accelerator) -> None:
    net = nn.Sequential(nn.utils.spectral_norm(nn.Conv2d(3, 4, 3)), nn.BatchNorm2d(4))
    p = Learner(accelerator, net, OptimizerConfig(), Linear())
    before = {name: value.clone() for name, value in net.state_dict().items()}
    passed: list[torch.Tensor] = []
    net[1].weight.register_hook(passed.append)
    p.warm_up_ddp(lambda net: net(torch.rand(2, 3, 6, 6)))
    assert passed
    assert all(parameter.grad is None for parameter in net.parameters())
    for name, value in net.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_how_far_the_weights_moved_is_a_share_of_their_norm(accelerator: Accelerator) -> None:
    p = learner(accelerator, OptimizerConfig(learning_rate=1e-2))
    old = torch.cat([w.detach().flatten() for w in p.net.parameters()])
    before = p.weights()
    gradient(p, torch.rand(1, 3, 4, 4), 1)
    new = torch.cat([w.detach().flatten() for w in p.net.parameters()])
    assert p.update_ratio(before).item() == pytest.approx(((new - old).norm() / old.norm()).item(), rel=1e-5)
    assert p.update_ratio(p.weights()) == 0


def test_a_step_forgets_the_gradient(accelerator: Accelerator) -> None:
    p = learner(accelerator, OptimizerConfig())
    gradient(p, torch.rand(1, 3, 4, 4), 1)
    assert all(w.grad is None for w in p.net.parameters())


@pytest.mark.parametrize(
    "wrong",
    [{"learning_rate": -1.0}, {"betas": (0.9, 1.0)}, {"max_grad_norm": 0.0}],
    ids=lambda wrong: next(iter(wrong)),
)
def test_settings_that_cannot_work_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=f"{next(iter(wrong))} must"):
        OptimizerConfig(**wrong)  # type: ignore[arg-type]


def test_a_step_that_is_not_finite_changes_nothing_where_nobody_holds_it(accelerator: Accelerator) -> None:
    p = learner(accelerator, OptimizerConfig(weight_decay=0.1, max_grad_norm=1.0))
    gradient(p, torch.rand(1, 3, 4, 4), 1)  # now there are moments
    before = [value.clone() for value in p.net.state_dict().values()]
    moments = [value.clone() for state in p.optimizer.state.values() for value in state.values()]
    for pause in (torch.tensor(0.0), None):
        p.accelerator.backward(p.ddp(torch.rand(1, 3, 4, 4)).sum() * float("nan"))
        assert not p.step(pause).isfinite()
    assert (p.skipped, p.skipped_in_a_row) == (2, 2)
    now = [value for state in p.optimizer.state.values() for value in state.values()]
    pairs = [*zip(before, p.net.state_dict().values(), strict=True), *zip(moments, now, strict=True)]
    assert all(torch.equal(one, other) for one, other in pairs)
    gradient(p, torch.rand(1, 3, 4, 4), 1)
    assert (p.skipped, p.skipped_in_a_row) == (2, 0)


def test_a_plateau_begins_to_watch_once_the_warm_up_is_over(accelerator: Accelerator) -> None:
    schedule = Plateau(metric="x", lr_warmup_steps=4)
    p = Learner(accelerator, network(), OptimizerConfig(), schedule)
    p.step_plateau({"x": 1.0}, 4)
    assert p.plateau.best is None
    p.step_plateau({"x": 2.0}, 5)
    assert p.plateau.best == 2.0
    p.step_plateau({"y": 1.0}, 6)  # there was nothing to see
    assert p.plateau.best == 2.0


@pytest.fixture
def half() -> Iterator[Half]:
    """Makes players that scale their losses; all later ones do, for Accelerate keeps one precision for a process."""

    def make(**config: Any) -> Learner:
        forget_accelerate()
        accelerator = Accelerator(cpu=True, mixed_precision="fp16")
        autocast_alone(accelerator)
        return learner(accelerator, OptimizerConfig(**config))

    yield make
    forget_accelerate()


def scale_of(p: Learner) -> LossScale:
    assert p.scale is not None
    return p.scale


def taught(p: Learner, factor: float = 1.0) -> torch.Tensor:
    """A step from one picture; the norm."""
    p.backward(factor * (p.ddp(torch.full((1, 3, 4, 4), 0.3)) - TARGET).square().mean())
    return p.step()


@pytest.mark.parametrize("limit", [None, 1e-3])
def test_a_scaled_loss_gives_the_gradient_of_the_plain_one(
    accelerator: Accelerator, half: Half, limit: float | None
) -> None:
    plain, scaled = learner(accelerator, OptimizerConfig(max_grad_norm=limit)), half(max_grad_norm=limit)
    assert plain.scale is None
    for p in (plain, scaled):
        p.net.forward = type(p.net).forward.__get__(p.net)  # type: ignore[method-assign] # no autocast
    for _ in range(2):
        assert torch.equal(taught(plain), taught(scaled))  # a power of two rounds nothing
    for one, other in zip(plain.net.parameters(), scaled.net.parameters(), strict=True):
        assert torch.equal(one, other)


def test_fp16_steps_as_float32_does_nearly(accelerator: Accelerator, half: Half) -> None:
    plain, low = learner(accelerator, OptimizerConfig(learning_rate=1e-2)), half(learning_rate=1e-2)
    inner: list[torch.dtype] = []
    next(layer for layer in low.net.modules() if isinstance(layer, nn.Conv2d)).register_forward_hook(
        lambda _, __, output: inner.append(output.dtype)
    )
    assert low.net(torch.rand(1, 3, 4, 4)).dtype == torch.float32
    assert inner == [torch.float16]
    norms = [taught(plain), taught(low)]
    assert norms[1].item() == pytest.approx(norms[0].item(), rel=1e-2)
    assert norms[1] != norms[0]
    for one, other in zip(plain.net.parameters(), low.net.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-3)


def test_an_overflow_is_skipped_and_halves_the_scale_of_this_player_alone(half: Half) -> None:
    one, other = half(weight_decay=0.1), half()
    assert scale_of(one).value == 2**16
    taught(one)  # now there are moments
    before = [value.clone() for value in one.net.state_dict().values()]
    moments = [value.clone() for state in one.optimizer.state.values() for value in state.values()]
    scale_of(one).value.fill_(2.0**40)
    for halved in (2.0**39, 2.0**38):
        assert not taught(one).isfinite()
        assert scale_of(one).value == halved
    assert scale_of(one).good == 0
    now = [value for state in one.optimizer.state.values() for value in state.values()]
    pairs = [*zip(before, one.net.state_dict().values(), strict=True), *zip(moments, now, strict=True)]
    assert all(torch.equal(a, b) for a, b in pairs)
    assert (one.skipped, one.skipped_in_a_row, one.diverging) == (2, 2, 0)
    taught(other)
    assert (scale_of(other).value, scale_of(other).good, other.skipped) == (2**16, 1, 0)
    scale_of(one).value.fill_(2.0**10)
    assert taught(one).isfinite()
    assert (one.skipped, one.skipped_in_a_row) == (2, 0)


def test_a_skipped_step_is_divergence_at_the_lowest_scale_alone(half: Half) -> None:
    p = half()
    scale_of(p).value.fill_(4.0)
    seen = []
    for factor in (*4 * [float("nan")], 1.0):
        taught(p, factor)
        seen.append((scale_of(p).value.item(), p.skipped_in_a_row.item(), p.diverging.item()))
    assert seen == [(2, 1, 0), (1, 2, 0), (1, 3, 1), (1, 4, 2), (1, 0, 0)]


def test_the_scale_moves_as_torchs_does() -> None:
    """The scale follows overflows as torch's GradScaler does over many steps, but ignores held steps."""
    ours, theirs = LossScale(torch.device("cpu")), torch.full((), 2.0**16)
    good, no, yes = torch.zeros((), dtype=torch.int32), torch.zeros(()), torch.ones(())
    for step in range(6000):
        bad = yes if step in (0, 1, 1500, 5600) else no
        torch._amp_update_scale_(theirs, good, bad, 2.0, 0.5, 2000)
        ours.update(bad)
        if step % 500 == 7:
            before = ours.counters()
            ours.update(no, pause=yes)
            ours.update(yes, pause=yes)
            assert ours.counters() == before
        assert torch.equal(ours.value, theirs), step
    assert ours.value == 2.0**14
    ours.value.fill_(HIGHEST)
    ours.good.fill_(1999)
    ours.update(no)
    assert (ours.value, ours.good) == (HIGHEST, 0)


def test_the_scale_is_kept_and_a_checkpoint_without_one_loads(accelerator: Accelerator, half: Half) -> None:
    plain, p, again = learner(accelerator, OptimizerConfig()), half(), half()
    scale_of(p).value.fill_(2.0**40)
    taught(p)
    scale_of(p).good.fill_(1234)
    again.load("generator", p.state_dicts("generator"), p.counters())
    assert scale_of(again).counters() == scale_of(p).counters() == {"value": 2.0**39, "good": 1234, "diverging": 0}
    plain.load("generator", p.state_dicts("generator"), p.counters())
    assert plain.scale is None
    assert "loss_scale" not in plain.counters()
    again.load("generator", plain.state_dicts("generator"), plain.counters())
    assert scale_of(again).value == 2.0**39
