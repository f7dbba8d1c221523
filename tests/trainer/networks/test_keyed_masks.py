"""Masks of Dropout and stochastic depth go by the place of each sample, and by nothing else."""

from collections.abc import Callable
from pathlib import Path

import pytest
import safetensors.torch
import torch
from torch import Tensor, nn

from tests.faults.forked import TINY, Job
from tests.trainer.networks.test_keyed_rng import DRAWING, DropPath, Upscaler
from trainer.networks.keyed_masks import KeyedMasks, other_randomness, stochastic_depth


class Windowed(nn.Module):
    """Dropout on four windows of each sample, as window attention has it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Sequential(nn.Dropout(0.5), DropPath(0.5))

    def forward(self, x: Tensor) -> Tensor:
        windows = x.unflatten(-1, (4, -1)).transpose(1, 2).flatten(0, 1)  # [4 b, C, w]
        return self.inner(windows).unflatten(0, (len(x), 4))


def masked(net: nn.Module, x: Tensor, places: list[int], seed: int = 1, name: str = "generator") -> Tensor:
    masks = KeyedMasks(net.train(), seed, name)
    masks.place(torch.tensor(places))
    out: Tensor = net(x)
    return out


@pytest.mark.parametrize(
    "make",
    [
        lambda: nn.Dropout(0.4),
        lambda: nn.Sequential(nn.Dropout(0.4, inplace=True), nn.Dropout2d(0.4)),
        lambda: DropPath(0.4),
        Windowed,
        Upscaler,
    ],
)
def test_a_sample_is_masked_alike_in_any_micro_batch(make: Callable[[], nn.Module]) -> None:
    torch.manual_seed(0)
    net = make()
    x = torch.rand(6, 3, 8, 8) if isinstance(net, Upscaler) else torch.rand(6, 3, 8) + 1
    places = [40, 41, 42, 43, 44, 45]
    if isinstance(net, nn.Sequential):
        x = torch.rand(6, 3, 2, 2) + 1
    state = net.state_dict()
    whole = masked(net, x.clone(), places)
    parts = []
    for first in range(0, 6, 2):
        again = make()
        again.load_state_dict(state)
        parts.append(masked(again, x[first : first + 2].clone(), places[first : first + 2]))
    torch.testing.assert_close(torch.cat(parts), whole, rtol=1e-6, atol=1e-6)
    other = make()
    other.load_state_dict(state)
    assert not torch.equal(masked(other, x.clone(), [place + 6 for place in places]), whole)


def test_the_share_and_the_factor_are_those_of_torch() -> None:
    x = torch.ones(64, 100)
    out = masked(nn.Dropout(0.25), x, list(range(64)))
    assert set(out.unique().tolist()) == {0.0, torch.tensor(1 / 0.75).item()}
    assert abs((out != 0).float().mean().item() - 0.75) < 0.02
    channels = masked(nn.Dropout2d(0.5), torch.ones(64, 16, 2, 2), list(range(64))).flatten(2)
    assert torch.equal(channels, channels[..., :1].expand_as(channels))


def test_evaluation_and_a_net_without_places_are_left_alone() -> None:
    net = nn.Dropout(0.5)
    masks = KeyedMasks(net, 0, "generator")
    x = torch.ones(4, 1000)
    torch.manual_seed(0)
    drawn = net(x)
    torch.manual_seed(0)
    assert torch.equal(nn.Dropout(0.5)(x), drawn)
    masks.place(torch.arange(4))
    assert torch.equal(net.eval()(x), x)


def test_results_beside_real_pictures_have_the_masks_of_their_places() -> None:
    x = torch.ones(8, 32)
    whole = masked(nn.Dropout(0.5), x, [0, 1, 2, 3], name="discriminator")
    for place in range(4):
        pair = masked(nn.Dropout(0.5), x[:2], [place], name="discriminator")
        assert torch.equal(pair, whole[[place, place + 4]])


class Twice(nn.Module):
    """A transformer's block calls one module after the attention and after the MLP."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([self.inner(x), self.inner(x)])


@pytest.mark.parametrize("make", [lambda: DropPath(0.5), lambda: nn.Dropout(0.5)])
def test_each_call_in_a_pass_has_a_mask_of_its_own(make: Callable[[], nn.Module]) -> None:
    net = Twice(make())
    masks = KeyedMasks(net.train(), 0, "generator")
    masks.place(torch.arange(4096))
    x = torch.ones(4096, 1)
    first, second = net(x)
    assert abs((first == second).float().mean().item() - 0.5) < 0.05
    assert torch.equal(torch.stack([first, second]), net(x))  # a further pass, and a block that is computed again
    assert torch.equal(torch.stack([first, second]), Twice.forward(net, x))


def test_whatever_a_foreign_module_wants_it_is_only_passed_over() -> None:
    class FusedDropPath(nn.Module):
        drop_prob = 0.5

        def forward(self, x: Tensor, residual: Tensor) -> Tensor:
            return x + residual

    class BatchDropPath(nn.Module):
        drop_prob = 0.5

        def forward(self, x: Tensor) -> Tensor:
            return x * 2.0 * torch.bernoulli(torch.tensor(0.5))

    assert stochastic_depth(FusedDropPath()) is None
    assert stochastic_depth(BatchDropPath()) is None
    assert list(other_randomness(nn.Sequential(FusedDropPath()))) == ["0"]


def test_what_does_not_drop_samples_is_not_taken_for_it() -> None:
    class NoDropPath(nn.Module):
        drop_prob = 0.5

        def forward(self, x: Tensor) -> Tensor:
            return nn.functional.dropout(x, self.drop_prob, self.training)

    assert stochastic_depth(NoDropPath()) is None
    assert stochastic_depth(DropPath(0.0)) is None
    assert stochastic_depth(DropPath(0.2)) == (0.8, pytest.approx(1.25))


def trained(folder: Path, world: int, per_device: int) -> dict[str, Tensor]:
    arguments = [*DRAWING, f"output_dir={folder}", f"batch.per_device={per_device}", "max_train_steps=3"]
    arguments += ["validation=null", "adversarial.discriminator.type=module"]
    job = Job(world, folder.with_suffix(".log"), [str(TINY), *arguments])
    codes = job.wait(60)
    job.end()
    assert codes == [0] * world, folder.with_suffix(".log").read_text()[-2000:]
    newest = max((folder / "tiny" / "checkpoints").glob("step-????????"))
    return {
        f"{name} {key}": value
        for name in ("generator", "discriminator")
        for key, value in safetensors.torch.load_file(newest / f"{name}.safetensors").items()
    }


@pytest.mark.usefixtures("fresh_accelerate")
def test_ranks_and_micro_batches_make_no_difference(tmp_path: Path) -> None:
    one = trained(tmp_path / "one", 1, 4)
    for world, per_device in ((2, 2), (1, 2), (2, 1)):
        other = trained(tmp_path / f"{world}-{per_device}", world, per_device)
        for name, value in one.items():
            torch.testing.assert_close(other[name], value, rtol=0, atol=2e-6, msg=f"{world} {per_device} {name}")
