"""`train`: the whole program from Python, on datasets and modules of a program's own."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.program import SMALL, Doubling, pictures
from trainer import Mistake, Upscaler, train
from trainer.config.schema import RunConfig
from trainer.images.opened import Unreadable
from trainer.images.program import ProgramSource
from trainer.run import main

pytestmark = pytest.mark.usefixtures("fresh_accelerate")


class Noise(torch.utils.data.Dataset[Any]):
    """A program's dataset: float pictures in dicts, of several sizes; one cannot be read."""

    def __init__(self, bad: int = -1) -> None:
        self.bad = bad

    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        if index == self.bad:
            raise RuntimeError("no such file")
        return {"gt": pictures(1, 60 + index, seed=index)[0]}


OWN = ("validation=null", "telemetry.report_to=none", "queue_size=6", "max_train_steps=4", "images.source.given=noise")


@pytest.fixture
def own(tiny: Callable[..., RunConfig]) -> Callable[..., RunConfig]:
    return lambda *overrides: tiny("images.source={type: python}", *OWN, *overrides)


def test_a_run_on_an_own_dataset_and_module_resumes_to_the_last_bit(
    own: Callable[..., RunConfig], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`train` is the whole program: folder, checkpoints, export; config.yaml says in words what was given."""

    def trained(folder: str, *steps: int) -> Tensor:
        for last in steps:
            torch.manual_seed(0)  # of the module's own weights
            config = own(f"output_dir={tmp_path / folder}", f"max_train_steps={last}", "scale=2")
            model = train(config, images=Noise(), net_g=Doubling())
        assert model is not None
        weight: Tensor = model.net_g_ema.state_dict()["conv.weight"]
        return weight

    assert torch.equal(trained("whole", 4), trained("pieces", 2, 4))
    written = (tmp_path / "whole" / "tiny" / "config.yaml").read_text()
    assert "given: Noise of 5 pictures" in written
    assert "tests.program.Doubling of 336 parameters" in written
    assert (tmp_path / "whole" / "tiny" / "export" / "diffusion_pytorch_model.safetensors").is_file()
    assert train(own(f"output_dir={tmp_path / 'whole'}", "scale=2"), images=Noise(), net_g=Doubling()) is None
    assert "is done at step 4" in capsys.readouterr().out
    folder = tmp_path / "whole" / "tiny"
    assert main([str(folder / "config.yaml"), "max_train_steps=6"]) == 2
    assert "images.source.type: python, Noise of 5 pictures: give them again, as `images`" in capsys.readouterr().err
    with pytest.raises(Mistake, match=r"holds weights of .*Doubling of 336 parameters, a module that a Python program"):
        Upscaler.from_pretrained(folder)


def test_pictures_of_an_own_dataset_are_taken_in_every_form() -> None:
    gray = Image.new("L", (4, 3), 7)
    array = np.full((3, 4, 3), 7, np.uint8)
    tensor = torch.full((3, 3, 4), 7, dtype=torch.uint8)
    turned = np.ascontiguousarray(array[..., ::-1])[..., ::-1]  # as of OpenCV
    source = ProgramSource(
        [gray, {"image": gray}, array, turned, np.asarray(gray.convert("RGB")), tensor, {"gt": tensor.float() / 255}]
    )
    assert all(torch.equal(source.read(index), tensor) for index in range(len(source)))
    odd = ProgramSource(["a.png", tensor[0], tensor.int(), np.zeros((3, 4), np.uint8), {"label": 3}, tensor.float()])
    for index, said in enumerate(
        ("it is str; must be a picture, or a dict with one under `gt` or `image`",
         r"it is a tensor \[3, 4\]; must be \[3, H, W\]", "it is int32; must be uint8",
         "it is ndarray", "it is dict", r"values from 7 to 7; floats must be in \[0, 1\]")
    ):  # fmt: skip
        with pytest.raises(Unreadable, match=said):
            odd.read(index)
    with pytest.raises(Unreadable, match="picture 2 of Noise: RuntimeError: no such file"):
        ProgramSource(Noise(bad=2)).read(2)


def test_a_dataset_of_hugging_face_is_one(own: Callable[..., RunConfig], tmp_path: Path) -> None:
    rows = [
        {"image": Image.fromarray((pictures(1, 64, seed=i)[0] * 255).byte().permute(1, 2, 0).numpy())} for i in range(3)
    ]
    dataset = datasets.Dataset.from_list(rows, features=datasets.Features({"image": datasets.Image()}))
    model = train(own(f"output_dir={tmp_path}"), images=dataset)
    assert model is not None
    assert model.state.step == 4
    assert ProgramSource(dataset).identity != ProgramSource(dataset.select([0, 2, 1])).identity


@pytest.mark.parametrize("images", [iter([1]), [], 3, "photos", {"train": [1]}])
def test_what_is_no_dataset_is_refused(own: Callable[..., RunConfig], images: Any) -> None:
    with pytest.raises(Mistake, match=r"images: got .*; must be a dataset with a length and items, and not empty"):
        train(own(), images=images)


def test_given_pairs_alone_cannot_be_replaced_by_a_dataset() -> None:
    with pytest.raises(Mistake, match="images: a dataset gives clean pictures to degrade, and the options train on"):
        train({**SMALL, "high_order_degradation": False}, images=Noise())


SCRIPT = """
import torch
from torch.utils.data import Subset
from trainer import train
class Own:
    def __len__(self): return 3
    def __getitem__(self, index): return torch.full((3, 64, 64), index, dtype=torch.uint8)
print("begun")
for name, images in ("plain", [Own()[i] for i in range(3)]), ("inside", Subset(Own(), [0, 1])):
    model = train({"name": name, "output_dir": "out", "scale": 2, "gt_size": 32, "queue_size": 0, "max_train_steps": 1,
        "generator": {"type": "RRDBNet", "num_feat": 4, "num_block": 1, "num_grow_ch": 2},
        "batch": {"global_size": 1, "per_device": 1}, "telemetry": {"report_to": "none"},
        "images": {"source": {"type": "python"}, "crop_size": 48, "dataloader_num_workers": 1}}, images=images)
    print("trained", model.state.step)
"""


def test_a_script_without_a_guard_is_not_run_again_by_workers(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(SCRIPT)
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    done = subprocess.run(
        [sys.executable, "mine.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert (done.stdout.count("begun"), done.stdout.count("trained 1")) == (1, 2)
    assert "was killed" not in done.stderr
