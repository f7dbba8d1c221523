"""A discriminator on the features of a frozen backbone, made by a path and without any download."""

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from accelerate import Accelerator
from torch import Tensor, nn

from tests.conftest import forget_accelerate
from tests.faults.forked import Job
from trainer.building.accelerator import make_accelerator
from trainer.building.learners import make_learners, network_facts
from trainer.config.loader import load_config
from trainer.config.schema import RunConfig
from trainer.networks import ImportedDiscriminatorConfig, ImportedNetwork
from trainer.networks.feature_discriminator import FeatureDiscriminator
from trainer.networks.given import as_discriminator
from trainer.networks.loading.initial import InitConfig
from trainer.objective import logits_of
from trainer.optim.learner import Learner, OptimizerConfig
from trainer.optim.lr_schedules import Linear

ROOT = Path(__file__).parents[3]
HERE = "tests.trainer.networks.test_feature_discriminator"
PATH = "trainer.networks.feature_discriminator.FeatureDiscriminator"


class Backbone(nn.Module):
    """Feature maps of strides 2 and 4, with the same weights each time, as from a file."""

    def __init__(self, seed: int = 0, multiple: int = 1) -> None:
        super().__init__()
        draws, self.multiple = torch.Generator().manual_seed(seed), multiple
        self.first, self.second = nn.Conv2d(3, 4, 3, 2, 1), nn.Conv2d(4, 6, 3, 2, 1)
        self.norm = nn.BatchNorm2d(4)
        for layer in (self.first, self.second):
            layer.weight.data = torch.randn(layer.weight.shape, generator=draws)
            layer.bias.data.zero_()  # type: ignore[union-attr]

    def forward(self, x: Tensor) -> list[Tensor]:
        assert not any(side % self.multiple for side in x.shape[-2:])
        first = self.norm(self.first(x))
        return [first, self.second(first.relu())]


class Downloaded(Backbone):
    """A backbone that takes a while to arrive, and must not arrive twice at once."""

    def __init__(self, file: str) -> None:
        there = Path(file).exists()
        time.sleep(0.3)
        assert there or not Path(file).exists()
        Path(file).touch()
        super().__init__()


class Judge(nn.Module):
    """One learning layer, whose answer takes several forms."""

    def __init__(self, answer: str) -> None:
        super().__init__()
        self.layer, self.answer = nn.Conv2d(3, 1, 3, padding=1), answer
        self.requires_grad_(answer != "frozen")

    def forward(self, x: Tensor) -> Any:
        logits = self.layer(x)
        answers = {
            "scales": (logits, logits[..., ::2, ::2], logits.mean((1, 2, 3))),
            "one number": logits.mean(),
            "detached": self.layer(x.detach()),
            "nested": [[logits], [logits]],
        }
        return answers.get(self.answer, logits)


def config(**arguments: Any) -> ImportedDiscriminatorConfig:
    backbone = {"backbone": f"{HERE}.Backbone", "num_feat": 4}
    return ImportedDiscriminatorConfig(path=PATH, arguments=backbone | arguments)


def test_heads_learn_on_a_backbone_that_never_does() -> None:
    torch.manual_seed(0)
    net = config().build(32, bands=3).train()
    before = {name: value.clone() for name, value in net.net.backbone.state_dict().items()}
    pictures = torch.rand(2, 3, 32, 32, requires_grad=True)
    logits = net(pictures)
    assert logits.shape == (2, 2 * 8 * 8)  # both levels give as many
    logits.square().mean().backward()
    assert pictures.grad is not None
    assert pictures.grad.abs().sum() > 0
    assert not net.net.backbone.training
    assert net.net.heads.training
    assert all((p.grad is not None) == name.startswith("net.heads.") for name, p in net.named_parameters())
    assert all(torch.equal(value, before[name]) for name, value in net.net.backbone.state_dict().items())


def test_levels_bands_and_multiples() -> None:
    arguments = {"arguments": {"multiple": 14}, "multiple": 14, "levels": [1], "fixed_idx": [4, 2, 0]}
    net = config(**arguments).build(32, bands=5).eval()
    pictures = torch.rand(1, 5, 32, 32)
    logits = net(pictures)
    assert logits.shape == (1, 11 * 11)  # 32 is enlarged to 42
    pictures[:, [1, 3]] = 0
    assert torch.equal(net(pictures), logits)
    with pytest.raises(ValueError, match=r"levels: got \[2\]; .* gives 2 feature maps"):
        config(levels=[2]).build(32, bands=3)


def test_pictures_are_normalised_as_imagenets() -> None:
    net, seen = FeatureDiscriminator(f"{HERE}.Backbone", num_feat=2), []
    net.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    net(torch.full((1, 3, 16, 16), 0.485))
    assert seen[0][0, 0].abs().max() == 0
    assert seen[0][0, 2].mean().item() == pytest.approx((0.485 - 0.406) / 0.225)


def test_a_checkpoint_holds_the_heads_alone(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net, again = config().build(32, bands=3), config().build(32, bands=3)
    state = net.state_dict()
    assert {name.split(".")[0] for name in state} == {"heads", "backbone_checksum"}
    torch.save(state, tmp_path / "judge.pt")
    again.load_state_dict(torch.load(tmp_path / "judge.pt", weights_only=True))
    pictures = torch.rand(1, 3, 32, 32)
    assert torch.equal(again.eval()(pictures), net.eval()(pictures))
    with pytest.raises(ValueError, match="learnt on another backbone"):
        config(arguments={"seed": 1}).build(32, bands=3).load_state_dict(state)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"backbone": "no_such_package.create"}, "install what has no_such_package in this environment"),
        ({"arguments": {"nonsense": 1}}, "backbone: .*Backbone refuses {'nonsense': 1}: TypeError"),
        ({"backbone": "builtins.dict"}, "makes a dict; must be a torch.nn.Module"),
        ({"backbone": "torch.nn.Identity"}, "no list of feature maps"),
    ],
)
def test_a_backbone_that_is_none_is_named(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**arguments).build(32, bands=3)


def test_scales_are_laid_side_by_side() -> None:
    """By their path and as a program's module; the first scale's logits come first."""
    built = ImportedDiscriminatorConfig(path=f"{HERE}.Judge", arguments={"answer": "scales"}).build(8, bands=3)
    pictures = torch.rand(2, 3, 8, 8)
    for net in (built, as_discriminator(Judge("scales"), 8, bands=3)):
        logits = net(pictures)
        assert logits.shape == (2, 64 + 16 + 1)
        assert torch.equal(logits[:, :64], net.net.layer(pictures).flatten(1))
        on_real, on_fake = logits_of(net, pictures, pictures[:1])
        assert (on_real.shape, on_fake.shape) == ((2, 81), (1, 81))
    assert all(parameter.requires_grad for parameter in built.parameters())


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("one number", r"answers 2 patches with one number; it must give logits of each, \[2, \.\.\.\]"),
        ("frozen", "has no parameter that learns"),
        ("detached", "lets no gradient through to its patches"),
        ("nested", "answers with list of list, list; it must answer with one tensor"),
    ],
)
def test_what_cannot_judge_is_refused(answer: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ImportedDiscriminatorConfig(path=f"{HERE}.Judge", arguments={"answer": answer}).build(8, bands=3)
    with pytest.raises(ValueError, match=message):
        as_discriminator(Judge(answer), 8, bands=3)


def test_an_absent_package_comes_with_advice() -> None:
    with pytest.raises(ValueError, match="No module named 'no_such_package'; install what has no_such_package"):
        ImportedDiscriminatorConfig(path="no_such_package.Judge").build(8, bands=3)


def test_the_backbones_batchnorm_does_not_make_two_forwards() -> None:
    net, calls = config().build(32, bands=3).train(), []
    net.register_forward_hook(lambda *_: calls.append(1))
    pictures = torch.rand(1, 3, 32, 32)
    for norm, forwards in ((None, 1), (nn.BatchNorm2d(3), 2), (nn.BatchNorm2d(3, track_running_stats=False).eval(), 2)):
        net.extra = norm
        calls.clear()
        logits_of(net, pictures, pictures)
        assert len(calls) == forwards


def test_updates_are_measured_on_what_learns() -> None:
    learner = Learner(Accelerator(cpu=True), config().build(32, bands=3), OptimizerConfig(), Linear())
    before = learner.weights()
    assert len(before) == len(list(learner.net.net.heads.parameters()))
    with torch.no_grad():
        for parameter in learner.learning:
            parameter.mul_(1.5)
    assert learner.update_ratio(before).item() == pytest.approx(0.5)


def test_frozen_weights_are_compared_over_ranks() -> None:
    one, same, other = (config(arguments={"seed": seed}).build(32, bands=3) for seed in (0, 0, 1))
    facts = [network_facts("judge", net, weights=False) for net in (one, same, other)]
    assert facts[0] == facts[1]  # the heads are random ones, and not compared
    assert {name for name in facts[0] if facts[0][name] != facts[2][name]} == {"judge: checksum of the frozen weights"}


def test_one_rank_downloads_for_its_machine(tmp_path: Path) -> None:
    backbone = f"{{backbone: {HERE}.Downloaded, num_feat: 2, arguments: {{file: {tmp_path / 'weights'}}}}}"
    settings = [
        "generator={type: SRVGGNetCompact, num_feat: 4, num_conv: 1}", "gt_size=32", "mixed_precision=no",
        "batch.global_size=2", "batch.per_device=1",
        f"adversarial.discriminator={{type: module, path: {PATH}, arguments: {backbone}}}",
    ]  # fmt: skip

    def work(_: Sequence[str]) -> int:
        forget_accelerate()
        config = load_config(RunConfig, ROOT / "configs" / "realesr_general_x4v3.yaml", settings)
        _, judge, _ = make_learners(config, make_accelerator(config), InitConfig())
        return 0 if judge else 1

    job = Job(2, tmp_path / "log", [], work)
    codes = job.wait(60)
    job.end()
    assert codes == [0, 0], (tmp_path / "log").read_text()


@pytest.mark.parametrize("path", [PATH, "trainer.networks.ImportedNetwork"])
def test_trust_in_the_trainer_is_no_trust_in_what_a_file_has_it_import(path: str) -> None:
    config = {
        "_class_name": "ImportedNetwork",
        "path": path,
        "arguments": {"backbone": "os.system", "path": "evil.Net"},
    }
    with pytest.raises(ValueError, match="whose arguments would name something else to import and run"):
        ImportedNetwork.from_config(config, trust=["trainer"])


def test_the_recipes_section_is_understood() -> None:
    page = (ROOT / "configs" / "recipes.md").read_text()
    block = re.search(r"```yaml\n(adversarial:\n.*?)```", page, re.DOTALL)
    assert block
    section = yaml.safe_load(block[1])["adversarial"]["discriminator"]
    assert (section.pop("type"), section["path"]) == ("module", PATH)
    section["arguments"] |= {"backbone": f"{HERE}.Backbone", "arguments": {}, "levels": [0, 1]}
    assert ImportedDiscriminatorConfig(**section).build(32, bands=3)(torch.rand(1, 3, 32, 32)).shape == (1, 128)
