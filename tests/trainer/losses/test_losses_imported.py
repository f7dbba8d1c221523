"""Losses of other packages: classes and functions, tried first, with a sentence for what does not work."""

import sys
import types
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from trainer.losses import ImportedLoss, LossesConfig

HERE = types.ModuleType("somebodys_losses")


class Huber(nn.Module):
    """A loss with an argument, a Dropout that must not draw, and a parameter that must not learn."""

    def __init__(self, delta: float = 1.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.tensor(2.0))
        self.delta, self.dropout = delta, nn.Dropout(0.9)

    def forward(self, result: Tensor, target: Tensor) -> Tensor:
        assert result.dtype == target.dtype == torch.float32
        return F.huber_loss(self.dropout(self.scale * result), self.scale * target, delta=self.delta)


def each(result: Tensor, target: Tensor) -> Tensor:
    return (result - target).square().mean((1, 2, 3))


def fails(result: Tensor, _: Tensor) -> Tensor:
    raise RuntimeError(f"only 3 bands, not {result.shape[1]}")


@pytest.fixture(autouse=True)
def _package(monkeypatch: pytest.MonkeyPatch) -> None:
    package = types.ModuleType("somebodys_losses")
    package.Huber, package.huber, package.each, package.fails = Huber, F.huber_loss, each, fails  # type: ignore[attr-defined]
    package.number = lambda *_: 0.5  # type: ignore[attr-defined]
    package.detached = lambda result, target: F.l1_loss(result, target).detach()  # type: ignore[attr-defined]
    package.Net, package.constant = dict, 3.0  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "somebodys_losses", package)


def loss(name: str, **options: Any) -> ImportedLoss:
    return ImportedLoss(name="mine", path=f"somebodys_losses.{name}", **options)


@pytest.mark.parametrize("bands", [1, 3, 5])
def test_a_class_and_a_function_with_their_arguments(bands: int) -> None:
    result, target = torch.rand(2, bands, 16, 16, requires_grad=True), torch.rand(2, bands, 16, 16)
    built = loss("Huber", arguments={"delta": 0.2}).build(bands, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = built(result.bfloat16(), target.bfloat16())
        by_function = loss("huber", arguments={"delta": 0.2}).build(bands, 16)(result, target)
    wanted = F.huber_loss(2 * result.bfloat16().float(), 2 * target.bfloat16().float(), delta=0.2)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(by_function, F.huber_loss(result, target, delta=0.2))
    assert not any(parameter.requires_grad for parameter in built.parameters())


@pytest.mark.parametrize(
    ("path", "options", "sentence"),
    [
        ("Huber", {"arguments": {"beta": 1}}, r"arguments: somebodys_losses\.Huber refuses \{'beta': 1\}: TypeError"),
        ("absent", {}, "path: the module somebodys_losses has no absent"),
        ("Net", {}, r"path: somebodys_losses\.Net is no torch\.nn\.Module and no function"),
        ("constant", {}, r"path: somebodys_losses\.constant is no torch\.nn\.Module and no function"),
        ("fails", {}, r"somebodys_losses\.fails fails on two pictures, \[2, 4, 16, 16\]: RuntimeError: only 3 bands"),
        ("huber", {"arguments": {"gamma": 1}}, r"somebodys_losses\.huber fails on two pictures, .*: TypeError"),
        ("each", {}, r"somebodys_losses\.each answers on two .* with a tensor \[2\]; wanted is a tensor of one number"),
        ("number", {}, r"somebodys_losses\.number answers on two .* with a float; wanted is a tensor of one number"),
        ("detached", {}, r"somebodys_losses\.detached gives a number without a gradient"),
    ],
)
def test_what_does_not_work_gets_a_sentence(path: str, options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=f"^{sentence}"):
        loss(path, **options).build(4, 16)


@pytest.mark.parametrize(("path", "word"), [("absent_package.Loss", "cannot be imported"), ("Loss", "must be package")])
def test_a_path_that_leads_nowhere(path: str, word: str) -> None:
    with pytest.raises(ValueError, match=rf"^path: .*{word}"):
        ImportedLoss(name="mine", path=path).build(3, 16)


@pytest.mark.parametrize("name", ["", "Mine", "a-b", "scale", "scales", "1st"])
def test_a_name_is_one_that_can_be_reported(name: str) -> None:
    with pytest.raises(ValueError, match=r"^name: got "):
        ImportedLoss(name=name, path="a.b")


@pytest.mark.parametrize("names", [("pixel",), ("adversarial",), ("ldl",), ("style",), ("mine", "mine")])
def test_a_name_is_given_once(names: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=f"^modules: got the name {names[-1]}, which another loss has"):
        LossesConfig(modules=tuple(ImportedLoss(name=name, path="a.b") for name in names))
