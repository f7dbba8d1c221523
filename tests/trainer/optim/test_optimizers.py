"""Optimizers by name: skipped steps, settings, groups, and what is refused."""

from collections import deque
from collections.abc import Callable
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch import Tensor, nn

from trainer.building.learners import check_optimizers
from trainer.mistakes import Mistake
from trainer.networks import SRVGGNetCompactConfig
from trainer.optim.ema import EMAConfig, smoothed
from trainer.optim.learner import Learner
from trainer.optim.lr_schedules import Constant
from trainer.optim.optimizers import OF_TORCH, OptimizerConfig, build_optimizer, load_state, state_name, try_out

SCHEDULE_FREE = ("schedulefree.AdamWScheduleFree", "schedulefree.SGDScheduleFree", "schedulefree.RAdamScheduleFree")
UNFIT = ("lbfgs", "sparseadam")
FIT = [*(name for name in OF_TORCH if name not in UNFIT), *SCHEDULE_FREE]
MORE = {"sgd": {"momentum": 0.9}, "rmsprop": {"momentum": 0.9}}


def network() -> nn.Module:
    torch.manual_seed(0)
    return SRVGGNetCompactConfig(init="torch", num_feat=4, num_conv=1).build(2, bands=3)


def learner(accelerator: Accelerator, kind: str, **more: Any) -> Learner:
    if kind.startswith("schedulefree"):
        pytest.importorskip("schedulefree")
    return Learner(accelerator, network(), OptimizerConfig(type=kind, learning_rate=1e-2, **more), Constant())


def step(one: Learner, factor: float = 1.0, pause: Tensor | None = None) -> None:
    picture = torch.linspace(0, 1, 75).reshape(1, 3, 5, 5)
    one.accelerator.backward(factor * one.ddp(picture).square().mean())
    one.step(pause)


def tensors(state: Any) -> list[Any]:
    """Everything in a nested state dict, in order."""
    if isinstance(state, dict):
        return [value for key in state for value in tensors(state[key])]
    if isinstance(state, list | tuple):
        return [value for part in state for value in tensors(part)]
    return [state]


def everything(one: Learner) -> list[Any]:
    return [*one.net.state_dict().values(), *tensors(one.optimizer.optimizer.state_dict())]


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        torch.equal(a, b) if isinstance(a, Tensor) else a == b for a, b in zip(one, other, strict=True)
    )


@pytest.mark.parametrize("kind", FIT)
def test_a_skipped_step_leaves_no_trace_not_even_as_the_first(kind: str, accelerator: Accelerator) -> None:
    plain, skipping = (learner(accelerator, kind, arguments=MORE.get(kind, {})) for _ in range(2))
    step(skipping, factor=float("nan"))
    step(skipping, pause=torch.tensor(1.0))
    before = [parameter.detach().clone() for parameter in plain.net.parameters()]
    for _ in range(6):  # schedule-free RAdam rests for five
        step(plain)
        step(skipping)
        step(skipping, factor=float("inf"))
    assert all(torch.equal(a, b) for a, b in zip(plain.net.parameters(), skipping.net.parameters(), strict=True))
    assert same(everything(plain), everything(skipping))
    assert skipping.skipped == 7
    assert not any(torch.equal(a, b) for a, b in zip(before, plain.net.parameters(), strict=True))


@pytest.mark.parametrize("kind", FIT)
def test_two_halves_are_the_whole_with_the_settings_of_the_second(kind: str, accelerator: Accelerator) -> None:
    whole, first = learner(accelerator, kind), learner(accelerator, kind)
    for _ in range(2):
        step(whole)
        step(first)
    second = learner(accelerator, kind)
    second.load("generator", first.state_dicts("generator"), first.counters())
    for _ in range(2):
        step(whole)
        step(second)
    assert same(everything(whole), everything(second))
    changed = build_optimizer(network(), OptimizerConfig(type=kind, learning_rate=0.5))
    load_state(changed, first.optimizer.optimizer.state_dict())
    assert {group["lr"] for group in changed.param_groups} == {0.5}


def test_what_is_set_goes_to_every_class_that_takes_it() -> None:
    shared: dict[str, Any] = {"betas": (0.8, 0.95), "eps": 1e-6, "weight_decay": 0.1}
    kernels, rest = build_optimizer(network(), OptimizerConfig(type="RAdam", **shared)).param_groups
    assert (kernels["betas"], kernels["eps"], kernels["weight_decay"]) == ((0.8, 0.95), 1e-6, 0.1)
    assert rest["weight_decay"] == 0
    adafactor = build_optimizer(network(), OptimizerConfig(type="Adafactor")).param_groups[0]
    assert adafactor["eps"] == (None, 1e-3)  # of another form: its own
    own = OptimizerConfig(type="torch.optim.NAdam", eps=1e-3, arguments={"eps": 1e-5, "momentum_decay": 0.1})
    group = build_optimizer(network(), own).param_groups[0]
    assert (group["eps"], group["momentum_decay"]) == (1e-5, 0.1)


def test_fused_sgd_whose_first_step_is_skipped_begins_as_if_nothing_had_been(accelerator: Accelerator) -> None:
    """torch's own kernel leaves momentum uninitialised there."""
    fused: dict[str, Any] = {"momentum": 0.9, "fused": True}
    plain, skipping = (learner(accelerator, "sgd", arguments=fused) for _ in range(2))
    step(skipping, factor=float("nan"))
    for one in (plain, skipping):
        step(one)
    assert same(everything(plain), everything(skipping))


class Rows(torch.optim.SGD):
    """Views kernels as rows, which cannot be in NHWC, and keeps a count beside the parameters, as some do."""

    def step(self, closure: Any = None) -> Any:
        self.state["count"] = torch.tensor(int(self.state.get("count", 0)) + 1)  # type: ignore[index,call-overload]
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter.grad.view(len(parameter), -1).mul_(0.5)
        return super().step(closure)


def test_an_optimizer_that_views_kernels_as_rows_has_nchw_and_resumes(accelerator: Accelerator) -> None:
    first, second = (learner(accelerator, f"{__name__}.Rows") for _ in range(2))
    assert first.layout == torch.contiguous_format
    assert learner(accelerator, "adam").layout == torch.channels_last
    step(first)
    second.load("generator", first.state_dicts("generator"), first.counters())
    step(first)
    step(second)
    assert same(everything(first), everything(second))
    assert second.optimizer.optimizer.state["count"] == 2


class Odd(torch.optim.SGD):
    """A state that a checkpoint cannot hold."""

    def step(self, closure: Any = None) -> Any:
        for parameter in self.param_groups[0]["params"]:
            self.state[parameter]["past"] = deque([1])
        return super().step(closure)


def test_settings_that_add_to_the_state_are_refused_on_resume(accelerator: Accelerator) -> None:
    before, after = learner(accelerator, "adam"), learner(accelerator, "adam", arguments={"amsgrad": True})
    step(before)
    with pytest.raises(ValueError, match=r"optimizer.arguments: the saved state has no max_exp_avg_sq"):
        after.load("generator", before.state_dicts("generator"), before.counters())


def test_loaded_weights_are_where_a_schedule_free_optimizer_begins(accelerator: Accelerator) -> None:
    pytest.importorskip("schedulefree")
    one = learner(accelerator, SCHEDULE_FREE[0])
    average = smoothed(one.net, EMAConfig(), one.optimizer.optimizer)
    for _ in range(3):
        step(one)
    with torch.no_grad():
        for parameter in one.net.parameters():
            parameter.add_(0.1)
    loaded = [parameter.detach().clone() for parameter in one.net.parameters()]
    one.restart_average()
    for group in one.optimizer.param_groups:
        group["lr"] = 0.0
    for _ in range(3):
        step(one)
        average.update()
    for net in (one.net, average.ema_model):
        assert all(torch.equal(a, b) for a, b in zip(net.parameters(), loaded, strict=True))


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"type": "lbfgs"}, "arguments: lbfgs refuses .* doesn't support per-parameter options"),
        ({"type": "sparseadam"}, "type: sparseadam cannot take a step here: .* dense gradients"),
        ({"type": "torch.nn.Linear"}, r"type: torch.nn.Linear is no torch.optim.Optimizer"),
        ({"type": "absent_package.Lion"}, "type: absent_package cannot be imported: .* install what has"),
        ({"type": "torch.optim.Nothing"}, "type: the module torch.optim has no Nothing"),
        ({"type": "sgd", "arguments": {"momentun": 0.9}}, "arguments: sgd refuses .*momentun"),
        ({"type": "muon", "arguments": {"adjust_lr_fn": "x"}}, "arguments: muon refuses .* x is not supported"),
        ({"type": f"{__name__}.Odd"}, "type: .*Odd keeps more than tensors, .* which no checkpoint holds"),
        ({"type": "rprop", "weight_decay": 0.1}, "weight_decay: got 0.1; Rprop has none"),
        ({"type": "sgd", "betas": (0.5, 0.9)}, r"betas: got \[0.5, 0.9\]; SGD takes none like that"),
        ({"type": "sgd", "eps": 1e-4}, "eps: got 0.0001; SGD takes none like that"),
    ],
)
def test_a_class_that_cannot_train_is_refused_before_training(settings: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        try_out(OptimizerConfig(**settings))


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"type": "RAdan"}, "type: got 'RAdan'; did you mean 'RAdam'.* or package.module.Class"),
        ({"type": "Optimizer"}, "type: got 'Optimizer'; "),
        ({"arguments": {"lr": 1.0}}, "arguments: got lr, which is set by learning_rate"),
        ({"arguments": {"weight_decay": 1.0}}, "arguments: got weight_decay, which is set by weight_decay"),
        ({"weight_decay": -1.0}, "weight_decay must not be negative"),
        ({"arguments": {"params": []}}, "arguments: got params, which is set by nothing"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings: dict[str, Any], wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        OptimizerConfig(**settings)


def test_only_adam_and_adamw_go_on_from_each_others_state() -> None:
    names = ["adam", "Adam", "torch.optim.AdamW", "adamw"]
    assert {state_name(name) for name in names} == {"adam"}
    others = ["radam", "torch.optim.RAdam", "muon", "schedulefree.AdamWScheduleFree"]
    assert [state_name(name) for name in others] == ["radam", "radam", "muon", "schedulefree.AdamWScheduleFree"]


def test_another_optimizer_begins_anew(accelerator: Accelerator) -> None:
    before, after = learner(accelerator, "adam"), learner(accelerator, "radam")
    step(before)
    after.load("generator", before.state_dicts("generator"), before.counters())
    assert not after.optimizer.state
    step(after)


def test_muon_is_torchs_on_kernels_as_matrices_and_adamw_has_the_rest(accelerator: Accelerator) -> None:
    ours = learner(accelerator, "muon", weight_decay=0.1)
    parameters = list(ours.net.parameters())
    alone = [
        parameter.detach().flatten(1).clone() if parameter.ndim == 4 else parameter.detach().clone()
        for parameter in parameters
    ]
    muon = torch.optim.Muon(
        [one for one in alone if one.ndim == 2], lr=1e-2, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"
    )
    adamw = torch.optim.AdamW(
        [one for one in alone if one.ndim == 1], lr=1e-2, betas=(0.9, 0.99), weight_decay=0.0, fused=True
    )
    for rate in (1e-2, 5e-3):
        picture = torch.linspace(0, 1, 75).reshape(1, 3, 5, 5)
        ours.accelerator.backward(ours.ddp(picture).square().mean())
        for one, parameter in zip(alone, parameters, strict=True):
            assert parameter.grad is not None
            one.grad = parameter.grad.reshape(one.shape).clone()
        for group in (*ours.optimizer.param_groups, *muon.param_groups, *adamw.param_groups):
            group["lr"] = rate
        ours.step()
        muon.step()
        adamw.step()
    for one, parameter in zip(alone, parameters, strict=True):
        torch.testing.assert_close(parameter.detach().reshape(one.shape), one, rtol=0, atol=2e-4)  # bfloat16 inside
        assert (parameter.detach().reshape(one.shape) - one).abs().mean() < 2e-5


def test_moments_of_another_memory_format_are_those_of_the_right_weights(accelerator: Accelerator) -> None:
    """A saved state of NCHW weights, as of an earlier version, goes on to the same weights in NHWC."""
    whole, first, second = (learner(accelerator, "adam") for _ in range(3))
    step(whole)
    step(first)
    saved = first.state_dicts("generator")
    moments = saved["generator_optimizer"]["state"]
    kernel = next(state for state in moments.values() if state["exp_avg"].ndim == 4)
    assert kernel["exp_avg"].is_contiguous(memory_format=torch.channels_last)
    for state in moments.values():
        state.update({name: state[name].contiguous() for name in ("exp_avg", "exp_avg_sq")})
    second.load("generator", saved, first.counters())
    step(whole)
    step(second)
    assert same(everything(whole), everything(second))


@pytest.mark.parametrize("kind", SCHEDULE_FREE)
def test_the_average_is_the_schedule_free_optimizers_own(kind: str, accelerator: Accelerator) -> None:
    one, other = learner(accelerator, kind), learner(accelerator, kind)
    average = smoothed(one.net, EMAConfig(decay=0.9), one.optimizer.optimizer)
    for _ in range(7):
        step(one)
        average.update()
        step(other)
    trained = [parameter.detach().clone() for parameter in other.net.parameters()]
    assert all(torch.equal(a, b) for a, b in zip(one.net.parameters(), trained, strict=True))
    other.optimizer.optimizer.eval()
    assert all(torch.equal(a, b) for a, b in zip(average.ema_model.parameters(), other.net.parameters(), strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(average.ema_model.parameters(), trained, strict=True))
    assert average.get_current_decay() == 0


@pytest.mark.parametrize(
    ("overrides", "wrong"),
    [
        (("lr_scheduler={type: cosine}",), "lr_scheduler: got cosine; .* it takes a constant one"),
        (
            ("lr_scheduler={type: constant, lr_warmup_steps: 2}", "optimizer.arguments={warmup_steps: 2}"),
            "optimizer.arguments: got warmup_steps beside lr_scheduler.lr_warmup_steps",
        ),
    ],
)
def test_a_schedule_beside_schedule_free_is_refused(
    overrides: tuple[str, ...], wrong: str, tiny: Callable[..., Any]
) -> None:
    pytest.importorskip("schedulefree")
    kind = "optimizer.type=schedulefree.AdamWScheduleFree"
    with pytest.raises(Mistake, match=wrong):
        check_optimizers(tiny(kind, *overrides))
    (note,) = check_optimizers(tiny(kind))
    assert "that average is validated and exported" in note
