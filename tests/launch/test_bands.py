"""Whole runs: four bands, clean tiles mixed with given pairs, the same on one rank and two."""

import json
import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from launcher import TINY
from PIL import Image

from tests.faults.forked import Job

rasterio = pytest.importorskip("rasterio", reason="rasters are read by rasterio: pip install 'wildsr[geo]'")

pytestmark = pytest.mark.launch

RADIOMETRY = "radiometry: {bands: [3, 2, 1, 4], white: 10000}"


def tile(path: Path, side: int, seed: int) -> None:
    """Smooth reflectances with four different bands."""
    path.parent.mkdir(exist_ok=True)
    noise = torch.rand(1, 4, 6, 6, generator=torch.Generator().manual_seed(seed))
    smooth = torch.nn.functional.interpolate(noise, size=(side, side), mode="bicubic").clamp(0, 1)
    numbers = (smooth[0].numpy() * 9000).astype(np.uint16)
    profile = {"driver": "GTiff", "count": 4, "height": side, "width": side, "dtype": "uint16"}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        with rasterio.open(path, "w", **profile) as file:
            file.write(numbers)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The run folders of one process and of two."""
    data = tmp_path_factory.mktemp("tiles")
    for number in range(3):
        tile(data / "clean" / f"{number}.tif", 64, number)
        tile(data / "hr" / f"{number}.tif", 64, 10 + number)
        tile(data / "lr" / f"{number}.tif", 16, 10 + number)
    overrides = [
        f"images.source={{type: folder, path: '{data}/clean', {RADIOMETRY}}}",
        f"images.pairs={{type: pairs, gt: '{data}/hr', lq: '{data}/lr', {RADIOMETRY}}}",
        "images.pair_prob=0.5",
        f"validation.source={{type: pairs, gt: '{data}/hr', lq: '{data}/lr', {RADIOMETRY}}}",
        "validation.composites={true colour: [0, 1, 2], false colour: [3, 0, 1]}",
        "validation.draws=1",
        "losses.sam={weight: 0.05}",
        "adversarial={discriminator: {type: UNetDiscriminatorSN, num_feat: 4}}",
        "gt_usm=false",
        "max_train_steps=3",
    ]
    folders = {processes: tmp_path_factory.mktemp(f"ranks{processes}") for processes in (1, 2)}
    for processes, folder in folders.items():
        job = Job(processes, folder / "log", [str(TINY), f"output_dir={folder}", *overrides])
        assert job.wait(200) == [0] * processes, (folder / "log").read_text()
    return {processes: folder / "tiny" for processes, folder in folders.items()}


def metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_ranks_train_on_the_same_tiles_and_pairs(runs: dict[int, Path]) -> None:
    one, two = ([line["training/digest"] for line in metrics(runs[processes])] for processes in (1, 2))
    assert len(one) == 3
    assert one == two


def test_every_band_and_the_spectrum_are_reported(runs: dict[int, Path]) -> None:
    last = metrics(runs[1])[-1]
    wanted = {"psnr", "ssim", "sam", "ergas", "psnr_bicubic", "sam_bicubic", "ergas_bicubic"}
    wanted |= {f"{name}_band{number}" for name in ("psnr", "ssim") for number in (1, 2, 3, 4)}
    assert all(math.isfinite(last[f"validation/{name}"]) for name in wanted)
    assert last["validation/psnr"] == pytest.approx(
        sum(last[f"validation/psnr_band{number}"] for number in (1, 2, 3, 4)) / 4, abs=1e-9
    )
    assert last["training/loss_sam"] > 0
    other = metrics(runs[2])[-1]
    assert all(other[f"validation/{name}"] == pytest.approx(last[f"validation/{name}"], rel=1e-3) for name in wanted)


def test_the_sheet_shows_both_composites(runs: dict[int, Path]) -> None:
    with Image.open(runs[1] / "samples" / "step-00000003.png") as sheet:
        picture = np.asarray(sheet)
    half = len(picture) // 2
    assert abs(len(picture) - 2 * half) <= 1
    assert not np.array_equal(picture[:half], picture[half : 2 * half])
