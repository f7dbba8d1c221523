"""The recipes of configs/recipes.md: each block of commands is run, on tiny pictures and with tiny networks.

`/my/photos` and the like become folders of this test, `RealESRGAN_x4plus.pth` and the like small networks of the same
kind. A configuration must load as the page gives it; then `TINY` replaces what takes long. Sections of `TRAINED` take
two steps, the others are checked by `--check`, as before a start. What needs a network or another program is only read.
"""

import importlib
import re
import shlex
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tests.zoo.conftest  # noqa: F401 - a stub of torchvision, where there is none
from tests.faults.forked import Job
from trainer.config.loader import load_config
from trainer.config.schema import RunConfig
from trainer.losses.vgg import STAGES
from trainer.networks import RRDBNetConfig, SRVGGNetCompactConfig, UNetDiscriminatorSNConfig
from trainer.run import main as train
from wildsr import PROGRAMS

pytest.importorskip("spandrel", reason="a recipe is of its networks: pip install 'wildsr[zoo]'")
rasterio = pytest.importorskip("rasterio", reason="a recipe is of rasters: pip install 'wildsr[geo]'")

PAGE = Path(__file__).parents[1] / "configs" / "recipes.md"
FRONT = PAGE.parents[1] / "README.md"
TRAINED = {"Own photographs", "Fine-tuning a released network", "Another architecture, any released file",
           "Textures after L1", "Given pairs", "Remote sensing", "Video frames"}  # fmt: skip
ELSEWHERE = {"curl", "ffmpeg", "git", "pip", "%cd", "from"}
"""Programs and notebook lines that are only read."""
TINY = {
    "max_train_steps": "2", "mixed_precision": "no", "queue_size": "0", "images.dataloader_num_workers": "0",
    "batch.global_size": "1", "batch.per_device": "1", "validation.validation_steps": "2",
    "validation.num_samples": "1", "checkpoints.checkpointing_steps": "2", "telemetry.report_to": "none",
}  # fmt: skip
FOLDERS = ("my/photos", "my/drawings", "my/scans", "data/held_out", "data/hr", "data/val_hr", "good", "frames",
           "content/drive/MyDrive/photos", "kaggle/input/photos", "kaggle/input/held-out")  # fmt: skip
NETWORKS = {
    "RRDBNet": {"num_feat": 4, "num_block": 1, "num_grow_ch": 4},
    "SRVGGNetCompact": {"num_feat": 4, "num_conv": 1},
    "ShuffleRRDBNet": {"n_channels": 4, "n_blocks": 1, "growth_channels": 4},
    "SpandrelGenerator": {"arguments": {"feature_channels": 4}},
}


def sections() -> Iterator[tuple[str, list[str]]]:
    """The headings of the page, and the blocks of commands below each."""
    for part in re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)[1:]:
        yield part.split("\n", 1)[0], re.findall(r"^```\n(.*?)^```", part, flags=re.MULTILINE | re.DOTALL)


def commands(block: str) -> Iterator[list[str]]:
    """The commands of a block as a shell splits them; one may go on over lines, within quotes too."""
    typed = ""
    for line in block.splitlines(keepends=True):
        typed += line
        if typed.endswith("\\\n"):
            continue
        try:
            words = shlex.split(typed.removeprefix("!").replace("\\\n", " "), comments=True)
        except ValueError:  # a quote is still open
            continue
        typed = ""
        if words:
            yield words
    assert not typed, f"the block ends within a command: {typed}"


class Page:
    """The commands of the page, typed in a folder that holds what they name."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.log = folder, folder / "log"
        (folder / "configs").symlink_to(PAGE.parent)
        for name in FOLDERS:
            for number in range(3):
                picture(folder / name / f"{number}.png", 64, number)
        for name in ("data/lr", "data/val_lr"):
            for number in range(3):
                picture(folder / name / f"{number}.png", 16, number)
        for name in ("data/tiles", "data/val_tiles"):
            raster(folder / name / "0.tif", 128)
        weights(folder)
        (folder / "kaggle/working").mkdir()

    def enter(self, words: list[str], trains: bool) -> None:
        """Do what a command does."""
        match words:
            case ["./launch/local.sh", target, *rest] | ["wildsr", "train", target, *rest] if Path(target).is_dir():
                self.photos([target, *rest], trains)
            case ["./launch/local.sh", target, *rest] | ["wildsr", "train", target, *rest]:
                self.train(target, rest, trains)
            case ["wildsr", "prepare", *rest]:
                self.program(PROGRAMS["prepare"][0], [*rest, "--tile=48", "--step=16", "--min-side=16"])
            case ["wildsr", command, *rest]:
                self.program(PROGRAMS[command][0], rest)
            case ["python", "-m", module, *rest]:
                self.program(module, rest)
            case ["python", "-c", code]:
                exec(compile(code, str(PAGE), "exec"), {})
            case ["mkdir", "-p", *names]:
                assert all(Path(name).is_dir() for name in names)
            case _:
                assert words[0] in ELSEWHERE, f"no such program: {words[0]}"
                if words[0] == "curl":
                    assert Path(words[-1]).name in {file.name for file in self.folder.iterdir()}

    def photos(self, arguments: list[str], trains: bool) -> None:
        """`./launch/local.sh PHOTOS`: a configuration is chosen, then checked or trained."""
        settings = [word for word in arguments if "=" in word]
        tiny = {"images.crop_size": "48", "gt_size": "32", "batch.global_size": "1", "batch.per_device": "1"}
        if "--from" not in arguments:
            tiny |= {"generator.num_feat": "4", "generator.num_conv": "1"}
        self.program("trainer.photos", [*arguments, *as_words(tiny, settings)])
        newest = max(self.folder.rglob("my_photos.yaml"), key=lambda file: file.stat().st_mtime_ns)
        self.train(str(newest), settings, trains)

    def train(self, target: str, settings: list[str], trains: bool) -> None:
        """`./launch/local.sh CONFIG key=value ...`: loaded as it is, then checked or trained with tiny sizes."""
        path = Path(target)
        config = load_config(RunConfig, path, settings)
        kind = type(config.generator).__name__.removesuffix("Config")
        tiny = {**TINY, **{f"generator.{key}": str(value) for key, value in NETWORKS[kind].items()}}
        side = 32
        if config.adversarial:
            tiny["adversarial.discriminator.num_feat"] = "4"
            side = 128 if type(config.adversarial.discriminator).__name__.startswith("VGGStyle") else 32
            tiny["losses.perceptual.weights"] = str(self.folder / "vgg19-dcbb9e9d.pth")
        if config.mixing:  # of pairs
            tiny |= {"batch.global_size": "2", "batch.per_device": "2"}
        if config.losses.ms_ssim:
            tiny["losses.ms_ssim.scales"] = "2"
        tiny |= {"gt_size": str(side), "images.crop_size": str(max(side, 48))}
        own = [word for word in settings if word.split("=")[0] not in tiny]
        last = ["--check", "1"] if not trains else []
        self.run(train, [str(path), *own, *as_words(tiny, []), *last])

    def program(self, module: str, arguments: list[str]) -> str:
        """`python -m MODULE`, whose output is returned."""
        return self.run(program_of(module).main, arguments)

    def run(self, work: Callable[[Sequence[str]], int], arguments: list[str]) -> str:
        """Do `work` in a process of its own, and return what it printed."""
        self.log.unlink(missing_ok=True)
        job = Job(1, self.log, arguments, work)
        codes = job.wait(120)
        job.end()
        printed = self.log.read_text()
        assert codes == [0], f"{arguments}\n{printed}"
        return printed


def program_of(module: str) -> Any:
    """The Python module that `python -m MODULE` runs."""
    found = importlib.import_module(module)
    return found if hasattr(found, "main") else importlib.import_module(f"{module}.__main__")


def as_words(settings: dict[str, str], but: list[str]) -> list[str]:
    """Settings as they are typed, without those of the command."""
    typed = {word.split("=")[0] for word in but}
    return [f"{key}={value}" for key, value in settings.items() if key not in typed]


def picture(path: Path, side: int, seed: int) -> None:
    """A photograph of soft noise, as PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    noise = torch.rand(8, 8, 3, generator=torch.Generator().manual_seed(seed))
    Image.fromarray((noise * 255).byte().numpy()).resize((side, side), Image.Resampling.BICUBIC).save(path)


def raster(path: Path, side: int) -> None:
    """Reflectances of four bands, as GeoTIFF."""
    path.parent.mkdir(parents=True)
    numbers = np.full((4, side, side), 3000, np.uint16)
    profile = {"driver": "GTiff", "count": 4, "height": side, "width": side, "dtype": "uint16"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as file:
            file.write(numbers)


def weights(folder: Path) -> None:
    """The released files that the page names, with few channels."""
    rrdb = RRDBNetConfig(**NETWORKS["RRDBNet"]).build(4, 3).state_dict()
    compact = SRVGGNetCompactConfig(**NETWORKS["SRVGGNetCompact"]).build(4, 3).state_dict()
    judge = UNetDiscriminatorSNConfig(num_feat=4).build(32, 3).state_dict()
    torch.save({"params_ema": rrdb}, folder / "RealESRGAN_x4plus.pth")
    torch.save({"params_ema": rrdb}, folder / "RealESRGAN_x4plus_anime_6B.pth")
    torch.save({"params": judge}, folder / "RealESRGAN_x4plus_netD.pth")
    (folder / "kaggle/input/weights").mkdir()
    for place in (folder, folder / "kaggle/input/weights"):
        torch.save({"params": compact}, place / "realesr-general-x4v3.pth")
    tensors, number, inputs = {}, 0, 3
    for stage in STAGES:
        for _ in range(stage):
            tensors[f"features.{number}.weight"] = torch.randn(4, inputs, 3, 3) / 6
            tensors[f"features.{number}.bias"] = torch.zeros(4)
            inputs, number = 4, number + 2  # an activation follows each
        number += 1  # and a pooling each stage
    torch.save(tensors, folder / "vgg19-dcbb9e9d.pth")


def test_the_page_is_what_this_version_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page, done = Page(tmp_path), set()
    for heading, blocks in sections():
        for block in blocks:
            placed = re.sub(r"(?<![\w.])/(my|data|content|kaggle)\b", rf"{tmp_path}/\1", block)
            for words in commands(placed):
                page.enter(words, heading in TRAINED)
                done.add(heading)
    assert done >= TRAINED
    made = {folder.name for folder in (tmp_path / "outputs").iterdir() if (folder / "DONE").is_file()}
    assert made == {"photos_x4", "tuned", "finetune_realesrgan_x4plus", "sharp", "finetune_pairs", "pairs_l1", "film",
                    "srgan_rs_10m", "realesrnet_span_x4", "realesrgan_span_x4"}  # fmt: skip
    for large, small, scale in (("large/0.png", "my/photos/0.png", 4), ("frames_x2/0.png", "frames/0.png", 2)):
        with Image.open(tmp_path / large) as result, Image.open(tmp_path / small) as given:
            assert result.size == (scale * given.width, scale * given.height)


def test_the_commands_of_the_front_page_are_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    """Configurations load with the settings behind them, and programs know their options; nothing is opened."""
    monkeypatch.chdir(FRONT.parent)
    blocks, seen = re.findall(r"^```\n(.*?)^```", FRONT.read_text(), flags=re.MULTILINE | re.DOTALL), 0
    for words in (words for block in blocks if "launch" in block or "wildsr" in block for words in commands(block)):
        match [word for word in words if word != "..."]:
            case ["./launch/local.sh", target, *settings] if target.startswith("configs/"):
                load_config(RunConfig, Path(target), settings)
            case ["./launch/local.sh", target, *options]:
                importlib.import_module("trainer.photos.__main__").parse([target, *options])
            case ["wildsr", command, *options] if hasattr(program_of(PROGRAMS[command][0]), "parse"):
                program_of(PROGRAMS[command][0]).parse(options)
            case _:
                continue
        seen += 1
    assert seen >= 10


@pytest.mark.parametrize(
    "block", ["./launch/local.sh configs/quickstart.yaml 'a=b\n", "echo hello\n", "python -m trainer.away\n"]
)
def test_a_command_that_is_none_is_found(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    page = Page(tmp_path)
    with pytest.raises((AssertionError, ModuleNotFoundError)):
        page.enter(next(commands(block)), trains=False)
