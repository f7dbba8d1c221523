"""LPIPS and DISTS: the packages' own figures, official weights by their checksum, and files that will not do."""

import hashlib
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.trainer.losses.seeded_backbones import saved, seeded
from trainer.losses import backbones
from trainer.losses.backbones import ARCHITECTURES, Backbone, Features, is_official
from trainer.losses.learned import DISTS, LPIPS, DISTSLoss, LPIPSLoss
from trainer.losses.pretrained import OfficialFile
from trainer.mistakes import Mistake

KEY = "losses.perceptual"
PACKAGES = {
    "alex": [0.21682165563106537, 0.003007061779499054],
    "vgg": [0.17693497240543365, 0.003960153087973595],
    "squeeze": [0.17787298560142517, 0.013768496923148632],
    "dists": [0.18164342641830444, 0.007381618022918701],
}
"""lpips 0.1.4 and DISTS-pytorch 0.1, unmodified, of `pair()` with the weights of `seeded` in torchvision's networks."""


def pair() -> tuple[Tensor, Tensor]:
    ramp = torch.arange(2 * 3 * 64 * 72.0).reshape(2, 3, 64, 72)
    result, target = (ramp * 0.37).sin() / 2 + 0.5, (ramp * 0.11).cos() / 2 + 0.5
    target[1] = result[1] * 0.9 + 0.1 * target[1]
    return result, target


@pytest.mark.parametrize("kind", PACKAGES)
def test_figures_are_the_packages(kind: Any) -> None:
    net = DISTS(seeded("vgg")) if kind == "dists" else LPIPS(kind, seeded(kind))
    with torch.no_grad():
        assert net(*pair()).tolist() == pytest.approx(PACKAGES[kind], abs=1e-6)
        same = net(pair()[0], pair()[0])
    assert same.abs().max() < 1e-6


@pytest.mark.parametrize("config", [LPIPSLoss(net="squeeze"), DISTSLoss()], ids=["lpips", "dists"])
def test_as_a_loss_it_is_the_mean_in_float32_and_its_gradient_is_finite(
    tmp_path: Path, config: LPIPSLoss | DISTSLoss
) -> None:
    kind = config.backbone
    options = {"net": kind} if isinstance(config, LPIPSLoss) else {}
    loss = type(config)(weight=2, weights=saved(kind, tmp_path), fixed_idx=(2, 1, 0), **options)
    assert loss.terms == {"perceptual": 2}
    loss.fetch(KEY)
    module = loss.build(KEY)
    four = [torch.cat([part, part[:, :1]], 1)[:, :, :40, :40].clone() for part in pair()]
    four[0].requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        found = module(*four)["perceptual"]
    net = LPIPS("squeeze", seeded("squeeze")) if config.type == "lpips" else DISTS(seeded("vgg"))
    with torch.no_grad():
        torch.testing.assert_close(found, net(four[0][:, [2, 1, 0]], four[1][:, [2, 1, 0]]).mean())
    found.backward()
    assert four[0].grad is not None
    assert four[0].grad[:, :3].isfinite().all()
    assert four[0].grad[:, :3].abs().sum() > 0
    assert not any(parameter.requires_grad for parameter in module.parameters())


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_the_least_side_is_the_least_that_the_network_takes(kind: Backbone) -> None:
    features, least = Features(kind, seeded(kind)), ARCHITECTURES[kind].least
    assert len(features(torch.rand(1, 3, least, least))) == len(ARCHITECTURES[kind].taps)
    with pytest.raises(RuntimeError):
        features(torch.rand(1, 3, least - 1, least))


@pytest.fixture
def small_official(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> OfficialFile:
    """torch's cache in a folder, where the official SqueezeNet is a seeded one, named by its checksum."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    digits = hashlib.sha256(Path(saved("squeeze", tmp_path, "some.pth")).read_bytes()).hexdigest()[:8]
    official = OfficialFile(f"squeezenet1_1-{digits}.pth", "5 MB")
    known = ARCHITECTURES["squeeze"]
    named = backbones.Architecture(known.title, official, known.layers, known.taps, known.least)
    monkeypatch.setitem(backbones.ARCHITECTURES, "squeeze", named)
    return official


@pytest.mark.parametrize("place", ["cache", "path"])
def test_official_weights_are_verified_wherever_they_lie(
    tmp_path: Path, small_official: OfficialFile, place: str
) -> None:
    path = small_official.place if place == "cache" else tmp_path / small_official.name
    path.parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "some.pth").rename(path)
    origin = None if place == "cache" else str(path)
    assert is_official("squeeze", origin)
    LPIPSLoss(net="squeeze", weights=origin).build(KEY)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(Mistake, match=r"weights: .* is not torchvision's file of that name: its SHA-256 begins with"):
        LPIPSLoss(net="squeeze", weights=origin).fetch(KEY)
    assert not is_official("squeeze", str(tmp_path / "some.pth"))


@pytest.mark.usefixtures("small_official")
def test_where_nothing_is_downloaded_the_file_is_named_with_its_place() -> None:
    with pytest.raises(Mistake) as mistake:
        LPIPSLoss(net="squeeze").build(KEY)
    sentence = str(mistake.value)
    assert sentence.startswith("losses.perceptual.weights: ")
    assert "does not exist. Wanted is torchvision's file https://download.pytorch.org/models/squeeze" in sentence


def test_a_download_that_fails_is_one_sentence(small_official: OfficialFile, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.losses.pretrained.ADDRESS", "http://127.0.0.1:9/")
    with pytest.raises(Mistake, match=rf"weights: {small_official.name} could not be downloaded: .*refused.* Wanted"):
        LPIPSLoss(net="squeeze").fetch(KEY)
    assert not small_official.place.exists()


def test_files_that_are_none_are_refused(tmp_path: Path) -> None:
    torch.save({"body.0.weight": torch.zeros(1)}, tmp_path / "other.pth")
    with pytest.raises(Mistake, match=r"holds no AlexNet: it lacks features\.0\.weight"):
        LPIPSLoss(weights=str(tmp_path / "other.pth")).fetch(KEY)
    with pytest.raises(Mistake, match=r"holds no VGG16: features\.0\.weight is \[64, 3, 11, 11\], not \[64, 3, 3, 3\]"):
        DISTSLoss(weights=saved("alex", tmp_path)).build(KEY)
    with pytest.raises(Mistake, match=r"^losses\.perceptual\.weights: no/such\.pth does not exist\. Wanted is torchv"):
        LPIPSLoss(weights="no/such.pth").build(KEY)
    os.mkfifo(tmp_path / "pipe.pth")
    with pytest.raises(Mistake, match=r"pipe\.pth is a FIFO; wanted a file\."):
        LPIPSLoss(weights=str(tmp_path / "pipe.pth")).build(KEY)
    (tmp_path / "text.pth").write_text("not weights")
    with pytest.raises(Mistake, match=r"text\.pth cannot be read as weights"):
        LPIPSLoss(weights=str(tmp_path / "text.pth")).build(KEY)
