"""The perceptual losses: BasicSR's own figures, closed forms on a tiny VGG, and weights that are there or missing."""

import os
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import pytest
import safetensors.torch
import torch
import torch.nn.functional as F
from torch import Tensor

from trainer.losses.learned import DISTSLoss, LPIPSLoss
from trainer.losses.perceptual import PerceptualLoss
from trainer.losses.three_bands import bands_problem, three_bands
from trainer.losses.vgg import IMAGENET_MEAN, IMAGENET_STD, LAYER_NAMES, VGG19Features
from trainer.mistakes import Mistake

SHARED = Path(__file__).parents[3].parent / "shared" / "data" / "weights"
REAL = SHARED / "vgg19_conv1_1-conv3_4.rgb_imagenet_norm.pth"
KEY = "losses.perceptual"


def tiny_vgg(last: str) -> dict[str, Tensor]:
    """Random weights under torchvision's names as far as `last`, four channels wide."""
    generator = torch.Generator().manual_seed(0)
    tensors, width = {}, 3
    for number, name in enumerate(LAYER_NAMES[: LAYER_NAMES.index(last) + 1]):
        if name.startswith("conv"):
            tensors[f"features.{number}.weight"] = torch.randn(4, width, 3, 3, generator=generator) / 3
            tensors[f"features.{number}.bias"] = torch.randn(4, generator=generator) / 10
            width = 4
    return tensors


@pytest.fixture
def whole(tmp_path: Path) -> str:
    """A file with a tiny VGG19, and a classifier as torchvision's file has one."""
    path = tmp_path / "vgg19.pth"
    torch.save({**tiny_vgg("conv5_4"), "classifier.0.weight": torch.zeros(2, 2)}, path)
    return str(path)


def test_the_names_are_numbered_as_torchvision_numbers_them() -> None:
    wanted = {0: "conv1_1", 2: "conv1_2", 4: "pool1", 7: "conv2_2", 16: "conv3_4", 25: "conv4_4", 34: "conv5_4"}
    assert {number: LAYER_NAMES[number] for number in wanted} == wanted
    assert len(LAYER_NAMES) == 37
    assert LAYER_NAMES[35:] == ("relu5_4", "pool5")


def test_the_defaults_are_realesrgans() -> None:
    config = PerceptualLoss()
    assert config.layer_weights == {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1, "conv4_4": 1, "conv5_4": 1}
    assert (config.criterion, config.use_input_norm, config.terms) == ("l1", True, {"perceptual": 1.0})


UPSTREAM: list[tuple[dict[str, Any], tuple[float, float]]] = [
    ({"layer_weights": {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0}}, (269.100341796875, 612.8199462890625)),
    (
        {"layer_weights": {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0}, "criterion": "frobenius"},
        (57240.07, 305632.1),
    ),
    ({"layer_weights": {"relu1_1": 1.0, "pool2": 0.5}}, (48.295265197753906, 32.38066864013672)),
    ({"layer_weights": {"relu3_1": 1.0}, "use_input_norm": False}, (21.5913028717041, 5.144800662994385)),
]
"""Options, and BasicSR's PerceptualLoss of the pictures below with the weights of the shared folder."""


@pytest.mark.parametrize(("options", "wanted"), UPSTREAM)
def test_figures_are_basicsrs(options: dict[str, Any], wanted: tuple[float, float]) -> None:
    if not REAL.exists():
        pytest.skip(f"no {REAL.name} in the shared folder")
    ramp = torch.arange(3 * 32 * 40.0).reshape(1, 3, 32, 40)
    result, target = (ramp * 0.37).sin() / 2 + 0.5, (ramp * 0.11).cos() / 2 + 0.5
    distance = PerceptualLoss(weights=str(REAL), style_weight=1, **options).build(KEY)
    found = distance(result, target)
    assert (found["perceptual"].item(), found["style"].item()) == pytest.approx(wanted, rel=1e-4)


def test_a_blurred_photograph_is_further_away_than_a_brighter_one() -> None:
    if not REAL.exists():
        pytest.skip(f"no {REAL.name} in the shared folder")
    torch.manual_seed(0)
    layers = {"conv1_2": 0.1, "conv2_2": 0.1, "conv3_4": 1.0}
    distance = PerceptualLoss(weights=str(REAL), layer_weights=layers).build(KEY)
    texture = torch.rand(1, 3, 32, 32)
    blurred = F.avg_pool2d(texture, 3, 1, 1, count_include_pad=False)
    brighter = texture + (blurred - texture).abs().mean()
    far, near = (distance(other, texture)["perceptual"] for other in (blurred, brighter))
    assert far > 2 * near


def by_hand(tensors: dict[str, Tensor], pictures: Tensor) -> dict[str, Tensor]:
    """The features of the first layers, written out."""
    seen = torch.stack([(pictures[:, c] - IMAGENET_MEAN[c]) / IMAGENET_STD[c] for c in range(3)], dim=1)
    conv1_1 = F.conv2d(seen, tensors["features.0.weight"], tensors["features.0.bias"], padding=1)
    relu1_1 = conv1_1.clamp(min=0)
    conv1_2 = F.conv2d(relu1_1, tensors["features.2.weight"], tensors["features.2.bias"], padding=1)
    relu1_2 = conv1_2.clamp(min=0)
    found = {"conv1_1": conv1_1, "relu1_1": relu1_1, "conv1_2": conv1_2, "relu1_2": relu1_2}
    return {**found, "pool1": F.max_pool2d(relu1_2, 2)}


@pytest.mark.parametrize("layer", ["conv1_1", "relu1_1", "conv1_2", "relu1_2", "pool1"])
@pytest.mark.parametrize("criterion", ["l1", "mse", "frobenius"])
def test_each_criterion_and_layer_is_its_formula(whole: str, layer: str, criterion: Any) -> None:
    torch.manual_seed(0)
    result, target = torch.rand(2, 3, 8, 8), torch.rand(2, 3, 8, 8)
    config = PerceptualLoss(weights=whole, layer_weights={layer: 2.0}, criterion=criterion, style_weight=1)
    x, y = (by_hand(tiny_vgg("pool1"), pictures)[layer] for pictures in (result, target))
    gram_x, gram_y = (torch.einsum("bchw,bdhw->bcd", f, f) / f[0].numel() for f in (x, y))
    for name, d in (("perceptual", x - y), ("style", gram_x - gram_y)):
        norms = d.square().flatten(1).sum(1).sqrt()
        wanted = {"l1": d.abs().mean(), "mse": d.square().mean(), "frobenius": norms.mean()}[criterion]
        torch.testing.assert_close(config.build(KEY)(result, target)[name], 2 * wanted, rtol=1e-4, atol=1e-6)


def test_layers_add_up_by_their_weights(whole: str) -> None:
    result, target = torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)

    def distance(**layers: float) -> Tensor:
        found: Tensor = PerceptualLoss(weights=whole, layer_weights=layers).build(KEY)(result, target)["perceptual"]
        return found

    together = distance(conv1_2=0.1, relu3_1=2.0, conv5_4=1.0)
    torch.testing.assert_close(
        together, 0.1 * distance(conv1_2=1.0) + 2 * distance(relu3_1=1.0) + distance(conv5_4=1.0)
    )


def test_only_the_result_gets_a_gradient_and_nothing_is_trained(whole: str) -> None:
    distance = PerceptualLoss(weights=whole, style_weight=1).build(KEY)
    result, target = torch.rand(1, 3, 32, 32, requires_grad=True), torch.rand(1, 3, 32, 32, requires_grad=True)
    torch.stack(list(distance(result, target).values())).sum().backward()
    assert result.grad is not None
    assert result.grad.isfinite().all()
    assert target.grad is None
    assert not any(parameter.requires_grad for parameter in distance.parameters())


@pytest.mark.parametrize("criterion", ["l1", "mse", "frobenius"])
def test_equal_pictures_are_at_distance_0_with_a_finite_gradient(whole: str, criterion: Any) -> None:
    result = torch.rand(1, 3, 32, 32, requires_grad=True)
    found = PerceptualLoss(weights=whole, style_weight=1, criterion=criterion).build(KEY)(result, result.detach())
    assert [value.item() for value in found.values()] == [0.0, 0.0]
    torch.stack(list(found.values())).sum().backward()
    assert result.grad is not None
    assert result.grad.isfinite().all()


def test_under_bf16_the_distances_are_float32_and_near(whole: str) -> None:
    torch.manual_seed(0)
    distance = PerceptualLoss(weights=whole, style_weight=1).build(KEY)
    result, target = torch.rand(1, 3, 32, 32, requires_grad=True), torch.rand(1, 3, 32, 32)
    with torch.autocast("cpu", torch.bfloat16):
        rough = distance(result, target)
    for name, exact in distance(result, target).items():
        assert rough[name].dtype == torch.float32
        assert rough[name].item() == pytest.approx(exact.item(), rel=0.1)  # rounding of sixteen layers
    torch.stack(list(rough.values())).sum().backward()
    assert result.grad is not None
    assert result.grad.isfinite().all()


def test_a_batch_may_be_divided(whole: str) -> None:
    torch.manual_seed(0)
    result, target = torch.rand(4, 3, 32, 32), torch.rand(4, 3, 32, 32)
    for criterion in ("l1", "mse", "frobenius"):
        distance = PerceptualLoss(weights=whole, style_weight=1, criterion=criterion).build(KEY)  # type: ignore[arg-type]
        parts = [distance(result[i : i + 1], target[i : i + 1]) for i in range(4)]
        for name, value in distance(result, target).items():
            torch.testing.assert_close(value, torch.stack([part[name] for part in parts]).mean(), rtol=1e-5, atol=1e-5)


def test_bands_are_chosen_and_never_guessed(whole: str) -> None:
    result, target = torch.rand(1, 4, 32, 32), torch.rand(1, 4, 32, 32)
    plain, chosen = PerceptualLoss(weights=whole), PerceptualLoss(weights=whole, fixed_idx=(2, 1, 0))
    assert "fixed_idx: must be given for 4 bands" in str(plain.problem(4))
    assert chosen.problem(4) is None
    wanted = plain.build(KEY)(result[:, [2, 1, 0]], target[:, [2, 1, 0]])
    assert torch.equal(chosen.build(KEY)(result, target)["perceptual"], wanted["perceptual"])


@pytest.mark.parametrize(("bands", "fixed_idx"), [(3, None), (1, None), (4, (0, 1, 2)), (6, (5, 0, 3)), (2, (0, 1, 0))])
def test_three_bands_are_seen(bands: int, fixed_idx: Any) -> None:
    pictures = torch.rand(2, bands, 4, 4)
    seen = three_bands(pictures, fixed_idx)
    assert bands_problem(bands, fixed_idx) is None
    places = fixed_idx or ([0, 0, 0] if bands == 1 else [0, 1, 2])
    assert torch.equal(seen, torch.stack([pictures[:, place] for place in places], dim=1))


@pytest.mark.parametrize("bands", [2, 4, 6, 13])
def test_other_numbers_of_bands_must_say_which_are_red_green_and_blue(bands: int) -> None:
    for config in (PerceptualLoss(), LPIPSLoss(), DISTSLoss()):
        assert f"fixed_idx: must be given for {bands} bands" in str(config.problem(bands))


def test_bands_that_do_not_exist_are_refused() -> None:
    assert bands_problem(4, (0, 1, 4)) == "fixed_idx: got [0, 1, 4]; 4 bands are numbered 0 to 3"
    assert "numbered 0 to 3" in str(bands_problem(4, (-1, 1, 2)))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"layer_weights": {"conv6_1": 1.0}}, "layer_weights: got conv6_1; allowed: conv1_1, relu1_1, "),
        ({"layer_weights": {}}, "layer_weights: must name at least one layer"),
        ({"layer_weights": {"conv1_1": 0.0}}, "each with a positive factor"),
        ({"weight": 0.0}, "weight: got 0.0, with a style_weight of 0.0; one must be positive"),
        ({"weight": -1.0, "style_weight": 1.0}, "neither less than 0"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        PerceptualLoss(**options)


def test_style_alone_is_a_loss(whole: str) -> None:
    config = PerceptualLoss(weights=whole, weight=0, style_weight=3)
    assert config.terms == {"style": 3}
    assert list(config.build(KEY)(torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32))) == ["style"]


def test_safetensors_hold_the_same_weights(tmp_path: Path, whole: str) -> None:
    path = tmp_path / "vgg19.safetensors"
    safetensors.torch.save_file(tiny_vgg("conv5_4"), path)
    pair = torch.rand(2, 1, 3, 32, 32)
    one, two = (PerceptualLoss(weights=origin).build(KEY)(*pair) for origin in (str(path), whole))
    assert torch.equal(one["perceptual"], two["perceptual"])


def test_no_more_of_the_network_is_built_than_is_asked_for() -> None:
    vgg = VGG19Features(tiny_vgg("conv5_4"), ["relu1_1", "conv2_1"])
    assert len(vgg.features) == 6
    assert list(vgg(torch.rand(1, 3, 8, 8))) == ["relu1_1", "conv2_1"]


@pytest.mark.parametrize("call", [PerceptualLoss.fetch, PerceptualLoss.build])
def test_a_file_may_end_early_but_not_too_early(tmp_path: Path, call: Any) -> None:
    path = tmp_path / "short.pth"
    torch.save(tiny_vgg("conv3_4"), path)
    call(PerceptualLoss(weights=str(path), layer_weights={"conv1_2": 0.1, "conv3_4": 1.0, "relu3_4": 1.0}), KEY)
    with pytest.raises(Mistake) as mistake:
        call(PerceptualLoss(weights=str(path)), KEY)
    sentence = f"losses.perceptual.layer_weights: {path} ends at conv3_4 and so lacks conv4_4, conv5_4; leave these"
    assert str(mistake.value).startswith(sentence)


@pytest.mark.parametrize("call", [PerceptualLoss.fetch, PerceptualLoss.build])
@pytest.mark.parametrize("name", ["no/such/vgg19.pth", "vgg19.safetensors", "vgg19"])
def test_a_file_that_is_absent_is_named_with_where_to_get_it(call: Any, name: str) -> None:
    with pytest.raises(Mistake) as mistake:
        call(PerceptualLoss(weights=name), KEY)
    assert str(mistake.value).startswith(f"losses.perceptual.weights: {name} does not exist. Wanted is torchvision's")
    assert "vgg19-dcbb9e9d.pth" in str(mistake.value)


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    text, other = tmp_path / "text.pth", tmp_path / "other.pth"
    text.write_text("not weights")
    torch.save({"body.0.weight": torch.zeros(1)}, other)
    with pytest.raises(Mistake, match=r"text\.pth cannot be read as weights: PyTorch did not write it\.$"):
        PerceptualLoss(weights=str(text)).fetch(KEY)
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(Mistake, match=r"weights: .*pipe\.pth is a FIFO; wanted a file\. Wanted is torchvision's VGG19"):
        PerceptualLoss(weights=str(tmp_path / "pipe.pth")).fetch(KEY)
    with pytest.raises(Mistake, match=r"holds no VGG19: it lacks features\.0\.weight"):
        PerceptualLoss(weights=str(other)).fetch(KEY)


def test_what_one_process_fetched_the_others_find_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In a hub's cache as its client lays it out; `build` never asks the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    config = PerceptualLoss(weights="someone/vgg19", layer_weights={"conv1_2": 1.0})
    with pytest.raises(Mistake, match=r"vgg19 is no file here, and the hub did not .*: it cannot be reached"):
        config.build(KEY)
    commit = "0" * 40
    snapshot = tmp_path / "models--someone--vgg19" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    safetensors.torch.save_file(tiny_vgg("conv1_2"), snapshot / "model.safetensors")
    refs = tmp_path / "models--someone--vgg19" / "refs"
    refs.mkdir()
    (refs / "main").write_text(commit)
    pair = torch.rand(2, 1, 3, 8, 8)
    assert config.build(KEY)(*pair)["perceptual"] > 0


def test_weights_that_are_cast_once_give_the_bits_of_those_that_autocast_casts(whole: str) -> None:
    """In value and gradient; a pass then casts the picture alone."""
    result, target = torch.rand(1, 3, 24, 24), torch.rand(1, 3, 24, 24)
    found = []
    for precision in (torch.float32, torch.bfloat16):
        loss = PerceptualLoss(weights=whole, layer_weights={"conv2_2": 1.0, "conv3_4": 1.0}).build(KEY)
        for part in loss.modules():
            if isinstance(part, VGG19Features):
                part.to(precision)
        shown = result.clone().requires_grad_()
        with torch.autocast("cpu", torch.bfloat16):
            (value,) = loss(shown, target).values()
        value.backward()
        assert shown.grad is not None
        found.append((value.detach(), shown.grad))
    assert torch.equal(found[0][0], found[1][0])
    assert torch.equal(found[0][1], found[1][1])
