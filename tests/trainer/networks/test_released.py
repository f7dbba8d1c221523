"""Opening generators: their architecture, their sizes, and results that are the same to the bit."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from torch import Tensor, nn

from trainer.checkpoints.store import Checkpoints
from trainer.mistakes import Mistake
from trainer.networks import (
    Generator,
    ImportedGeneratorConfig,
    RRDBNet,
    ShuffleRRDBNet,
    SRResNet,
    SRVGGNetCompact,
    StochasticSRResNet,
)
from trainer.networks.loading.generators import bands_of, multiple_of, open_generator, scale_of
from trainer.networks.loading.state_dicts import read_state_dict

SHARED = Path(__file__).parents[3].parent / "shared" / "data"


class Doubling(nn.Module):
    """A generator of another package."""

    def __init__(self, bands: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(bands, 4 * bands, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.pixel_shuffle(self.conv(x), 2)


def disturbed(net: Generator) -> Generator:
    """The network with weights that no initialisation gives."""
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.1 * torch.rand_like(parameter))
    return net.eval()


def rrdb(scale: int = 4, bands: int = 3, **sizes: int) -> Generator:
    sizes = {"num_feat": 6, "num_block": 2, "num_grow_ch": 4, **sizes}
    return disturbed(RRDBNet(scale, bands, bands, **sizes))


def compact(scale: int = 4, bands: int = 3, **sizes: Any) -> Generator:
    return disturbed(SRVGGNetCompact(scale, bands, bands, **{"num_feat": 6, "num_conv": 3, **sizes}))


@torch.no_grad()
def assert_same(one: Generator, other: Generator) -> None:
    picture = torch.rand(1, bands_of(one), 12, 8)
    assert torch.equal(one(picture), other(picture))


@pytest.mark.parametrize("bands", [1, 3, 4])
@pytest.mark.parametrize(
    ("build", "scale"),
    [(rrdb, scale) for scale in (1, 2, 4)] + [(compact, scale) for scale in (1, 2, 3, 4, 8)],
)
def test_sizes_are_read_from_the_shapes(
    tmp_path: Path, build: Callable[[int, int], Generator], scale: int, bands: int
) -> None:
    net = build(scale, bands)
    torch.save({"params_ema": net.state_dict()}, tmp_path / "net.pth")
    opened = open_generator(str(tmp_path / "net.pth"), "--model")
    assert type(opened) is type(net)
    assert (scale_of(opened), bands_of(opened)) == (scale, bands)
    assert multiple_of(opened) == (4 // scale if build is rrdb else 1)
    assert not opened.training
    assert_same(net, opened)


@pytest.mark.parametrize("scale", [1, 2, 3, 4, 8])
def test_pixel_shuffled_rrdbs_too(tmp_path: Path, scale: int) -> None:
    net = disturbed(ShuffleRRDBNet(scale, n_channels=6, n_blocks=2, growth_channels=4))
    torch.save(net.state_dict(), tmp_path / "net.pth")
    opened = open_generator(str(tmp_path / "net.pth"), "--model")
    assert (type(opened), scale_of(opened)) == (ShuffleRRDBNet, scale)
    assert_same(net, opened)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_opens_as_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    net = compact()
    state = {name: value.to(dtype) for name, value in net.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / "half.safetensors")
    opened = open_generator(str(tmp_path / "half.safetensors"), "--model")
    for name, value in opened.state_dict().items():
        assert torch.equal(value, state[name].float()), name


FIRST_LAYOUT = {  # names of the layers around the blocks in ESRGAN's first program, from its released files
    "conv_first": "model.0",
    "conv_body": "model.1.sub.2",
    "conv_up1": "model.3",
    "conv_up2": "model.6",
    "conv_hr": "model.8",
    "conv_last": "model.10",
}
SECOND_LAYOUT = {
    "conv_first": "conv_first",
    "conv_body": "trunk_conv",
    "conv_up1": "upconv1",
    "conv_up2": "upconv2",
    "conv_hr": "HRconv",
    "conv_last": "conv_last",
}


def in_old_words(state: dict[str, Tensor], layout: dict[str, str]) -> dict[str, Tensor]:
    blocks, ending = ("model.1.sub", ".0") if layout is FIRST_LAYOUT else ("RRDB_trunk", "")

    def old(name: str) -> str:
        if match := re.match(r"body\.(\d)\.rdb(\d)\.conv(\d)\.(weight|bias)", name):
            return f"{blocks}.{match[1]}.RDB{match[2]}.conv{match[3]}{ending}.{match[4]}"
        layer, kind = name.split(".")
        return f"{layout[layer]}.{kind}"

    return {old(name): value for name, value in state.items()}


@pytest.mark.parametrize("layout", [FIRST_LAYOUT, SECOND_LAYOUT])
@pytest.mark.parametrize("scale", [1, 2, 4])
def test_both_old_layouts_of_esrgan_open(tmp_path: Path, layout: dict[str, str], scale: int) -> None:
    net = rrdb(scale)
    torch.save(in_old_words(net.state_dict(), layout), tmp_path / "old.pth")
    assert_same(net, open_generator(str(tmp_path / "old.pth"), "--model"))


@pytest.mark.parametrize("layout", [FIRST_LAYOUT, SECOND_LAYOUT])
@torch.no_grad()
def test_spandrel_reads_the_old_layouts_as_we_do(tmp_path: Path, spandrel: Any, layout: dict[str, str]) -> None:
    net = rrdb(num_grow_ch=32)  # it can read no other
    torch.save(in_old_words(net.state_dict(), layout), tmp_path / "old.pth")
    theirs = spandrel.ModelLoader(device="cpu").load_from_file(tmp_path / "old.pth")
    picture = torch.rand(1, 3, 12, 8)
    assert theirs.scale == 4
    assert torch.allclose(theirs.model(picture), net(picture), atol=1e-6)


def test_a_configuration_beside_the_weights_goes_first(tmp_path: Path) -> None:
    net = compact(act_type="leakyrelu")
    net.save_pretrained(tmp_path)
    opened = open_generator(str(tmp_path), "--model")
    assert opened.config.act_type == "leakyrelu"
    assert_same(net, opened)


@pytest.mark.parametrize("kind", [SRResNet, StochasticSRResNet])
def test_what_shapes_do_not_tell_is_in_the_configuration(tmp_path: Path, kind: Any) -> None:
    net = disturbed(kind(3, n_channels=6, n_blocks=1, res_scale=0.7))
    net.save_pretrained(tmp_path / "export")
    opened = open_generator(str(tmp_path), "--model")  # a run folder
    assert (opened.config.res_scale, scale_of(opened)) == (0.7, 3)
    assert_same(net, opened)


def test_a_configuration_is_found_from_within_the_folder_of_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = disturbed(SRResNet(3, n_channels=6, n_blocks=1, res_scale=0.7))
    net.save_pretrained(tmp_path / "export")
    folder = checkpoint_of(tmp_path, 7, {"generator_ema": net.state_dict()})
    monkeypatch.chdir(tmp_path)
    assert_same(net, open_generator("export", "--model"))
    monkeypatch.chdir(folder)
    assert_same(net, open_generator(".", "--model"))
    assert_same(net, open_generator("generator_ema.safetensors", "--model"))


def test_a_network_of_another_package_opens_with_its_facts(tmp_path: Path) -> None:
    config = ImportedGeneratorConfig(path=f"{__name__}.Doubling", scales=(2,), multiple=3, bands_arguments=("bands",))
    net = disturbed(config.build(2, bands=4))
    net.save_pretrained(tmp_path)
    opened = open_generator(str(tmp_path), "--model", [__name__])
    assert (scale_of(opened), bands_of(opened), multiple_of(opened)) == (2, 4, 3)
    assert_same(net, opened)


def test_what_a_configuration_has_beside_ours_is_said_in_one_sentence(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    net = compact()
    net.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"window": 8, "_by": "another program"}))
    with pytest.raises(Mistake, match=r"builds no SRVGGNetCompact: its config\.json has window, which .* not know\.$"):
        open_generator(str(tmp_path), "--model")
    assert not caplog.records


def test_a_configuration_without_end_is_none(tmp_path: Path) -> None:
    compact().save_pretrained(tmp_path)
    assert read_state_dict(str(tmp_path), "--model").config
    written = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(" " * 2**20 + written)
    assert read_state_dict(str(tmp_path), "--model").config is None


def checkpoint_of(run: Path, step: int, parts: dict[str, dict[str, Any]]) -> Path:
    checkpoints = Checkpoints(run / "checkpoints")
    checkpoints.begin(step)
    checkpoints.write(step, 0, {"generator": parts["generator_ema"], **parts, "progress": {"step": step}})
    return checkpoints.complete(step, ranks=1)


def test_a_checkpoint_is_described_by_the_export_of_its_run(tmp_path: Path) -> None:
    net = compact(act_type="relu")
    net.save_config(tmp_path / "export")
    folder = checkpoint_of(tmp_path, 7, {"generator_ema": net.state_dict()})
    assert_same(net, open_generator(str(folder), "--model"))


def test_a_run_without_an_export_gives_its_newest_whole_checkpoint(tmp_path: Path) -> None:
    older, newer = compact(), compact(num_conv=2)
    checkpoint_of(tmp_path, 7, {"generator_ema": older.state_dict()})
    damaged = checkpoint_of(tmp_path, 9, {"generator_ema": newer.state_dict()})
    assert_same(newer, open_generator(str(tmp_path), "--model"))
    (damaged / "generator_ema.safetensors").write_bytes(b"")
    assert_same(older, open_generator(str(tmp_path), "--model"))


def in_the_cache(folder: Path, files: Callable[[Path], object]) -> None:
    """A file as the hub's client keeps it in its cache after a download of `someone/network`."""
    repository = folder / "models--someone--network"
    files(repository / "snapshots" / ("0" * 40))
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text("0" * 40)


@pytest.mark.parametrize("described", [True, False])
def test_a_hub_id_opens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, described: bool) -> None:
    net = compact(act_type="leakyrelu") if described else compact()
    in_the_cache(tmp_path, net.save_pretrained)
    if not described:
        next(tmp_path.rglob("config.json")).unlink()
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert_same(net, open_generator("someone/network", "--model"))


def without(state: dict[str, Tensor], name: str) -> dict[str, Tensor]:
    return {key: value for key, value in state.items() if key != name}


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (
            {"encoder.weight": torch.zeros(3)},
            r"is no generator that this program knows \(RRDBNet, .*begin with encoder",
        ),
        (without(rrdb().state_dict(), "conv_hr.bias"), "does not hold a whole RRDBNet: .*conv_hr.bias"),
        (rrdb().state_dict() | {"conv_first.weight": torch.zeros(6, 5, 3, 3)}, "first convolution reads 5 channels"),
        (compact(act_type="relu").state_dict(), "ReLU or LeakyReLU, and only a config.json tells"),
        (compact().state_dict() | {"body.8.weight": torch.zeros(7, 6, 3, 3)}, "7 channels do not shuffle into 3"),
        (SRResNet(n_channels=4, n_blocks=1).state_dict(), "SRResNet, whose res_scale is in no tensor"),
        (without(in_old_words(rrdb().state_dict(), FIRST_LAYOUT), "model.10.weight"), "does not upsample twice"),
        ([1, 2], "holds no weights"),
        ({"params": {"step": 3}}, "holds no weights"),
    ],
)
def test_what_is_no_generator_is_named(tmp_path: Path, content: Any, sentence: str) -> None:
    torch.save(content, tmp_path / "net.pth")
    with pytest.raises(Mistake, match=rf"^--model: .*net\.pth .*{sentence}"):
        open_generator(str(tmp_path / "net.pth"), "--model")


def test_a_configuration_that_builds_nothing_is_named(tmp_path: Path) -> None:
    compact().save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"scale": 7}))
    with pytest.raises(Mistake, match=r"^--model: the configuration of .* builds no SRVGGNetCompact: .* not by 7"):
        open_generator(str(tmp_path), "--model")


def test_a_configuration_of_another_program_is_passed_over(tmp_path: Path) -> None:
    net = compact()
    net.save_pretrained(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["Swin2SR"]}')
    assert_same(net, open_generator(str(tmp_path), "--model"))


def luma(picture: np.ndarray) -> np.ndarray:
    """Y of BT.601, studio swing, of uint8 [H, W, 3]."""
    y: np.ndarray = picture.astype(np.float64) / 255 @ (65.481, 128.553, 24.966) + 16
    return y


@pytest.mark.skipif(not SHARED.is_dir(), reason="released weights and Set5 are not on this machine")
@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("realesr-animevideov3", 28.25),
        ("realesr-general-x4v3", 26.64),
        ("realesr-general-wdn-x4v3", 26.70),
        ("RealESRGAN_x4plus_anime_6B", 25.22),
    ],
)
@torch.no_grad()
def test_released_weights_have_their_figures_on_set5(name: str, wanted: float) -> None:
    net = open_generator(str(SHARED / "weights" / f"{name}.fromncnn.pth"), "--model")
    figures = []
    for file in sorted((SHARED / "bench" / "Set5").glob("*.bmp")):
        with Image.open(file) as opened:
            width, height = (side // 4 * 4 for side in opened.size)
            gt = opened.convert("RGB").crop((0, 0, width, height))
        lq = np.array(gt.resize((width // 4, height // 4), Image.Resampling.BICUBIC))
        result = net(torch.from_numpy(lq).permute(2, 0, 1)[None].float() / 255)
        rounded = result[0].clamp(0, 1).mul(255).round().permute(1, 2, 0).numpy()
        error = (luma(rounded) - luma(np.array(gt)))[4:-4, 4:-4]
        figures.append(10 * np.log10(255**2 / np.square(error).mean()))
    assert np.mean(figures) == pytest.approx(wanted, abs=0.02)
