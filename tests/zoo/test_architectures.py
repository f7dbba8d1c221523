"""Spandrel's architectures as generators: sizes, gradients, and files that spandrel opens under their right names."""

from pathlib import Path
from typing import get_args

import pytest
import torch

from tests.zoo.toys import TOYS
from trainer.export.openmodeldb import entry
from trainer.export.source import Source
from trainer.export.weights_file import results_of_weights, write_pth, write_safetensors
from trainer.hub.model_card import kind_of, loads_in_spandrel
from trainer.networks import RRDBNetConfig, SpandrelGeneratorConfig
from trainer.networks.loading.generators import open_generator, scale_of
from trainer.networks.loading.initial import load_weights
from trainer.networks.zoo.detection import detected, notes_on_detection
from trainer.networks.zoo.generator import SpandrelNetwork
from trainer.networks.zoo.table import ARCHITECTURES, Arch
from trainer.upscale.upscaler import Upscaler

pytest.importorskip("spandrel")
pytestmark = pytest.mark.filterwarnings("ignore:'saved_variables' is deprecated:DeprecationWarning")  # of OmniSR


def toy(arch: Arch, scale: int = 4, bands: int = 3, **more: object) -> SpandrelNetwork:
    torch.manual_seed(0)
    return SpandrelGeneratorConfig(arch=arch, arguments={**TOYS[arch], **more}).build(scale, bands)


def test_every_architecture_of_the_table_has_a_name_and_a_toy() -> None:
    assert set(get_args(Arch)) == set(ARCHITECTURES) == set(TOYS)
    assert len(ARCHITECTURES) == 25


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_it_trains_and_its_files_are_opened_under_its_name(arch: Arch, tmp_path: Path) -> None:
    net = toy(arch)
    x = torch.rand(2, 3, 24, 32)
    seen = x.clone()
    net.train()(x).square().mean().backward()
    assert torch.equal(x, seen)
    assert not [name for name, p in net.named_parameters() if p.requires_grad and p.grad is None]
    with torch.no_grad():
        expected = net.eval()(x)
        assert expected.shape == (2, 3, 96, 128)
        one = detected({name: value.clone() for name, value in net.state_dict().items()}, "init.generator").eval()
        assert one.config.arch == arch
        net.save_pretrained(tmp_path / "net")
        for same in (one, open_generator(str(tmp_path / "net"), "--model")):
            torch.testing.assert_close(same(x), expected, rtol=0, atol=1e-6)  # by where the weights lie in memory


def test_sizes_that_are_in_no_tensor_are_named() -> None:
    net, before = toy("SwinIR"), torch.get_rng_state()
    assert notes_on_detection(net) == []
    assert torch.equal(torch.get_rng_state(), before)
    (note,) = notes_on_detection(toy("GRL", window_size=16, stripe_size=[32, 32], depths=[1]))
    assert "window_size 32 for 16, stripe_size [64, 64] for [32, 32]" in note
    (note,) = notes_on_detection(toy("ESRGAN", scale=3))
    assert "takes this ESRGAN x3 of 3 bands for" in note


@pytest.mark.parametrize("arch", ["ESRGAN", "Compact"])
def test_files_of_networks_that_are_ours_too_keep_spandrels_names(arch: Arch, tmp_path: Path) -> None:
    """ESRGAN's older names are BasicSR's elsewhere; a file that is written has the run's own, in any form."""
    source = Source(toy(arch).eval(), "net", "2026-11-26")
    for name, write in (("net.pth", write_pth), ("net.safetensors", write_safetensors)):
        write(source, torch.float32, tmp_path / name)
        assert results_of_weights(source, torch.float32, tmp_path / name, [torch.rand(1, 3, 16, 16)])
    written = torch.load(tmp_path / "net.pth", weights_only=True)["params_ema"]
    assert written.keys() == source.net.state_dict().keys()
    assert isinstance(open_generator(str(tmp_path / "net.safetensors"), "--model"), SpandrelNetwork)


def test_our_rrdbnet_begins_with_the_weights_of_an_esrgan_of_spandrels(tmp_path: Path) -> None:
    toy("ESRGAN").save_pretrained(tmp_path / "net")
    ours = RRDBNetConfig(num_feat=8, num_block=1).build(4, 3)
    (note,) = load_weights(ours, str(tmp_path / "net"), "init.generator")
    assert note.startswith(f"init.generator: {len(ours.state_dict())} of {len(ours.state_dict())} tensors")


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_a_small_picture_is_enlarged_too(arch: Arch) -> None:
    net = toy(arch).eval()
    side = int(net.config.multiple)
    with torch.no_grad():
        assert net(torch.rand(1, 3, side, side)).shape == (1, 3, 4 * side, 4 * side)


@pytest.mark.parametrize("arch", [arch for arch, facts in ARCHITECTURES.items() if facts.not_rgb is not None])
def test_it_takes_four_bands_at_its_first_scale(arch: Arch) -> None:
    scale = ARCHITECTURES[arch].scales[0]
    with torch.no_grad():
        assert toy(arch, scale, 4).eval()(torch.rand(1, 4, 24, 24)).shape == (1, 4, 24 * scale, 24 * scale)


@pytest.mark.parametrize("arch", ["SPAN", "SwinIR", "RealPLKSR", "RealCUGAN"])
def test_weights_of_another_scale_leave_the_ends_alone_anew(arch: Arch) -> None:
    net, other = toy(arch, 4), toy(arch, 2)
    own, theirs = net.state_dict(), other.state_dict()
    differ = {n for n in {**own, **theirs} if n not in own or n not in theirs or own[n].shape != theirs[n].shape}
    assert differ <= set(net.ends)
    assert not set(net.ends) >= own.keys()


@pytest.mark.parametrize("arch", ["SPAN", "HAT", "SwinIR"])
def test_a_released_file_is_a_generator(arch: Arch, tmp_path: Path) -> None:
    net = toy(arch, 2)
    torch.save({"params_ema": net.state_dict()}, tmp_path / "released.pth")
    opened = open_generator(str(tmp_path / "released.pth"), "--model")
    assert isinstance(opened, SpandrelNetwork)
    assert (opened.config.arch, scale_of(opened)) == (arch, 2)
    x = torch.rand(1, 3, 24, 24)
    with torch.no_grad():
        assert torch.equal(opened(x), net.eval()(x))


def test_a_saved_network_needs_no_trust_and_imports_no_other_class(tmp_path: Path) -> None:
    net = toy("SPAN")
    net.save_pretrained(tmp_path / "net")
    opened = open_generator(str(tmp_path / "net"), "--model")
    assert isinstance(opened, SpandrelNetwork)
    config = (tmp_path / "net" / "config.json").read_text()
    (tmp_path / "net" / "config.json").write_text(config.replace('"SPAN"', '"os.system"'))
    with pytest.raises(Exception, match=r"arch: got 'os.system'; allowed: ATD, "):
        open_generator(str(tmp_path / "net"), "--model")


def test_the_fused_kernels_of_a_saved_span_are_those_of_its_weights() -> None:
    """Programs that read `eval_conv` alone find what was trained."""
    net, x = toy("SPAN"), torch.rand(1, 3, 16, 16)
    with torch.no_grad():
        next(net.parameters()).add_(1.0)
        stored = net.state_dict()["conv_1.eval_conv.weight"].clone()
        net.eval()(x)
        assert torch.equal(stored, net.state_dict()["conv_1.eval_conv.weight"])
        torch.testing.assert_close(net(x), net.train()(x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (
            {"arguments": {"feature_chanels": 8}},
            "arguments.feature_chanels: no argument of SPAN; did you mean 'fea",
        ),
        ({"arguments": {"upscale": 2}}, "arguments.upscale: no argument of SPAN; allowed: feature_channels, "),
        ({"arguments": {"feature_channels": "x"}}, "arguments: SPAN refuses "),
        ({"preset": "L"}, "preset: got 'L' for SPAN; allowed: 48, 52"),
    ],
)
def test_wrong_arguments_are_named(changes: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=r"\w") as error:
        SpandrelGeneratorConfig(arch="SPAN", **changes).build(4, 3)  # type: ignore[arg-type]
    assert str(error.value).startswith(said)


def test_a_run_of_it_has_an_entry_for_openmodeldb_and_a_card_that_names_it(tmp_path: Path) -> None:
    toy("SPAN", 2).save_pretrained(tmp_path / "net")
    opened = open_generator(str(tmp_path / "net"), "run")
    found = entry(Source(opened, "net", "2026-11-26"), [], "me", "MIT")
    assert found is not None
    assert (found["architecture"], found["size"], found["scale"], found["outputChannels"]) == ("span", None, 2, 3)
    assert found["description"] == "A ×2 SPAN."
    config = SpandrelGeneratorConfig(arch="HAT", preset="S")
    assert (kind_of(config), loads_in_spandrel(config)) == ("HAT", True)


def test_tiles_of_windows_are_not_taken_for_the_whole_picture() -> None:
    windowed, plain = Upscaler(toy("SwinIR").eval(), device="cpu"), Upscaler(toy("SPAN").eval(), device="cpu")
    assert (windowed.radius, windowed.is_exact, "fading into each other" in repr(windowed)) == (None, False, True)
    assert plain.radius is not None


def test_building_leaves_statistics_as_they_begin() -> None:
    state = toy("SwiftSRGAN").state_dict()
    means = [value for name, value in state.items() if name.endswith("running_mean")]
    assert means
    assert not any(bool(value.any()) for value in means)


def test_loading_moves_no_random_state() -> None:
    net = toy("SPAN")
    state = torch.get_rng_state()
    assert net.ends
    assert torch.equal(torch.get_rng_state(), state)


def test_wrong_scales_and_bands_are_named() -> None:
    with pytest.raises(ValueError, match=r"^FDAT upscales by 1, 2, 3, 4, not by 8$"):
        toy("FDAT", 8)
    with pytest.raises(ValueError, match=r"^RealPLKSR takes pictures of 3 bands, not of 4$"):
        toy("RealPLKSR", 4, 4)
