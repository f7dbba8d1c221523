"""The contextual loss: its formula, its bounded memory, what it does not look at, and its network."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.trainer.losses.test_losses_perceptual import tiny_vgg
from trainer.losses import ContextualLoss, contextual
from trainer.losses.contextual import contextual_distance
from trainer.mistakes import Mistake

KEY = "losses.contextual"


def features(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def whole(tmp_path: Path) -> str:
    """A file with a tiny VGG19 as far as its default layers."""
    torch.save(tiny_vgg("conv4_2"), path := tmp_path / "vgg19.pth")
    return str(path)


def by_hand(x: Tensor, y: Tensor, bandwidth: float) -> float:
    """The paper's equations 1 to 5 in numpy, for one picture's features [C, N]."""
    a, b = (f.double().numpy() - y.double().numpy().mean(1, keepdims=True) for f in (x, y))
    a, b = a / np.linalg.norm(a, axis=0), b / np.linalg.norm(b, axis=0)
    d = (1 - a.T @ b) / 2
    w = np.exp((1 - d / (d.min(1, keepdims=True) + 1e-5)) / bandwidth)
    return float(-np.log((w / w.sum(1, keepdims=True)).max(0).mean()))


@pytest.mark.parametrize("bandwidth", [0.1, 0.5])
def test_it_is_its_formula_by_picture(bandwidth: float) -> None:
    x, y = features(3, 8, 6, 7), features(3, 8, 6, 7, seed=1)
    wanted = np.mean([by_hand(one.flatten(1), other.flatten(1), bandwidth) for one, other in zip(x, y, strict=True)])
    assert contextual_distance(x, y, bandwidth).item() == pytest.approx(wanted, rel=1e-5)


def test_it_is_computed_in_parts_with_the_same_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    y, found = features(2, 8, 6, 7, seed=1), []
    for pairs in (2**22, 5 * 42):  # all at once, and 5 features of the result at a time
        monkeypatch.setattr(contextual, "PAIRS", pairs)
        x = features(2, 8, 6, 7).requires_grad_()
        loss = contextual_distance(x, y, 0.5)
        loss.backward()
        assert x.grad is not None
        found.append((loss.detach(), x.grad))
    torch.testing.assert_close(found[0], found[1])


def test_memory_does_not_grow_with_the_square_of_the_patch(monkeypatch: pytest.MonkeyPatch) -> None:
    """No matrix of all pairs exists, in the forward and in what it keeps for the backward."""
    monkeypatch.setattr(contextual, "PAIRS", 2**16)
    sizes: list[int] = []

    def kept(tensor: Tensor) -> Tensor:
        sizes.append(tensor.numel())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(kept, lambda tensor: tensor):
        contextual_distance(features(1, 4, 32, 32).requires_grad_(), features(1, 4, 32, 32, seed=1), 0.5).backward()
    assert max(sizes) <= 2**16 < 1024**2


def test_where_a_feature_lies_does_not_matter() -> None:
    x, y = features(1, 8, 6, 7), features(1, 8, 6, 7, seed=1)
    apart = contextual_distance(x, y, 0.5)
    torch.testing.assert_close(contextual_distance(x, y.flip(-1).roll(2, -2), 0.5), apart)
    assert contextual_distance(y.flip(-1), y, 0.5) < 0.1 * apart


@pytest.mark.parametrize("case", ["equal", "constant"])
def test_the_gradient_is_finite(whole: str, case: str) -> None:
    distance = ContextualLoss(weights=whole).build(KEY)
    target = torch.rand(2, 3, 32, 32) if case == "equal" else torch.full((2, 3, 32, 32), 0.5)
    result = target.clone().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = distance(result, target)
    loss.backward()
    assert loss.dtype == torch.float32
    assert loss >= 0
    assert result.grad is not None
    assert result.grad.isfinite().all()
    assert not any(parameter.requires_grad for parameter in distance.parameters())


def test_layers_add_up_by_their_weights(whole: str) -> None:
    result, target = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)

    def distance(**layers: float) -> Tensor:
        found: Tensor = ContextualLoss(weights=whole, layer_weights=layers).build(KEY)(result, target)
        return found

    torch.testing.assert_close(
        distance(conv1_2=0.5, relu3_1=2.0), 0.5 * distance(conv1_2=1.0) + 2 * distance(relu3_1=1.0)
    )


@pytest.mark.parametrize("call", [ContextualLoss.fetch, ContextualLoss.build])
def test_weights_that_are_absent_are_named(call: Any, tmp_path: Path) -> None:
    with pytest.raises(Mistake, match=r"^losses\.contextual\.weights: none\.pth does not exist"):
        call(ContextualLoss(weights="none.pth"), KEY)
    torch.save(tiny_vgg("conv3_1"), path := tmp_path / "short.pth")
    with pytest.raises(Mistake, match=r"^losses\.contextual\.layer_weights: .* ends at conv3_1 and so lacks conv3_2"):
        call(ContextualLoss(weights=str(path)), KEY)
